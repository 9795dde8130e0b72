"""The models of `models/` as the other frameworks are to train them, and what their processes have in common.

A peer's process reads commands from its standard input, one a line, and answers each with one JSON object a line:

    run N     makes N steps more: {"seconds": of all of them, "loss": mean cross-entropy per prediction, or null}
    quit      ends

It begins with one object of its own, when it is ready for the first command.
"""

import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray


@dataclass(frozen=True)
class Recipe:
    """A model and how it is trained, as its `.lstm` file says."""

    hidden: int
    rows: int
    steps: int
    layers: int = 2
    # Words enter as one number and only the last step predicts, instead of an embedding and a prediction at each step.
    scalar: bool = False
    # Rows are contiguous streams whose state is carried; otherwise windows that start afresh, `stride` tokens apart.
    stream: bool = True
    stride: int = 0
    dropout: float = 0.0
    # Dropout after the last layer only, instead of after the embedding and each layer.
    dropout_last: bool = False
    optimizer: str = "sgd"
    rate: float = 1.0
    epsilon: float = 0.0
    # The objective is the loss averaged over the rows and summed over the steps, instead of averaged over both.
    sum_steps: bool = True
    clip: float | None = None
    # Weights start uniformly in -init .. init; without it as Keras or the article of the fable has it.
    init: float | None = None
    forget_bias: float = 0.0


RECIPES = {
    "ptb-small": Recipe(200, 20, 20, clip=5.0, init=0.1),
    "ptb-medium": Recipe(650, 20, 35, dropout=0.5, clip=5.0, init=0.05),
    "ptb-large": Recipe(1500, 20, 35, dropout=0.65, clip=10.0, init=0.04),
    "ptb-keras": Recipe(
        500, 20, 30, stream=False, stride=30, dropout=0.5, dropout_last=True,
        optimizer="adam", rate=1e-3, epsilon=1e-7, sum_steps=False, forget_bias=1.0,
    ),
    "aesop": Recipe(
        512, 1, 3, layers=1, scalar=True, stream=False, stride=4,
        optimizer="rmsprop", rate=1e-3, epsilon=1e-10, sum_steps=False, forget_bias=1.0,
    ),
    "aesop-deep": Recipe(
        512, 1, 3, layers=2, scalar=True, stream=False, stride=4,
        optimizer="rmsprop", rate=1e-3, epsilon=1e-10, sum_steps=False, forget_bias=1.0,
    ),
}  # fmt: skip


def parameters(recipe: Recipe, vocab: int) -> dict[str, Array]:
    """Where training starts: `embedding` [vocab, H], for layer l `W{l}` [in, 4 H], `R{l}` [H, 4 H] and `b{l}` [4 H]
    with the gates i, f, g, o one after the other, `out` [H, vocab] and `bias` [vocab]. Vectors are rows: `x @ W`."""
    random = np.random.default_rng(0)
    hidden = recipe.hidden

    def uniform(limit: float, *shape: int) -> Array:
        return random.uniform(-(recipe.init or limit), recipe.init or limit, shape).astype(np.float32)

    def orthogonal() -> Array:
        gates = [0.5 * np.linalg.qr(random.normal(size=(hidden, hidden)))[0] for _ in range(4)]
        return np.concatenate(gates, axis=1).astype(np.float32)

    found = {} if recipe.scalar else {"embedding": uniform(0.05, vocab, hidden)}
    for layer in range(recipe.layers):
        width = 1 if recipe.scalar and layer == 0 else hidden
        # The article draws a cell's weights, input and recurrent, as one matrix.
        fan_in = width + hidden if recipe.scalar else width
        limit = math.sqrt(6 / (fan_in + 4 * hidden))
        found[f"W{layer}"] = uniform(limit, width, 4 * hidden)
        keras = recipe.init is None and not recipe.scalar
        found[f"R{layer}"] = orthogonal() if keras else uniform(limit, hidden, 4 * hidden)
        found[f"b{layer}"] = np.zeros(4 * hidden, np.float32)
        found[f"b{layer}"][hidden : 2 * hidden] = recipe.forget_bias
    if recipe.scalar:
        found["out"] = random.normal(size=(hidden, vocab)).astype(np.float32)
        found["bias"] = random.normal(size=vocab).astype(np.float32)
    else:
        found["out"] = uniform(math.sqrt(6 / (hidden + vocab)), hidden, vocab)
        found["bias"] = np.zeros(vocab, np.float32)
    return found


def batches(recipe: Recipe, ids: Array) -> Iterator[tuple[Array, Array, bool]]:
    """Tokens [steps, rows], targets (the same, or [rows]), and whether state starts afresh; for ever."""
    rows, steps = recipe.rows, recipe.steps
    window = np.arange(steps + 1)[:, None]
    if recipe.stream:
        row_len = len(ids) // rows
        starts, count, stride = np.arange(rows) * row_len, (row_len - 1) // steps, steps
    else:
        count = ((len(ids) - steps - 1) // recipe.stride + 1) // rows
        starts, stride = np.arange(rows) * recipe.stride, rows * recipe.stride
    while True:
        for step in range(count):
            block = ids[window + starts[None, :] + step * stride]
            targets = block[-1] if recipe.scalar else block[1:]
            yield block[:-1], targets, step == 0 or not recipe.stream


def token_ids(path: Path) -> Array:
    return np.fromfile(path, np.uint32).astype(np.int64)


def protocol() -> Callable[[dict[str, Any]], None]:
    """Keeps standard output for answers alone: whatever else is printed goes to standard error."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(words: dict[str, Any]) -> None:
        print(json.dumps(words), file=answers, flush=True)

    return answer


def serve(answer: Callable[[dict[str, Any]], None], run: Callable[[int], float | None]) -> None:
    """Answers commands: `run` makes so many steps, waits for the last, and returns their mean loss."""
    answer({"ready": True})
    for line in sys.stdin:
        command, *arguments = line.split()
        if command == "quit":
            break
        started = time.perf_counter()
        loss = run(int(arguments[0]))
        answer({"seconds": time.perf_counter() - started, "loss": loss})
