"""Processes that are measured in turn."""

import json
import math
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

Environment = dict[str, str]

# Seconds between two contestants, in which the threads of the one that has run stop waiting in place for more to do.
PAUSE = 0.05
# Seconds that two cores take to meet at a barrier, above which they share no cache: each gets what the other has written
# by way of memory's controllers. A virtual machine's host moves cores between caches as it pleases. Zen 5: 60 and 280 ns.
APART = 150e-9
# Rounds for each that was wanted, in the hope of cores that share a cache.
PATIENCE = 5


@dataclass
class Ran:
    """What a process says of some steps."""

    # Per step.
    seconds: float
    # Mean over the steps, of those that train.
    loss: float | None


@dataclass(kw_only=True)
class Rounds:
    # Per step, of each round.
    seconds: list[float] = field(default_factory=list)

    def median(self) -> float:
        return statistics.median(self.seconds)

    def times_faster_than(self, other: "Rounds") -> float:
        """The median of each round's own ratio."""
        return statistics.median(b / a for a, b in zip(self.seconds, other.seconds, strict=True))


@dataclass
class Measured(Rounds):
    # Until it could take commands.
    ready: float
    # Of the first step, with what is compiled only then.
    first: float
    # Mean loss of the first steps.
    loss: float | None
    # Floating-point operations of a step, where it says so.
    flop: float
    # Floating-point operations a second that the machine could do in each round, where it says so.
    peaks: list[float] = field(default_factory=list)


class Contestant:
    """A process that answers commands; see `recipes`."""

    def __init__(self, name: str, command: list[str], environment: Environment) -> None:
        self.name = name
        self.log = tempfile.TemporaryFile(mode="w+")
        started = time.perf_counter()
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True, env=environment
        )
        self.about = self.answer()
        self.ready = time.perf_counter() - started

    def answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.log.seek(0)
            raise SystemExit(f"{self.name} ended ({self.process.wait()}):\n{self.log.read()[-2000:]}")
        return dict(json.loads(line))

    def ask(self, command: str) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return self.answer()

    def run(self, steps: int) -> Ran:
        said = self.ask(f"run {steps}")
        return Ran(said["seconds"] / steps, said.get("loss"))

    def barrier(self) -> float:
        """Seconds in which its first two threads meet at a barrier, if none is late."""
        return float(self.ask("barrier")["seconds"])

    def end(self) -> None:
        if self.process.stdin:
            self.process.stdin.close()
        self.process.wait()


@contextmanager
def running(commands: dict[str, list[str]], environment: Environment) -> Iterator[list[Contestant]]:
    """A contestant for each command, by name; they are ended whatever happens."""
    contestants: list[Contestant] = []
    try:
        for name, command in commands.items():
            contestants.append(Contestant(name, command, environment))
        yield contestants
    finally:
        for contestant in contestants:
            contestant.end()


def steps_of(contestant: Contestant, warm_up: int, seconds: float) -> int:
    """Steps that take about `seconds`, after it has run `warm_up` once."""
    return math.ceil(seconds / contestant.run(warm_up).seconds)


# Steps before anything is timed, by all: in its first twenty lstmc tries ways to go about its products.
WARM_UP = 24


def measure(contestants: list[Contestant], rounds: int, seconds: float, first: int) -> dict[str, Measured]:
    """Warms up with `first` steps, whose loss is told, and more up to `WARM_UP`, then runs each for about `seconds` in each round."""
    found, steps = {}, {}
    for one in contestants:
        start, rest = one.run(1), one.run(first - 1)
        loss = None
        if start.loss is not None and rest.loss is not None:
            loss = (start.loss + rest.loss * (first - 1)) / first
        found[one.name] = Measured(one.ready, start.seconds, loss, one.about.get("flop", math.nan))
        steps[one.name] = steps_of(one, max(1, first // 4, WARM_UP - first), seconds)
    for _ in range(rounds):
        for one in contestants:
            its = found[one.name]
            time.sleep(PAUSE)
            if "flop" in one.about:
                its.peaks.append(one.ask("peak")["flops"])
            its.seconds.append(one.run(steps[one.name]).seconds)
    return found


@dataclass
class Scaling:
    """The same rounds on several threads and on one."""

    many: Rounds = field(default_factory=Rounds)
    one: Rounds = field(default_factory=Rounds)


def measure_scaling(many: Contestant, one: Contestant, rounds: int, seconds: float) -> tuple[Scaling, Scaling]:
    """Runs both in turn; the rounds in which the cores shared a cache, of which there are to be `rounds`, and the others.

    Which round is which says a barrier before and after it, and not its own time. A round in which that changed is left
    out.
    """
    for contestant in (many, one):
        contestant.run(2)
    steps_of_many, steps_of_one = steps_of(many, 2, seconds), steps_of(one, 2, seconds)
    together, apart = Scaling(), Scaling()
    for _ in range(PATIENCE * rounds):
        time.sleep(PAUSE)
        single = one.run(steps_of_one).seconds
        time.sleep(PAUSE)
        before = many.barrier() > APART
        double = many.run(steps_of_many).seconds
        after = many.barrier() > APART
        if before == after:
            found = apart if before else together
            found.many.seconds.append(double)
            found.one.seconds.append(single)
        if len(together.many.seconds) >= rounds:
            break
    return together, apart


def peak_memory(command: list[str], commands: str, environment: Environment) -> int:
    """Bytes of resident memory that a process had at most, from its start to its end."""
    with tempfile.TemporaryFile(mode="w+") as said, tempfile.TemporaryFile(mode="w+") as log:
        said.write(commands)
        said.seek(0)
        process = subprocess.Popen(command, stdin=said, stdout=log, stderr=log, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            log.seek(0)
            raise SystemExit(f"{command[0]} failed:\n{log.read()[-2000:]}")
    return 1024 * usage.ru_maxrss
