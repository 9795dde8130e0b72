"""JAX: `peer_jax.py MODEL IDS VOCAB UNROLL`, one jitted step with a scan over time, see `recipes` for what it answers;
`peer_jax.py MODEL VOCAB compile STEPS ROUNDS` answers with the seconds of tracing and compiling that step, and ends."""

import statistics
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

import recipes
from recipes import RECIPES, Recipe

Tree = Any


def layer(x: jax.Array, state: Tree, w: jax.Array, r: jax.Array, b: jax.Array, unroll: int) -> tuple[jax.Array, Tree]:
    """An LSTM over time: the input's products of all steps at once, the recurrent one in the scan."""

    def step(carry: Tree, z: jax.Array) -> tuple[Tree, jax.Array]:
        h, c = carry
        i, f, g, o = jnp.split(z + h @ r, 4, axis=-1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    state, out = lax.scan(step, state, x @ w + b, unroll=unroll)
    return out, state


def loss_of(
    recipe: Recipe, unroll: int, p: Tree, state: Tree, tokens: Tree, targets: Tree, key: Tree
) -> tuple[Any, Tree]:
    def dropout(x: jax.Array, number: int) -> jax.Array:
        keep = jax.random.bernoulli(jax.random.fold_in(key, number), 1 - recipe.dropout, x.shape)
        return jnp.where(keep, x / (1 - recipe.dropout), 0)

    everywhere = recipe.dropout > 0 and not recipe.dropout_last
    x = p["embedding"][tokens]
    if everywhere:
        x = dropout(x, 0)
    after = []
    for number in range(recipe.layers):
        x, carry = layer(x, state[number], p[f"W{number}"], p[f"R{number}"], p[f"b{number}"], unroll)
        after.append(carry)
        if everywhere or (recipe.dropout and number == recipe.layers - 1):
            x = dropout(x, number + 1)
    logits = x @ p["out"] + p["bias"]
    picked = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    loss = jnp.mean(jax.nn.logsumexp(logits, axis=-1) - picked)
    return loss * (recipe.steps if recipe.sum_steps else 1), (loss, after)


def update(recipe: Recipe, p: Tree, moments: Tree, gradients: Tree, count: jax.Array) -> tuple[Tree, Tree]:
    each = jax.tree.map
    if recipe.clip:
        norm = jnp.sqrt(sum(jnp.vdot(g, g) for g in jax.tree.leaves(gradients)))
        scale = jnp.minimum(1, recipe.clip / norm)
        gradients = each(lambda g: g * scale, gradients)
    if recipe.optimizer == "sgd":
        return each(lambda p, g: p - recipe.rate * g, p, gradients), moments
    first = each(lambda m, g: 0.9 * m + 0.1 * g, moments[0], gradients)
    second = each(lambda v, g: 0.999 * v + 0.001 * g * g, moments[1], gradients)
    a, b = 1 - 0.9**count, 1 - 0.999**count
    new = each(lambda p, m, v: p - recipe.rate * (m / a) / (jnp.sqrt(v / b) + recipe.epsilon), p, first, second)
    return new, (first, second)


def step_of(recipe: Recipe, unroll: int) -> Any:
    """(parameters, moments, count, total loss, state), tokens, targets -> the same after the step."""

    @partial(jax.jit, donate_argnums=0)
    def step(train: Tree, state: Tree, tokens: Tree, targets: Tree) -> tuple[Tree, Tree]:
        p, moments, count, total = train
        key = jax.random.fold_in(jax.random.key(0, impl="rbg"), count)
        gradient = jax.grad(lambda p: loss_of(recipe, unroll, p, state, tokens, targets, key), has_aux=True)
        gradients, (loss, after) = gradient(p)
        count += 1
        p, moments = update(recipe, p, moments, gradients, count)
        return (p, moments, count, total + loss), after

    return step


def start(recipe: Recipe, vocab: int) -> tuple[Tree, Tree]:
    p = {name: jnp.asarray(value) for name, value in recipes.parameters(recipe, vocab).items()}
    moments = tuple(jax.tree.map(jnp.zeros_like, p) for _ in range(2)) if recipe.optimizer == "adam" else ()
    state = [(jnp.zeros((recipe.rows, recipe.hidden)),) * 2] * recipe.layers
    return (p, moments, jnp.zeros((), jnp.int32), jnp.zeros(())), state


def train(name: str, ids: str, vocab: str, unroll: str) -> None:
    answer = recipes.protocol()
    recipe = RECIPES[name]
    step = step_of(recipe, int(unroll))
    trained, zeros = start(recipe, int(vocab))
    feed = recipes.batches(recipe, recipes.token_ids(Path(ids)).astype("int32"))
    state = zeros

    def run(steps: int) -> float:
        nonlocal trained, state
        trained = (*trained[:3], jnp.zeros(()))
        for _ in range(steps):
            tokens, targets, afresh = next(feed)
            trained, state = step(trained, zeros if afresh else state, tokens, targets)
        return float(trained[3]) / steps

    recipes.serve(answer, run)


def compilation(name: str, vocab: str, steps: str, rounds: str) -> None:
    answer = recipes.protocol()
    recipe = replace(RECIPES[name], steps=int(steps))
    arguments = jax.eval_shape(lambda: start(recipe, int(vocab)))
    ids = jax.ShapeDtypeStruct((recipe.steps, recipe.rows), jnp.int32)

    def once() -> float:
        jax.clear_caches()
        started = time.perf_counter()
        step_of(recipe, 1).lower(*arguments, ids, ids).compile()
        return time.perf_counter() - started

    answer({"seconds": statistics.median(once() for _ in range(int(rounds)))})


if __name__ == "__main__":
    if "compile" in sys.argv:
        compilation(sys.argv[1], sys.argv[2], *sys.argv[4:])
    else:
        train(*sys.argv[1:])
