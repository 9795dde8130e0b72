#!/usr/bin/env python3
"""lstmc beside PyTorch, JAX and ONNX Runtime on this machine, in turn, as one table.

    python3 benches/peers/peers.py --data PTB [--only train/ptb-small] [--quick]

PTB is the folder with ptb.train.txt (see the README). It builds lstmc and makes a virtual environment with the pinned
frameworks of requirements.txt beside this file (or in --venv), which takes some gigabytes once.

Every contestant is a process of its own that is started once, warmed up, and then told, round by round, to do so
many steps, so that other work on the machine hits all alike. Figures are medians over the rounds; a ratio is the
median of the ratios within each round. All train the same model (`recipes.py`) on the same ids of the same text,
whole steps with clipping and update, on the same physical cores; the mean loss of their first steps is printed for
comparison. Each is written as a knowledgeable user of the framework would write it. Starting and compiling are not
part of a figure, and are printed beside it.

What two threads gain over one depends on whether their cores share a cache. The host of a virtual machine moves them, so
each round is told apart by what a barrier takes, and there are two rows where the cores were apart for some rounds.

The rows are train, generate, bf16, memory and compile, of several models; --only takes a part of `row/model`.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from contest import Contestant, Measured, measure, measure_scaling, peak_memory, running
from machine import Setup, describe, flags, physical_cores, prepare, refuses

HERE = Path(__file__).resolve().parent
MODELS = HERE.parent.parent / "models"
PTB = ("ptb-small", "ptb-keras", "ptb-medium", "ptb-large")
WRITERS = ("ptb-small", "ptb-medium", "ptb-large")
FABLE = ("aesop", "aesop-deep")

# Steps from the start whose mean loss is compared.
FIRST_STEPS = {"ptb-small": 50, "ptb-keras": 25, "ptb-medium": 15, "ptb-large": 5, "aesop": 200, "aesop-deep": 100}
# How many times as fast as the best opponent lstmc is to be.
WANTED_TRAIN = {
    "ptb-small": 2.3, "ptb-keras": 2.2, "ptb-medium": 2.0, "ptb-large": 1.8, "aesop": 6, "aesop-deep": 6,
}  # fmt: skip
WANTED_PEAK = {"ptb-small": 70, "ptb-keras": 75, "ptb-medium": 80, "ptb-large": 80}
WANTED_WRITE = {
    ("ptb-small", "f32"): 1.3, ("ptb-medium", "f32"): 1.1, ("ptb-large", "f32"): 1.1,
    ("ptb-medium", "bf16"): 1.8, ("ptb-large", "bf16"): 1.8, ("ptb-medium", "int8"): 3, ("ptb-large", "int8"): 3,
}  # fmt: skip


@dataclass
class Line:
    """A line of the table."""

    row: str
    own: str
    opponent: str
    ratio: str
    wanted: str


class Bench:
    def __init__(self, setup: Setup, rounds: int, seconds: float, folder: Path) -> None:
        self.setup, self.rounds, self.seconds, self.folder = setup, rounds, seconds, folder
        self.lines: list[Line] = []
        self.ids: dict[str, tuple[Path, int]] = {}

    def data(self, model: str) -> Path:
        return self.setup.data if model in PTB else MODELS

    def text(self, model: str) -> tuple[Path, int]:
        """The file with the ids of a model's training text, and its vocabulary's size."""
        if model not in self.ids:
            out = self.folder / f"{model}.ids"
            about = self.setup.ask_once(["ids", str(MODELS / f"{model}.lstm"), str(self.data(model)), str(out)])
            self.ids[model] = (out, int(about["vocabulary"]))
        return self.ids[model]

    def own(self, model: str | Path, threads: int) -> list[str]:
        """The command of lstmc's process that trains a model, by name or by file."""
        path = model if isinstance(model, Path) else MODELS / f"{model}.lstm"
        return [str(self.setup.worker), "serve", "train", str(path), str(self.data(path.stem)), str(threads)]

    def torch(self, model: str, how: str) -> list[str]:
        ids, vocabulary = self.text(model)
        return self.setup.peer("peer_torch.py", model, str(ids), str(vocabulary), how)

    def jax(self, model: str, unroll: int) -> list[str]:
        ids, vocabulary = self.text(model)
        return self.setup.peer("peer_jax.py", model, str(ids), str(vocabulary), str(unroll))

    def compare(self, name: str, commands: dict[str, list[str]], first: int) -> dict[str, Measured]:
        """Runs all commands in turn, and reports each contestant's figures."""
        say(f"{name}:")
        with running(commands, self.setup.environment) as contestants:
            found = measure(contestants, self.rounds, self.seconds, first)
        for who, one in found.items():
            loss = "" if one.loss is None else f", loss of the first {first} steps {one.loss:.4f}"
            spread = f"{1e3 * min(one.seconds):.3f} .. {1e3 * max(one.seconds):.3f}"
            start = f"ready after {one.ready:.1f} s, first step {one.first:.2f} s"
            say(f"  {who:22} {1e3 * one.median():10.3f} ms a step ({spread}); {start}{loss}")
        return found

    def train(self, model: str) -> None:
        threads = len(self.setup.cores)
        commands = {"lstmc": self.own(model, threads), "PyTorch": self.torch(model, "eager")}
        if model in PTB:
            commands["torch.compile"] = self.torch(model, "compile")
            commands["JAX scan"] = self.jax(model, 1)
            commands["JAX scan, unrolled 5"] = self.jax(model, 5)
        found = self.compare(f"train/{model}", commands, FIRST_STEPS[model])
        own = found["lstmc"]
        peers = {who: each for who, each in found.items() if who != "lstmc"}
        best = min(peers, key=lambda who: peers[who].median())
        figure = words_per_second(model) if model in PTB else lambda seconds: f"{1 / seconds:,.0f} iterations/s"
        self.add(
            f"train/{model}", figure(own.median()), f"{best}: {figure(peers[best].median())}",
            own.times_faster_than(peers[best]), WANTED_TRAIN[model],
        )  # fmt: skip
        self.scaling(model, figure)
        if model in WANTED_PEAK:
            shares = [100 * own.flop / (s * peak) for s, peak in zip(own.seconds, own.peaks, strict=True)]
            peak = f"peak: {1e-9 * statistics.median(own.peaks):,.0f} GFLOP/s"
            rate = f"{1e-9 * own.flop / own.median():,.0f} GFLOP/s"
            share, wanted = f"{statistics.median(shares):.0f} %", f"{WANTED_PEAK[model]} %"
            self.lines.append(Line(f"train/{model}, of the f32 peak", rate, peak, share, wanted))

    def scaling(self, model: str, figure: Callable[[float], str]) -> None:
        """What all threads gain over one: where their cores share a cache, and where the machine has put them apart."""
        threads = len(self.setup.cores)
        commands = {"all threads": self.own(model, threads), "1 thread": self.own(model, 1)}
        with running(commands, self.setup.environment) as (many, one):
            together, apart = measure_scaling(many, one, self.rounds, self.seconds)
        row = f"train/{model}, {threads} threads : 1"
        for found, how, wanted in ((together, "", 1.85), (apart, ", cores apart", None)):
            say(f"{row}{how}: {len(found.many.seconds)} rounds")
            if found.many.seconds:
                self.add(
                    row + how, figure(found.many.median()), f"1 thread: {figure(found.one.median())}",
                    found.many.times_faster_than(found.one), wanted,
                )  # fmt: skip

    def generate(self, model: str) -> None:
        _, vocabulary = self.text(model)
        path, threads = str(MODELS / f"{model}.lstm"), str(len(self.setup.cores))
        weights = ["f32", "bf16", "int8"] if self.setup.knows_weights else ["f32"]
        if not self.setup.knows_weights:
            say(f"generate/{model}: this lstmc has no `generate --weights`; bf16 and int8 are left out")
        command = [str(self.setup.worker), "serve", "generate", path, str(vocabulary), threads]
        commands = {f"lstmc {each}": [*command, each] for each in weights}
        commands["ONNX Runtime f32"] = self.setup.peer("peer_onnx.py", model, str(vocabulary))
        found = self.compare(f"generate/{model}", commands, 20)
        peer = found["ONNX Runtime f32"]
        for each in weights:
            own = found[f"lstmc {each}"]
            self.add(
                f"generate/{model}, {each} weights", microseconds(own.median()),
                f"ONNX Runtime f32: {microseconds(peer.median())}",
                own.times_faster_than(peer), WANTED_WRITE.get((model, each)),
            )  # fmt: skip

    def bf16(self, model: str) -> None:
        """The model in `bf16`, `bf16x3` and `bf16x6` beside itself in f32, and beside PyTorch's autocast to bf16."""
        text = (MODELS / f"{model}.lstm").read_text()
        threads = len(self.setup.cores)
        commands = {"lstmc f32": self.own(model, threads), "PyTorch autocast": self.torch(model, "autocast")}
        for precision in ("bf16", "bf16x3", "bf16x6"):
            (self.folder / precision).mkdir(exist_ok=True)
            path = self.folder / precision / f"{model}.lstm"
            path.write_text(text.replace("train {", f"train {{\n    precision: {precision}", 1))
            if message := refuses(self.setup, path):
                say(f"bf16/{model}: left out, this lstmc does not compile `precision: {precision}`: {message}")
            else:
                commands[f"lstmc {precision}"] = self.own(path, threads)
        found = self.compare(f"bf16/{model}", commands, FIRST_STEPS[model])
        figure, has_tiles = words_per_second(model), "amx_bf16" in flags()
        # By precision and opponent; without tiles bf16x3 and bf16x6 are f32.
        wanted = {
            ("bf16", "lstmc f32"): 2.5 if has_tiles else 1.5, ("bf16", "PyTorch autocast"): 2,
            ("bf16x3", "lstmc f32"): 1.8 if has_tiles else None, ("bf16x6", "lstmc f32"): None,
        }  # fmt: skip
        for (precision, opponent), ratio in wanted.items():
            if own := found.get(f"lstmc {precision}"):
                other = found[opponent]
                self.add(
                    f"bf16/{model}, {precision}", figure(own.median()), f"{opponent}: {figure(other.median())}",
                    own.times_faster_than(other), ratio,
                )  # fmt: skip

    def memory(self, model: str) -> None:
        """The most resident memory of `lstmc train` and of PyTorch's process, after as many steps."""
        steps = 3 if model == "ptb-large" else 20
        arguments = ["--data", str(self.data(model)), "--out", str(self.folder / f"run-{model}"), "--steps", str(steps)]
        train = [str(self.setup.lstmc), "train", str(MODELS / f"{model}.lstm"), "--threads", str(len(self.setup.cores))]
        own = peak_memory([*train, *arguments], "", self.setup.environment)
        peer = peak_memory(self.torch(model, "eager"), f"run {steps}\nquit\n", self.setup.environment)
        line = Line(f"memory/{model}", megabytes(own), f"PyTorch: {megabytes(peer)}", f"{own / peer:.2f}", "<= 0.5")
        say(f"{line.row}: {line.own}, {line.opponent}")
        self.lines.append(line)

    def compile(self, model: str) -> None:
        """From source text, or Python function, to machine code, at two lengths of the time loop."""
        _, vocabulary = self.text(model)
        text = (MODELS / f"{model}.lstm").read_text()
        for steps in (35, 3500):
            path = self.folder / f"{model}-{steps}.lstm"
            path.write_text(text.replace("steps: 35", f"steps: {steps}", 1))
            command = [str(self.setup.worker), "serve", "compile", str(path), str(vocabulary)]
            own = Contestant("lstmc", [*command, str(len(self.setup.cores))], self.setup.environment)
            seconds = own.run(2 * self.rounds + 1).seconds
            own.end()
            jax = self.setup.peer("peer_jax.py", model, str(vocabulary), "compile", str(steps), str(self.rounds))
            peer = Contestant("JAX", jax, self.setup.environment)
            peer.end()
            other = float(peer.about["seconds"])
            line = Line(
                f"compile/{model}, {steps:,} steps", f"{1e3 * seconds:.1f} ms", f"JAX jit: {1e3 * other:,.0f} ms",
                f"{other / seconds:.0f}", "< 50 ms",
            )  # fmt: skip
            say(f"{line.row}: {line.own}, {line.opponent}")
            self.lines.append(line)

    def add(self, row: str, own: str, opponent: str, ratio: float, wanted: float | None) -> None:
        self.lines.append(Line(row, own, opponent, f"{ratio:.2f}", "" if wanted is None else f"{wanted:g}"))

    def table(self) -> str:
        lines = ["| | lstmc | opponent | ratio | wanted |", "|---|---|---|---|---|"]
        lines += [f"| {one.row} | {one.own} | {one.opponent} | {one.ratio} | {one.wanted} |" for one in self.lines]
        return "\n".join(lines)


def words_per_second(model: str) -> Callable[[float], str]:
    steps = {"ptb-small": 20, "ptb-keras": 30}.get(model, 35)
    return lambda seconds: f"{20 * steps / seconds:,.0f} words/s"


def microseconds(seconds: float) -> str:
    return f"{1e6 * seconds:,.0f} us a word"


def megabytes(count: float) -> str:
    return f"{1e-6 * count:,.0f} MB"


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--data", type=Path, required=True, help="the folder of the Penn Treebank's files")
    arguments.add_argument("--only", default="", metavar="TEXT", help="rows whose name has this in it")
    arguments.add_argument("--rounds", type=int, default=7, help="rounds of measuring [default: 7]")
    arguments.add_argument("--quick", action="store_true", help="3 short rounds, to see that it works")
    arguments.add_argument("--threads", type=int, default=2, help="cores for everybody [default: 2]")
    arguments.add_argument("--venv", type=Path, default=HERE / ".venv", help="the virtual environment")
    given = arguments.parse_args()
    cores = physical_cores(given.threads)
    setup = prepare(given.data.resolve(), given.venv.absolute(), cores)
    rounds, seconds = (3, 0.2) if given.quick else (given.rounds, 0.8)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(setup, rounds, seconds, Path(folder))
        rows: list[tuple[Callable[[str], None], tuple[str, ...]]] = [
            (bench.train, PTB + FABLE),
            (bench.generate, WRITERS),
            (bench.bf16, ("ptb-medium", "ptb-large")),
            (bench.memory, PTB + FABLE),
            (bench.compile, ("ptb-large",)),
        ]
        for row, models in rows:
            for model in models:
                if given.only in f"{row.__name__}/{model}":
                    row(model)
        print(bench.table())
        print(f"\n{describe(setup)}")


if __name__ == "__main__":
    main()
