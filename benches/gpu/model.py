#!/usr/bin/env python3
"""How long a training step should take on an H100, from what `lstmc check` and `lstmc emit` say of it: a table.

    python3 benches/gpu/model.py [--lstmc target/release/lstmc] [MODEL.lstm ..]

A prediction from sizes and published figures, and no measurement: it wants no GPU. What it leaves out makes a real step
longer: reductions that wait for themselves, CTAs that are not done at the same time, copies from and to the host.
"""

import argparse
import math
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PTB = ("ptb-small", "ptb-keras", "ptb-medium", "ptb-large")

# Of an H100 SXM, by its data sheet and by what others have measured. Bytes, operations or events a second; seconds.
MULTIPROCESSORS = 132
HBM = 3.35e12
L2 = 5.5e12
L2_BYTES = 50e6
# Dense, and the share of it that mma.sync reaches (arXiv 2501.12084).
PEAK = {"f32": 67e12, "tf32": 495e12, "bf16": 990e12}
REACHED = 0.63
# From one node of a CUDA graph to the next.
LAUNCH = 1.3e-6
# A barrier of the whole grid: cooperative groups' on an RTX 3090.
BARRIER = 0.73e-6
L2_LATENCY = 0.16e-6
# Guesses. Reads that wait for each other in a round of a loop; the least that a kernel takes, two reads of memory; and what
# a tile of a product waits for its next 16 elements of the contraction, of which three are on their way.
READS_OF_A_ROUND = 3
LEAST = 1.0e-6
BLOCK, BLOCK_SECONDS = 16, 0.17e-6
# CTAs of a product, by registers.
RESIDENT = 2 * MULTIPROCESSORS

# Rows and columns of a product's tiles, and how many have to be there (`backend/ptx/product/shape.rs`).
TILES = [(128, 128), (128, 64), (64, 64), (32, 32)]
ENOUGH_TILES = 96

GEMM = re.compile(r"gemm \w\w (\d+)x(\d+)x(\d+)(?: parts (\d+))?:")
LOOP = re.compile(r"(k\d+_time_loop): (\d+) rounds?, (\d+) CTAs? of \d+ threads, (\d+) barriers?")
TASK = re.compile(r"product_\w\w_(\d+)x(\d+)x(\d+) ")


@dataclass
class Step:
    precision: str = "tf32"
    words: int = 0
    launches: int = 0
    memory: float = 0
    products: float = 0
    others: float = 0
    loops: "list[Loop]" = field(default_factory=list)
    buffers: dict[str, int] = field(default_factory=dict)

    def parts(self) -> list[float]:
        in_loops = sum(loop.rounds * loop.seconds() for loop in self.loops)
        return [self.launches * LAUNCH, self.products, self.others, in_loops]

    def rate(self) -> float:
        return REACHED * PEAK[self.precision]


def product(step: Step, m: int, n: int, k: int, parts: int) -> float:
    """Seconds of a product outside of loops, whose contraction is in parts."""

    def count(rows: int, columns: int) -> int:
        return parts * math.ceil(m / rows) * math.ceil(n / columns)

    fit = [(r, c) for r, c in TILES if count(r, c) >= ENOUGH_TILES and r < 2 * m and c < 2 * n]
    rows, columns = (fit or TILES[-1:])[0]
    tiles = count(rows, columns)
    size = 4 * (m * k + k * n + parts * m * n)
    k = math.ceil(k / parts)
    # All tiles of a wave take as long, though it may be half empty.
    waves = math.ceil(tiles / MULTIPROCESSORS)
    multiplying = waves * MULTIPROCESSORS * 2 * rows * columns * k / step.rate()
    reading = 4 * k * (rows + columns) * tiles / L2
    waiting = math.ceil(tiles / RESIDENT) * math.ceil(k / BLOCK) * BLOCK_SECONDS
    return max(multiplying, reading, waiting, size / HBM, LEAST)


@dataclass
class Loop:
    """A loop over time. All but the first four are of one round: bytes, and seconds."""

    name: str
    rounds: int
    ctas: int
    barriers: int
    exchange: float = 0
    weights: float = 0
    multiplying: float = 0

    def waiting(self) -> float:
        return self.barriers * BARRIER + READS_OF_A_ROUND * L2_LATENCY

    def seconds(self) -> float:
        return self.waiting() + (self.exchange + self.weights) / L2 + self.multiplying


def loops(checked: str, rate: float) -> list[Loop]:
    """The loops over time, as `check` describes them; tensor cores do so many operations a second."""
    all_of_them: list[Loop] = []
    for line in checked.splitlines():
        if found := LOOP.match(line):
            all_of_them.append(Loop(found[1], *(int(number) for number in found.groups()[1:])))
        if found := TASK.match(line):
            loop, (m, n, k) = all_of_them[-1], (int(number) for number in found.groups())
            rows = 8 * math.ceil(m / 8)
            # Each CTA reads all of A, or writes partial sums of all of C, which are then read.
            words = 2 * n * rows if "partial sums" in line else m * k
            loop.exchange += 4 * words * loop.ctas
            loop.multiplying += 2 * rows * n * k / (rate * loop.ctas / MULTIPROCESSORS)
            if kept := re.search(r"([\d.]+) (KiB|MiB) read from the L2", line):
                loop.weights += loop.ctas * float(kept[1]) * (1 << 10 if kept[2] == "KiB" else 1 << 20)
    return all_of_them


def nest(step: Step, lines: list[str]) -> float:
    """Seconds of a loop nest: the memory that its statements touch, each place as often as a statement names it."""
    axes = [int(size) for size in re.findall(r"\d+", lines[0].split(" axes ")[1])]
    sizes: list[int] = []
    seen: set[tuple[tuple[int, ...], str]] = set()
    total = 0
    for line in lines[1:]:
        if found := re.match(r"for a(\d+)", line):
            sizes.append(axes[int(found[1])])
        elif line == "}" and sizes:
            sizes.pop()
        elif found := re.search(r"(?:load|load_id|store) (%\d+[^=]*)", line):
            place = (tuple(sizes), line.split(" = ")[-1] if "load" in line else line)
            if place not in seen:
                seen.add(place)
                total += 4 * min(math.prod(sizes), step.buffers[re.match(r"%\d+", found[1])[0]])
    bandwidth = L2 if step.memory < L2_BYTES else HBM
    return max(total / bandwidth, LEAST)


def outside(step: Step, kernels: str) -> None:
    """Adds all that is in no loop over time, as the stage `kernel` has it."""
    for name, shape in re.findall(r"buffer (%\d+)[^:]*: \w+\[([\d, ]*)\]", kernels):
        step.buffers[name] = math.prod(int(size) for size in shape.split(",") if size)
    # Items have two spaces before them, and what is in a loop over time has more.
    for item in re.split(r"\n  (?! )", kernels):
        lines = [line.strip() for line in item.splitlines()]
        if found := GEMM.match(lines[0]):
            step.products += product(step, *(int(number or 1) for number in found.groups()))
        elif lines[0].startswith("kernel"):
            step.others += nest(step, lines)
        elif not lines[0].startswith(("loop", "buffer", "module", "}")):
            # Rows that are looked up, added up or counted.
            step.others += LEAST


def predict(lstmc: Path, model: Path) -> Step:
    def run(*arguments: str) -> str:
        command = [lstmc, arguments[0], model, "--vocab", "10000", "--target", "sm_90", *arguments[1:]]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout

    checked, kernels = run("check"), run("emit", "--stage", "kernel")
    step = Step(precision=re.search(r"^precision +(\w+)", checked, re.M)[1])
    rows = re.search(r"^tokens +\[(\d+), (\d+)\]", checked, re.M)
    step.words = int(rows[1]) * int(rows[2])
    step.launches = int(re.search(r"^a step +(\d+) launch", checked, re.M)[1])
    step.memory = float(re.search(r"^memory +([\d.]+) MiB", checked, re.M)[1]) * (1 << 20)
    step.loops = loops(checked, step.rate())
    outside(step, kernels)
    return step


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--lstmc", type=Path, default=ROOT / "target/release/lstmc", help="the command")
    arguments.add_argument("models", nargs="*", type=Path, metavar="MODEL.lstm")
    given = arguments.parse_args()
    models = given.models or [ROOT / "models" / f"{name}.lstm" for name in PTB]
    steps = {model.stem: predict(given.lstmc, model) for model in models}
    print("| ms a step | launches | between them | products | other kernels | loops over time | in all | words/s |")
    print("|---|---|---|---|---|---|---|---|")
    for name, step in steps.items():
        cells = " | ".join(f"{1e3 * part:.2f}" for part in [*step.parts(), sum(step.parts())])
        print(f"| {name}, {step.precision} | {step.launches} | {cells} | {step.words / sum(step.parts()):,.0f} |")
    print("\n| us a round | rounds | CTAs | MB that travel | MB of weights | waiting | tensor cores | in all |")
    print("|---|---|---|---|---|---|---|---|")
    for name, step in steps.items():
        for loop in step.loops:
            cells = f"{1e-6 * loop.exchange:.1f} | {1e-6 * loop.weights:.1f} | {1e6 * loop.waiting():.1f}"
            cells += f" | {1e6 * loop.multiplying:.1f} | {1e6 * loop.seconds():.1f}"
            print(f"| {name}, {loop.name} | {loop.rounds} | {loop.ctas} | {cells} |")


if __name__ == "__main__":
    main()
