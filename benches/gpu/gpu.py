#!/usr/bin/env python3
"""lstmc beside PyTorch on an NVIDIA GPU, in turn, as one table.

    python3 benches/gpu/gpu.py [--only ptb-small/tf32] [--quick] [--worker PROGRAM]

It wants a GPU, and is run by a Python that has PyTorch and NumPy; without one of them, or without lstmc, it says so and
exits with 2. lstmc is built by cargo; where there is none, --worker names the program `models` that
`cargo bench --bench models --no-run` has built on another machine. Texts are made up (`cases.py`).

Every contestant is a process of its own that is started once, warmed up, and then told, round by round, to do so many
steps, in turn. All train the same model on the same ids, whole steps with clipping and update, at the same precision: tf32
is on for all of PyTorch's products or for none, bf16 is by autocast. (There results and the state that is carried have 16
bits too, which lstmc has in f32, and PyTorch gives cuDNN's LSTM fp16, whichever half precision was asked for.) PyTorch runs
its nn.LSTM, so cuDNN, once as it comes and once with the whole step in a CUDA graph. What it cannot capture is said. The
ratio is to the faster of the two: the median of the ratios within each round.

With NVIDIA's `nsys` on the path, a second table says where lstmc's steps go, by kind of launch.
"""

import argparse
import collections
import csv
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NoReturn

try:
    import cases
    import torch
except ImportError as error:
    print(f"gpu.py: this Python ({sys.executable}) has no {error.name}: it wants PyTorch and NumPy", file=sys.stderr)
    sys.exit(2)

from contest import Contestant, Measured, measure, running

import machine

# lstmc's precision, and PyTorch's.
PRECISIONS = [("f32", "f32"), ("tf32", "tf32"), ("bf16", "bf16")]
# Left out unless it is asked for: a GPU's tensor cores do not have it.
RARE = "f32"
# cuDNN's persistent kernel for 768 units is for fp16 alone, which lstmc does not have: PyTorch is all in fp16.
PERSISTENT = ("layer-768", ("bf16", "fp16"))
FIRST_STEPS = 20
PROFILED_STEPS = 20


def leave(why: str) -> NoReturn:
    say(f"gpu.py: {why}")
    sys.exit(2)


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def lstmc(given: Path | None) -> Path:
    """The program that answers for lstmc."""
    if given:
        return given.resolve() if given.exists() else leave(f"there is no {given}")
    try:
        return machine.build()[0]
    except (OSError, subprocess.CalledProcessError) as error:
        leave(f"lstmc cannot be built here: {error}; --worker names a program that was built elsewhere")


class Bench:
    def __init__(self, worker: Path, folder: Path, rounds: int, seconds: float) -> None:
        self.worker, self.folder, self.rounds, self.seconds = worker, folder, rounds, seconds
        self.lines = ["| | lstmc | PyTorch | PyTorch, CUDA graph | ratio |", "|---|---|---|---|---|"]
        self.kinds = ["| | launches a step | us a step | |", "|---|---|---|---|"]

    def prepare(self, model: str, precision: str) -> tuple[list[str], Path, int]:
        """The command of lstmc's process, the file with the text's ids, and the vocabulary's size."""
        data = self.folder / f"text-{cases.vocabulary(model)}"
        if not data.exists():
            data.mkdir()
            (data / "ptb.train.txt").write_text(cases.text(cases.vocabulary(model)))
        path, ids = self.folder / f"{model}-{precision}.lstm", self.folder / f"{model}.ids"
        path.write_text(cases.source(model, precision))
        command = [str(self.worker), "serve", "ids", str(path), str(data), str(ids)]
        said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        return [str(self.worker), "serve", "train", str(path), str(data), "cuda"], ids, json.loads(said)["vocabulary"]

    def compare(self, model: str, own: str, theirs: str) -> None:
        name = f"{model}/{own}" if own == theirs else f"{model}/{own} : {theirs}"
        say(f"{name}:")
        command, ids, vocab = self.prepare(model, own)
        peer = [sys.executable, str(cases.HERE / "peer_cuda.py"), model, str(ids), str(vocab)]
        commands = {"lstmc": command, "eager": [*peer, "eager", theirs], "graph": [*peer, "graph", theirs]}
        with running(commands, {**os.environ, "RUST_BACKTRACE": "0"}) as contestants:
            ready = [each for each in contestants if not refused(each)]
            found = measure(ready, self.rounds, self.seconds, FIRST_STEPS)
        for who, one in found.items():
            spread = f"{1e3 * min(one.seconds):.3f} .. {1e3 * max(one.seconds):.3f}"
            start = f"ready after {one.ready:.1f} s, first step {one.first:.2f} s"
            loss = f"loss of the first {FIRST_STEPS} steps {one.loss:.4f}"
            say(f"  {who:6} {1e3 * one.median():8.3f} ms a step ({spread}); {start}; {loss}")
        best = min((found[who] for who in ("eager", "graph") if who in found), key=Measured.median)
        cells = [figure(model, found.get(who)) for who in commands]
        self.lines.append(f"| {name} | {' | '.join(cells)} | {found['lstmc'].times_faster_than(best):.2f} |")
        if shutil.which("nsys"):
            self.profile(name, command)

    def profile(self, name: str, command: list[str]) -> None:
        """Where lstmc's steps go, by kind of launch, as nsys sees it."""
        report = self.folder / "report.nsys-rep"
        trace = ["nsys", "profile", "-t", "cuda", "--cuda-graph-trace=node", "-f", "true", "-o", str(report)]
        said = {"input": f"run {PROFILED_STEPS}\nquit\n", "text": True, "capture_output": True}
        done = subprocess.run([*trace, *command], **said)
        stats = ["nsys", "stats", "-q", "-r", "cuda_gpu_kern_sum", "-f", "csv", "--force-export=true", str(report)]
        table = subprocess.run(stats, capture_output=True, text=True).stdout
        rows = list(csv.DictReader(table[table.find("Time (%)") :].splitlines()))
        if done.returncode or not rows:
            say(f"  nsys has nothing to say: {(done.stderr or done.stdout).strip()[-300:]}")
            return
        launches: dict[str, int] = collections.Counter()
        times: dict[str, float] = collections.Counter()
        for row in rows:
            kind = kind_of(row["Name"])
            launches[kind] += int(row["Instances"])
            times[kind] += float(row["Total Time (ns)"])
        whole = sum(times.values())
        for kind in sorted(times, key=lambda kind: -times[kind]):
            time, count = 1e-3 * times[kind] / PROFILED_STEPS, launches[kind] / PROFILED_STEPS
            self.kinds.append(f"| {name}, {kind} | {count:g} | {time:.1f} | {100 * times[kind] / whole:.0f} % |")


def refused(contestant: Contestant) -> bool:
    why = contestant.about.get("refused")
    if why:
        say(f"  {contestant.name} is left out: {why}")
    return why is not None


def figure(model: str, found: Measured | None) -> str:
    if found is None:
        return "cannot be captured"
    recipe = cases.MODELS[model]
    return f"{1e3 * found.median():.3f} ms, {recipe.rows * recipe.steps / found.median():,.0f} words/s"


def kind_of(entry: str) -> str:
    """What an entry `k12_product_nn_20x20x20` is."""
    name = re.sub(r"^k\d+_", "", entry)
    kinds = {"time_loop": "loops over time", "product_": "products"}
    return next((kind for start, kind in kinds.items() if name.startswith(start)), "element by element")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--only", default="", metavar="TEXT", help="rows whose name has this in it")
    arguments.add_argument("--rounds", type=int, default=7, help="rounds of measuring [default: 7]")
    arguments.add_argument("--quick", action="store_true", help="3 short rounds, to see that it works")
    arguments.add_argument("--worker", type=Path, help="the program `models`, built before")
    given = arguments.parse_args()
    if not torch.cuda.is_available():
        leave("PyTorch finds no GPU here")
    worker = lstmc(given.worker)
    rounds, seconds = (3, 0.2) if given.quick else (given.rounds, 0.8)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(worker, Path(folder), rounds, seconds)
        for model in cases.MODELS:
            pairs = PRECISIONS + [PERSISTENT[1]] * (model == PERSISTENT[0])
            for own, theirs in pairs:
                wanted = given.only in f"{model}/{own}" if given.only else own != RARE
                if wanted:
                    bench.compare(model, own, theirs)
    print("\n".join(bench.lines))
    if shutil.which("nsys"):
        print("\n" + "\n".join(bench.kinds))
    else:
        say("nsys is not on the path: where lstmc's steps go is left out")
    cudnn = torch.backends.cudnn.version()
    versions = f"torch {torch.__version__}, CUDA {torch.version.cuda}, cuDNN {cudnn}"
    print(f"\n{torch.cuda.get_device_name()}; {versions}; medians of {rounds} rounds in turn")


if __name__ == "__main__":
    main()
