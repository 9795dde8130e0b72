"""What a training step takes on several ranks, from sizes: of the model, the ranks and the network between them.

    python3 benches/ranks/simulate.py --check results.json     predicted beside what ranks.py has measured
    python3 benches/ranks/simulate.py --predict                8, 64 and 512 ranks

All ranks do the same at the same time, so one is simulated: its computing, and its thread that exchanges one group of
gradients after the other in backward order, as each is there. Links carry both ways at once, and the network between them
never is too narrow.
"""

import argparse
import itertools
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

    def backward_order(self) -> list[int]:
        """Numbers of each group of gradients but the embedding's, which is last. FLOP a word: 2 for each forward, 4 backward."""
        return [self.hidden * self.vocab + self.vocab] + [8 * self.hidden**2 + 4 * self.hidden] * self.layers

    def parameters(self) -> int:
        return self.hidden * self.vocab + sum(self.backward_order())


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


def rows_sent(tokens: int, vocab: int) -> float:
    """Different words among so many of a text, whose frequencies fall as one through their place, or all rows where these are
    more than half. Of 200 words of the Penn Treebank 135 (131 in it), of 700 383 (360)."""
    total = sum(1 / place for place in range(1, vocab + 1))
    found = sum(1 - math.exp(tokens * math.log1p(-1 / place / total)) for place in range(1, vocab + 1))
    return found if 2 * found <= vocab else vocab


@dataclass
class Phase:
    """Work of a core, or time on the wire."""

    seconds: float
    on_core: bool


def swap(machine: Machine, ranks: int, to_each: float) -> Iterator[Phase]:
    """Every rank sends a message of so many bytes to every other one, and does something with each that comes."""
    others = ranks - 1
    ways = 2 if machine.half_duplex else 1
    yield Phase(others * (to_each * machine.handling + machine.message), True)
    yield Phase(machine.latency + machine.poll + ways * 8 * others * to_each / (machine.rate * PAYLOAD), False)
    yield Phase(others * (to_each * machine.handling + machine.message), True)


def exchange(machine: Machine, ranks: int, own: float, sums: float, table: bool, rounds: bool) -> Iterator[Phase]:
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
    compute = [4 * words * count / machine.flops for count in model.backward_order()]
    compute[0] += sum(compute) / 2
    sizes = [(count * width, count * width, False) for count in model.backward_order()]
    own, sums = (rows_sent(tokens, model.vocab) * model.hidden * width for tokens in (int(words), int(words * ranks)))
    sizes.append((own, sums, True))
    # Nothing is left to compute when the embedding's gradient is there.
    compute.append(0.0)
    jobs = [list(exchange(machine, ranks, *size, bf16)) for size in sizes] if ranks > 1 else []
    backward, end = together(compute, jobs, machine.spare)
    update = 4 * model.parameters() * UPDATE_TRAFFIC / machine.memory
    sent = sum((own + sums) * (ranks - 1) / ranks for own, sums, _ in sizes)
    return Step(end + update, end - backward, sent)


def together(compute: list[float], jobs: list[list[Phase]], spare: bool) -> tuple[float, float]:
    """When computing ends, and when the exchanges do, from event to event. Part `i` of `compute` makes what job `i` sends; on
    one core both get half of it."""
    now, backward, done = 0.0, 0.0, 0
    phases = [(number, phase) for number, job in enumerate(jobs) for phase in job]
    parts = [Phase(seconds, True) for seconds in compute]
    while done < len(parts) or phases:
        running = parts[done : done + 1]
        if phases and phases[0][0] < done:
            running.append(phases[0][1])
        share = 1.0 if spare or sum(one.on_core for one in running) < 2 else 0.5
        speeds = [share if one.on_core else 1.0 for one in running]
        took = min(one.seconds / speed for one, speed in zip(running, speeds, strict=True))
        now += took
        for one, speed in zip(running, speeds, strict=True):
            # What is over is so in spite of rounding.
            one.seconds = 0.0 if one.seconds <= took * speed * (1 + 1e-12) else one.seconds - took * speed
        if done < len(parts) and parts[done].seconds == 0:
            done, backward = done + 1, now
        if phases and phases[0][1].seconds == 0:
            phases.pop(0)
    return backward, now


PTB = {"ptb-small": Model(200, 2, 10_000, 20), "ptb-medium": Model(650, 2, 10_000, 35)}
LARGE = {"ptb-large": Model(1500, 2, 10_000, 35), "1 G parameters": Model(4096, 4, 56_000, 35)}
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
    medians = {"median": "words_per_second", "waiting": "waited"}
    rows = [
        one | {name: statistics.median(one[of] or [0.0]) for name, of in medians.items()}
        for one in json.loads(path.read_text())["measured"]
    ]
    return {(one["model"], one["place"], one["system"]): one for one in rows}


def check(path: Path) -> None:
    found = read(path)
    machines = calibrated(found)
    one = machines["ptb-medium"]
    rates = ", ".join(f"{name} {machine.flops / 1e9:.0f} GFLOP/s" for name, machine in machines.items())
    print(f"taken from the rows with *: {rates}; {1e9 * one.handling:.2f} ns a byte, {1e9 * one.rounding:.2f} ns a number rounded\n")
    columns = "model | by | system | words/s predicted | measured | difference | waiting predicted | measured | sent predicted | measured"
    print(f"| {columns} |\n|{'---|' * 10}")
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
    print(f"{machine}\nweak: {ROWS} rows a rank, of the speed of as many ranks alone; strong: {strong_rows} rows, times the speed of one\n")
    print(f"| model | gradients | Gbit/s | {' | '.join(f'{how} {count}' for how in ('weak', 'strong') for count in counts)} |")
    print(f"|{'---|' * (3 + 2 * len(counts))}")
    for (name, model), bf16, rate in itertools.product(LARGE.items(), (False, True), (1e9, 1e10, 1e11)):
        linked = replace(machine, rate=rate)
        took = lambda ranks, rows: step(model, linked, ranks, rows, bf16).seconds
        weak = [f"{took(1, ROWS) / took(count, ROWS):.0%}" for count in counts]
        strong = [f"{took(1, strong_rows) / took(count, strong_rows / count):.1f}" for count in counts]
        print(f"| {name} | {'bf16' if bf16 else 'f32'} | {rate / 1e9:g} | {' | '.join(weak + strong)} |")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--check", type=Path, metavar="RESULTS", help="what ranks.py has measured")
    arguments.add_argument("--predict", action="store_true", help="a table for many ranks")
    known = {"flops": (1e12, "a second, of a rank"), "handling": (2.5e-10, "s a byte"), "rounding": (2e-9, "s a number"), "latency": (2e-5, "s")}
    for name, (value, unit) in known.items():
        arguments.add_argument(f"--{name}", type=float, default=value, help=f"for --predict, {unit} [default: {value:g}]")
    given = arguments.parse_args()
    if given.check:
        check(given.check)
    if given.predict:
        # A large machine's sweep over the parameters is as fast as its memory.
        predict(Machine(given.flops, given.handling, given.rounding, memory=1e11, latency=given.latency))
    if not (given.check or given.predict):
        arguments.error("say --check RESULTS or --predict")


if __name__ == "__main__":
    main()
