"""Training by two ranks on this machine: lstmc over MPI, and PyTorch's DistributedDataParallel over gloo.

    python3 benches/ranks/ranks.py --lstmc target/release/lstmc --python VENV/bin/python --data PTB

One thread a rank, each on a core of its own, which does the sending and adding up, too. Ranks reach each other through shared
memory, loopback TCP, or a link between two network namespaces (root, iproute2) with 1 and 10 Gbit/s and 0.1 and 1 ms. All
systems run in turn, round by round; a figure is the median of the rounds. "lstmc alone" is one process that
computes the same shards one after the other, "whole batch" one without shards. The peer has the same layers and draws its tokens. `--only ptb-small` or `--only Gbit` takes some of the rows,
`--add` puts rows into results.json that have been measured already.
"""

import argparse
import json
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import network
from network import Place

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(HERE.parent / "peers"))

from contest import Contestant
from machine import flags, physical_cores

RANKS = 2
VOCABULARY = 10_000
# Steps before those that count, and steps that count; words of a step.
MODELS = {"ptb-small": (10, 60, 400), "ptb-medium": (3, 12, 700)}
LINKS = [(rate, delay) for rate in (1e9, 10e9) for delay in (0.1e-3, 1e-3)]
# Longer than any process here takes.
TIMEOUT = 120
UNITS = {"bytes": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


@dataclass
class Measured:
    """What one system did at one place, over the rounds; shares are of the time of all steps."""

    model: str
    place: str
    system: str
    words_per_second: list[float] = field(default_factory=list)
    # How much of the time computing waited for the exchange, and the exchange's thread was at work.
    waited: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)
    # Of a rank and step.
    bytes: float | None = None
    # Of the link, if there is one; what was asked for and could not be had.
    rate: float | None = None
    latency: float | None = None
    lacks: list[str] = field(default_factory=list)

    def speed(self) -> float:
        return statistics.median(self.words_per_second)


@dataclass
class System:
    """How lstmc trains, by ranks or in one process."""

    name: str
    gradients: str
    place: Place | None
    shards: int = RANKS


@dataclass
class Bench:
    lstmc: Path
    python: Path
    data: Path
    folder: Path
    cores: list[int]
    rounds: int
    shorter: int
    found: list[Measured] = field(default_factory=list)
    runs: int = 0

    def model(self, name: str, shards: int) -> Path:
        """The shipped model in shards, without a validation; an epoch makes many points of the curve, so that the start can be
        left out."""
        text = (ROOT / "models" / f"{name}.lstm").read_text()
        text = re.sub(r"^ *(valid|test): .*\n", "", text, flags=re.MULTILINE)
        text = re.sub(r"epochs: \d+", "epochs: 1", text)
        path = self.folder / f"{name}.lstm"
        path.write_text(text.replace("train {", f"train {{\n    shards: {shards}", 1))
        return path

    def train(self, name: str, system: System, steps: int) -> Path:
        """Trains; the folder of the run."""
        place = system.place
        self.runs += 1
        run = self.folder / f"run-{self.runs}"
        own = [
            str(self.lstmc), "train", str(self.model(name, system.shards)), "--data", str(self.data), "--out", str(run),
            "--steps", str(steps), "--threads", "1", "--gradients", system.gradients,
        ]  # fmt: skip
        # The number of the rank chooses the core.
        core = f'$(echo {" ".join(map(str, self.cores))} | cut -d" " -f$((OMPI_COMM_WORLD_RANK + 1)))'
        pinned = ["sh", "-c", f'exec taskset -c {core} "$@"', "sh"]
        command = [*place.mpirun, *pinned, *own] if place else ["taskset", "-c", str(self.cores[0]), *own]
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT)
        if done.returncode != 0:
            raise SystemExit(f"{' '.join(command)}\n{done.stdout[-1000:]}{done.stderr[-2000:]}")
        return run

    def own(self, name: str, system: System, one: Measured) -> None:
        """Adds a run of lstmc."""
        warm, steps, words = self.sizes(name)
        run = self.train(name, system, warm + steps)
        one.words_per_second.append(speed_of(run, warm, words))
        if system.place:
            said = exchange_of(run)
            one.busy.append(said[1])
            one.waited.append(said[2])

    def sizes(self, name: str) -> tuple[int, int, int]:
        warm, steps, words = MODELS[name]
        return warm, steps // self.shorter, words

    @contextmanager
    def peer(self, name: str, place: Place | None) -> Iterator[Callable[[Measured], None]]:
        """PyTorch's processes, ready: what adds a run."""
        script, ranks = [str(self.python), str(HERE / "peer_ddp.py"), name, str(VOCABULARY)], RANKS if place else 1
        others: list[subprocess.Popen[bytes]] = []
        device, port = (place.device, place.address) if place else ("lo", "127.0.0.1"), free_port()
        address = device[1]
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "GLOO_SOCKET_IFNAME": device[0], "OMP_NUM_THREADS": "1"}

        def command(rank: int) -> list[str]:
            start = [*(place.prefixes[rank] if place else []), "taskset", "-c", str(self.cores[rank])]
            return [*start, *script, str(rank), str(ranks), address, str(port)]

        try:
            others = [subprocess.Popen(command(rank), env=environment) for rank in range(1, ranks)]
            lead = Contestant("PyTorch", command(0), environment)
            warm, steps, words = self.sizes(name)
            lead.run(warm)

            def run(one: Measured) -> None:
                one.words_per_second.append(words / lead.run(max(2, steps // 4)).seconds)

            yield run
            lead.end()
            for other in others:
                other.wait(timeout=10)
        finally:
            for other in others:
                other.kill()

    def compare(self, name: str, place: Place | None) -> None:
        """All systems at one place, in turn."""
        systems = systems_at(place)
        at = place or Place("one process", [], [], "")
        link = (at.rate, at.latency, at.lacks)
        measured = [Measured(name, at.name, system.name, [], [], [], None, *link) for system in systems]
        peer = Measured(name, at.name, "PyTorch DDP" if place else "PyTorch alone", [], [], [], None, *link)
        with self.peer(name, place) as run_peer:
            for number in range(self.rounds):
                for one, system in zip(measured, systems, strict=True):
                    self.own(name, system, one)
                time.sleep(0.1)
                run_peer(peer)
                said = ", ".join(f"{one.system} {one.words_per_second[-1]:,.0f}" for one in (*measured, peer))
                print(f"{name}, {at.name}, round {number + 1}: {said} words/s", file=sys.stderr, flush=True)
        for one, system in zip(measured, systems, strict=True):
            if place:
                # So few that the printed sum has enough digits.
                steps = 4
                one.bytes = exchange_of(self.train(name, system, steps))[0] / steps
        self.found += [*measured, peer]


def systems_at(place: Place | None) -> list[System]:
    """lstmc's contestants."""
    if not place:
        return [System("lstmc whole batch", "f32", None, 1), System("lstmc alone", "f32", None)]
    if not place.rate:
        return [System("lstmc f32", "f32", place), System("lstmc bf16", "bf16", place)]
    # By one connection Open MPI's messages of both directions wait for each other.
    two = replace(place, mpirun=[*place.mpirun, "--mca", "btl_tcp_links", "2"])
    own = System("lstmc f32, 1 connection", "f32", place)
    return [own, System("lstmc f32", "f32", two), System("lstmc bf16", "bf16", two)]


def speed_of(run: Path, warm: int, words: int) -> float:
    """Words in a second of the steps after the first ones."""
    points = [json.loads(line) for line in (run / "steps.jsonl").read_text().splitlines()]
    ends = [0, *(point["step"] for point in points)]
    counted = [(end - begin, point["words_per_second"]) for begin, end, point in zip(ends, ends[1:], points, strict=False)]
    kept = [(steps, speed) for (steps, speed), begin in zip(counted, ends, strict=False) if begin >= warm]
    return words * sum(steps for steps, _ in kept) / sum(words * steps / speed for steps, speed in kept)


def exchange_of(run: Path) -> tuple[float, float, float]:
    """Bytes that a rank has sent, the share of the time in which it exchanged, and that in which it waited."""
    line = re.search(
        r"exchange .* sent about ([\d.,]+) (\w+); ([\d.]+) % .*, ([\d.]+) % waiting", (run / "log.txt").read_text()
    )
    assert line, "the log has no line of the exchange"
    count, unit, busy, waited = line.groups()
    return float(count.replace(",", "")) * UNITS[unit], float(busy) / 100, float(waited) / 100


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def table(found: list[Measured]) -> str:
    """Side by side; the ratio is to the same system in one process that computes whole batches."""
    lines = [
        "| model | ranks reach each other by | system | words/s | to one process | waiting | sent per step and rank |",
        "|---|---|---|---|---|---|---|",
    ]
    whole = {(one.model, one.system): one.speed() for one in found}
    for one in found:
        base = "PyTorch alone" if one.system.startswith("PyTorch") else "lstmc whole batch"
        ratio = one.speed() / whole.get((one.model, base), float("nan"))
        waited = f"{100 * statistics.median(one.waited):.0f} %" if one.waited else ""
        sent = f"{one.bytes / 1e6:.1f} MB" if one.bytes else ""
        lines.append(f"| {one.model} | {one.place} | {one.system} | {one.speed():,.0f} | {ratio:.2f} | {waited} | {sent} |")
    return "\n".join(lines)


def describe(bench: Bench) -> str:
    info = Path("/proc/cpuinfo").read_text().splitlines()
    number = lambda key: next((line.partition(":")[2].strip() for line in info if line.split(":")[0].strip() == key), "?")
    vectors = next((name for name in ("avx512f", "avx2") if name in flags()), "neither AVX2 nor AVX-512")
    commands = [[str(bench.lstmc), "--version"], ["mpirun", "--version"], [str(bench.python), "-c", "import torch; print('torch', torch.__version__)"]]
    said = [subprocess.run(each, capture_output=True, text=True).stdout.split("\n")[0] for each in commands]
    machine = f"{number('vendor_id')} family {number('cpu family')} model {number('model')} ({vectors})"
    return f"{machine}, cores {bench.cores}; {'; '.join(said)}; Linux {Path('/proc/sys/kernel/osrelease').read_text().strip()}"


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--lstmc", type=Path, required=True, help="lstmc, built with `--features mpi`")
    arguments.add_argument("--python", type=Path, required=True, help="a Python that has torch and numpy")
    arguments.add_argument("--data", type=Path, required=True, help="the folder of the Penn Treebank's files")
    arguments.add_argument("--only", default="", metavar="TEXT", help="rows `MODEL, PLACE` that have this in them")
    arguments.add_argument("--rounds", type=int, default=5, help="rounds of measuring [default: 5]")
    arguments.add_argument("--quick", action="store_true", help="1 short round, to see that it works")
    arguments.add_argument("--results", type=Path, default=Path("results.json"), help="[default: results.json]")
    arguments.add_argument("--add", action="store_true", help="keep what the results have already")
    given = arguments.parse_args()
    # So that what was begun is taken away, too, when this is ended.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))
    cores = physical_cores(RANKS)
    load = Path("/proc/loadavg").read_text().split()[0]
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(
            given.lstmc.resolve(), given.python.absolute(), given.data.resolve(), Path(folder), cores,
            1 if given.quick else given.rounds, 4 if given.quick else 1,
        )  # fmt: skip
        machine = describe(bench)
        if given.add and given.results.exists():
            bench.found = [Measured(**one) for one in json.loads(given.results.read_text())["measured"]]
        for name in MODELS:
            for enter in places():
                with ExitStack() as stack:
                    place = enter(stack)
                    row = f"{name}, {place.name if place else 'one process'}"
                    known = any(one.model == name and f"{name}, {one.place}" == row for one in bench.found)
                    if given.only in row and not known:
                        bench.compare(name, place)
                        measured = [asdict(one) for one in bench.found]
                        given.results.write_text(json.dumps({"machine": machine, "measured": measured}, indent=1) + "\n")
    print(table(bench.found))
    print(f"\n{machine}; load before: {load}")


def places() -> Iterator[Callable[[ExitStack], Place | None]]:
    """What enters each place. Links that turn out the same, as the kernel cannot make one slower, are taken once."""
    yield lambda _: None
    yield lambda _: network.shared_memory()
    yield lambda _: network.loopback()
    if why := network.has_namespaces():
        print(f"left out links: {why}", file=sys.stderr)
        return
    for rate, delay in LINKS:
        yield lambda stack, rate=rate, delay=delay: stack.enter_context(network.link(rate, delay))


if __name__ == "__main__":
    main()
