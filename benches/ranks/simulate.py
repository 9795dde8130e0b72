"""What a training step takes on several ranks, from sizes: of the model, the ranks and the network between them.

    python3 benches/ranks/simulate.py --check results.json     predicted beside what ranks.py has measured
    python3 benches/ranks/simulate.py --predict                8, 64 and 512 ranks

All ranks do the same at the same time, so one is simulated: its computing, and its thread that exchanges one group of
gradients after the other in backward order, as each is there. Links carry both ways at once, and the network between them
never is too narrow.
"""

import argparse
import json
import math
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

# Computing waits for all sums, clips and updates: bytes that this reads and writes for each byte of parameters.
UPDATE_TRAFFIC = 4.0
# Of TCP's bytes over Ethernet those that are the message's.
PAYLOAD = 0.95


@dataclass(frozen=True)
class Model:
    """Embedding, LSTM layers of one width, and a product by all words."""

    hidden: int
    layers: int
    vocab: int
    steps: int

    def lstm(self) -> int:
        return 8 * self.hidden**2 + 4 * self.hidden

    def logits(self) -> int:
        return self.hidden * self.vocab + self.vocab

    def parameters(self) -> int:
        return 2 * self.hidden * self.vocab + self.vocab + self.layers * self.lstm()

    def backward_order(self) -> list[tuple[float, int]]:
        """Of each group of gradients: FLOP a word until it is there, from the last one on, and numbers. The embedding is last."""
        groups = [(4.0 * self.logits(), self.logits())]
        return groups + [(4.0 * self.lstm(), self.lstm())] * self.layers

    def forward(self) -> float:
        """FLOP a word."""
        return 2.0 * (self.logits() + self.layers * self.lstm())


@dataclass(frozen=True)
class Machine:
    """A rank and the link that it has."""

    # FLOP/s of a step alone.
    flops: float
    # Seconds for a byte of messages that the exchange's thread writes and sends, or receives and adds.
    handling: float
    # Seconds to round a number to bf16, of those that are rounded, beside that.
    rounding: float
    # Bytes a second of the sweep that updates.
    memory: float = 1e10
    # Bits a second each way; seconds of a message, and between a message's coming and its being seen.
    rate: float = math.inf
    latency: float = 5e-6
    poll: float = 1e-4
    # Seconds of a message for the thread, whatever its length.
    message: float = 5e-6
    # Whether the exchange's thread has a core beside those that compute.
    spare: bool = True
    # Whether messages of one direction wait for those of the other.
    half_duplex: bool = False


def distinct(tokens: int, vocab: int) -> float:
    """Different words among so many of a text, whose frequencies fall as one through their place. Of 200 of the Penn Treebank 135
    (131 in it), of 700 383 (360)."""
    total = sum(1 / place for place in range(1, vocab + 1))
    return sum(1 - math.exp(tokens * math.log1p(-1 / place / total)) for place in range(1, vocab + 1))


@dataclass
class Phase:
    """A part of an exchange: work of a core, or time on the wire."""

    seconds: float
    on_core: bool


def swap(machine: Machine, ranks: int, to_each: float) -> Iterator[Phase]:
    """Every rank sends a message of so many bytes to every other one, and does something with each that comes."""
    others = ranks - 1
    ways = 2 if machine.half_duplex else 1
    yield Phase(others * (to_each * machine.handling + machine.message), True)
    yield Phase(machine.latency + machine.poll + ways * 8 * others * to_each / (machine.rate * PAYLOAD), False)
    yield Phase(others * (to_each * machine.handling + machine.message), True)


def exchange(machine: Machine, ranks: int, own: float, sums: float, rounds: bool, table: bool) -> Iterator[Phase]:
    """Reduce-scatter, then all-gather, of `own` bytes of each rank and `sums` of all. Tables' lengths go before."""
    if rounds:
        yield Phase(machine.rounding * own / 2 * (1 + 1 / ranks), True)
    for size in (own, sums):
        if table:
            yield from swap(machine, ranks, 8)
        yield from swap(machine, ranks, size / ranks)


@dataclass
class Step:
    seconds: float
    waited: float
    # That a rank has sent.
    bytes: float


def step(model: Model, machine: Machine, ranks: int, rows: float, bf16: bool) -> Step:
    """A step of so many rows a rank."""
    words, width = rows * model.steps, 2 if bf16 else 4
    compute = [words * flop / machine.flops for flop, _ in model.backward_order()]
    compute[0] += words * model.forward() / machine.flops
    sizes = [(count * width, count * width, False) for _, count in model.backward_order()]
    everyone = int(words * ranks)
    rows_of = lambda tokens: (lambda found: found if 2 * found < model.vocab else model.vocab)(distinct(int(tokens), model.vocab))
    table = [rows_of(tokens) * model.hidden * width for tokens in (words, everyone)]
    sizes.append((table[0], table[1], True))
    # Nothing is left to compute when the embedding's gradient is there.
    compute.append(0.0)
    jobs = [list(exchange(machine, ranks, *sizes[at][:2], bf16, sizes[at][2])) for at in range(len(sizes))]
    if ranks == 1:
        jobs = []
    backward, end = together(compute, jobs, machine.spare)
    update = 4 * model.parameters() * UPDATE_TRAFFIC / machine.memory
    sent = sum((own + sums) * (ranks - 1) / ranks for own, sums, _ in sizes)
    return Step(end + update, end - backward, sent)


def together(compute: list[float], jobs: list[list[Phase]], spare: bool) -> tuple[float, float]:
    """When computing ends, and when the exchanges do, from event to event. Part `i` of `compute` makes what job `i` sends; on
    one core both get half of it."""
    now, backward, part, job = 0.0, 0.0, 0, 0
    parts, phases = list(compute), [[replace(phase) for phase in one] for one in jobs]
    while part < len(parts) or job < len(phases):
        if part < len(parts) and parts[part] <= 0:
            part, backward = part + 1, now
            continue
        while job < len(phases) and phases[job] and phases[job][0].seconds <= 0:
            phases[job].pop(0)
        if job < len(phases) and not phases[job]:
            job += 1
            continue
        phase = phases[job][0] if job < min(len(phases), part) else None
        computes = part < len(parts)
        speed = 0.5 if computes and phase and phase.on_core and not spare else 1.0
        ends = [parts[part] / speed] if computes else []
        if phase:
            ends.append(phase.seconds / (speed if phase.on_core else 1.0))
        took = min(ends)
        now += took
        if computes:
            parts[part] = 0.0 if took == ends[0] else parts[part] - took * speed
        if phase:
            left = phase.seconds - took * (speed if phase.on_core else 1.0)
            phase.seconds = 0.0 if took == ends[-1] else left
    return backward, now


PTB = {"ptb-small": Model(200, 2, 10_000, 20), "ptb-medium": Model(650, 2, 10_000, 35)}
PTB_LARGE = Model(1500, 2, 10_000, 35)
BILLION = Model(4096, 4, 56_000, 35)
ROWS = 20


def solve(wrong: Callable[[float], float], low: float, high: float) -> float:
    """Where a falling function is zero, between two positive numbers; the nearer end if it is nowhere."""
    for _ in range(60):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if wrong(middle) > 0 else (low, middle)
    return middle


def calibrated(found: dict[tuple[str, str, str], dict]) -> dict[str, Machine]:
    """By model: FLOP/s from lstmc alone; what handling a byte and rounding a number costs from ptb-medium over loopback."""
    machines = {}
    for name, model in PTB.items():
        measured = found[name, "one process", "lstmc alone"]["median"]
        start = Machine(1e11, 0, 0, spare=False)
        alone = lambda flops: measured - ROWS * model.steps / step(model, replace(start, flops=flops), 1, ROWS, False).seconds
        machines[name] = replace(start, flops=solve(alone, 1e9, 1e13))
    name, place = "ptb-medium", "loopback TCP"
    model, own = PTB[name], machines[name]
    speed = lambda machine, bf16: ROWS * model.steps / step(model, machine, 2, ROWS / 2, bf16).seconds
    target = {bf16: found[name, place, f"lstmc {how}"]["median"] for bf16, how in ((False, "f32"), (True, "bf16"))}
    handling = solve(lambda value: speed(replace(own, handling=value), False) - target[False], 1e-12, 1e-7)
    own = replace(own, handling=handling)
    rounding = solve(lambda value: speed(replace(own, rounding=value), True) - target[True], 1e-13, 1e-7)
    return {name: replace(one, handling=handling, rounding=rounding) for name, one in machines.items()}


def read(path: Path) -> dict[tuple[str, str, str], dict]:
    rows = json.loads(path.read_text())["measured"]
    medians = lambda one: {
        "median": statistics.median(one["words_per_second"]), "waiting": statistics.median(one["waited"] or [0.0])
    }  # fmt: skip
    return {(one["model"], one["place"], one["system"]): one | medians(one) for one in rows}


def check(path: Path) -> None:
    found = read(path)
    machines = calibrated(found)
    one = machines["ptb-medium"]
    rates = ", ".join(f"{name} {machine.flops / 1e9:.0f} GFLOP/s" for name, machine in machines.items())
    print(f"taken from the rows with *: {rates}; {1e9 * one.handling:.2f} ns a byte, {1e9 * one.rounding:.2f} ns a number rounded\n")
    print("| model | by | system | words/s predicted | measured | difference | waiting predicted | measured | sent predicted | measured |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for (name, place, system), row in found.items():
        if name not in machines or not system.startswith("lstmc") or place == "one process":
            continue
        machine = replace(machines[name], half_duplex="1 connection" in system)
        if row["rate"]:
            machine = replace(machine, rate=row["rate"], latency=row["latency"])
        predicted = step(PTB[name], machine, 2, ROWS / 2, "bf16" in system)
        speed = ROWS * PTB[name].steps / predicted.seconds
        star = " *" if (name, place) == ("ptb-medium", "loopback TCP") else ""
        print(
            f"| {name} | {place} | {system}{star} | {speed:,.0f} | {row['median']:,.0f} | {speed / row['median'] - 1:+.0%} "
            f"| {predicted.waited / predicted.seconds:.0%} | {row['waiting']:.0%} "
            f"| {predicted.bytes / 1e6:.1f} MB | {row['bytes'] / 1e6:.1f} MB |"
        )


def predict(machine: Machine) -> None:
    counts, strong_rows = (8, 64, 512), 512
    print(f"A rank computes {machine.flops / 1e12:g} TFLOP/s, and has a core more that takes {1e9 * machine.handling:g} ns for a byte of")
    print(f"a message and {1e9 * machine.rounding:g} ns to round a number; {1e6 * machine.latency:g} us a message. Weak: {ROWS} rows a rank; of the speed of")
    print(f"as many ranks alone. Strong: {strong_rows} rows in all; times the speed of one rank.\n")
    head = " | ".join(f"{how} {count}" for how in ("weak", "strong") for count in counts)
    print(f"| model | gradients | Gbit/s | {head} |\n|{'---|' * (3 + 2 * len(counts))}")
    for name, model in (("ptb-large", PTB_LARGE), (f"{model_size(BILLION)}", BILLION)):
        for bf16 in (False, True):
            for rate in (1e9, 1e10, 1e11):
                linked = replace(machine, rate=rate)
                alone = step(model, linked, 1, ROWS, False).seconds
                whole = step(model, linked, 1, strong_rows, False).seconds
                weak = [f"{alone / step(model, linked, count, ROWS, bf16).seconds:.0%}" for count in counts]
                strong = [f"{whole / step(model, linked, count, strong_rows / count, bf16).seconds:.1f}" for count in counts]
                print(f"| {name} | {'bf16' if bf16 else 'f32'} | {rate / 1e9:g} | {' | '.join(weak + strong)} |")


def model_size(model: Model) -> str:
    return f"{model.layers} x {model.hidden:,}, {model.parameters() / 1e9:.2f} G"


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--check", type=Path, metavar="RESULTS", help="what ranks.py has measured")
    arguments.add_argument("--predict", action="store_true", help="a table for many ranks")
    arguments.add_argument("--flops", type=float, default=1e12, help="of a rank, for --predict [default: 1e12]")
    arguments.add_argument("--handling", type=float, default=0.5e-9, help="seconds a byte [default: 0.5e-9]")
    arguments.add_argument("--rounding", type=float, default=1e-9, help="seconds a number [default: 1e-9]")
    arguments.add_argument("--latency", type=float, default=20e-6, help="seconds a message [default: 20e-6]")
    given = arguments.parse_args()
    if given.check:
        check(given.check)
    if given.predict:
        # A large machine's sweep over the parameters is as fast as its memory.
        predict(Machine(given.flops, given.handling, given.rounding, memory=1e11, latency=given.latency))
    if not given.check and not given.predict:
        arguments.error("say --check RESULTS or --predict")


if __name__ == "__main__":
    main()
