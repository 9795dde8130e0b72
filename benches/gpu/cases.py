"""The models that are compared on a GPU, and the text that they read."""

import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(HERE.parent / "peers"))

from recipes import RECIPES, Recipe  # noqa: E402

# One layer alone, on long sequences of few words, so that the loop over time is most of a step. cuDNN has a persistent
# kernel for 768 units, in fp16, and for 128 units in any precision.
LAYERS = {
    "layer-768": Recipe(768, 16, 128, layers=1, rate=0.1, clip=5.0, init=0.05),
    "layer-128": Recipe(128, 20, 128, layers=1, rate=0.1, clip=5.0, init=0.05),
}
PTB = ("ptb-small", "ptb-keras", "ptb-medium", "ptb-large")
MODELS = {**{name: RECIPES[name] for name in PTB}, **LAYERS}

LAYER = """\
data {{ train: "ptb.train.txt" tokens: words(newline: "<eos>") batches: stream(rows: {rows}, steps: {steps}) }}
model {{ tokens -> embedding({hidden}) -> lstm({hidden}) -> dense(vocab) -> softmax }}
train {{
    loss: cross_entropy(steps: sum) optimizer: sgd(rate: {rate}) clip: norm({clip}) init: uniform({init}) epochs: 1
}}
"""

TOKENS = 200_000
WORDS_OF_A_LINE = 20


def vocabulary(model: str) -> int:
    return 100 if model in LAYERS else 10_000


def source(model: str, precision: str) -> str:
    """The model's file, with this precision."""
    recipe = MODELS[model]
    shipped = ROOT / "models" / f"{model}.lstm"
    text = LAYER.format(**vars(recipe)) if model in LAYERS else shipped.read_text()
    return text.replace("train {", f"train {{\n    precision: {precision}", 1)


def text(vocab: int) -> str:
    """Words as often as in a language, the n-th in proportion to 1 / n, in no order; each of them occurs."""
    words = np.arange(vocab - 1)
    often = 1 / (1 + words)
    drawn = np.random.default_rng(0).choice(words, TOKENS, p=often / often.sum())
    named = [f"w{word}" for word in np.concatenate([words, drawn])]
    lines = [" ".join(named[at : at + WORDS_OF_A_LINE]) for at in range(0, len(named), WORDS_OF_A_LINE)]
    return "\n".join(lines) + "\n"
