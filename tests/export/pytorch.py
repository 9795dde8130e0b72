"""Runs exported parameters as PyTorch's layers, and compares with what lstmc found; for tests/export.rs.

Where PyTorch is not there, what its documentation says that nn.LSTM computes is written out instead.
"""

import json

import numpy as np
from judge import judge

try:
    import torch
except ImportError:
    torch = None


def tensors(path):
    """A safetensors file: a length, JSON of that length, and the values."""
    bytes = open(path, "rb").read()
    length = int.from_bytes(bytes[:8], "little")
    header = json.loads(bytes[8 : 8 + length])
    about = header.pop("__metadata__")
    assert about["format"] == "pt" and json.loads(about["vocabulary"])["words"]
    values = bytes[8 + length :]
    return {
        name: np.frombuffer(values[slice(*one["data_offsets"])], "<f4").reshape(one["shape"])
        for name, one in header.items()
    }


def with_torch(found, x, layers):
    """Logits by PyTorch's own layers, which refuse names and shapes that are not theirs."""
    rows, width = found["lstm.weight_ih_l0"].shape
    lstm = torch.nn.LSTM(width, rows // 4, layers, batch_first=True)
    linear = torch.nn.Linear(rows // 4, len(found["linear.bias"]))
    for layer, name in [(lstm, "lstm."), (linear, "linear.")]:
        own = {key[len(name) :]: torch.tensor(value) for key, value in found.items() if key.startswith(name)}
        layer.load_state_dict(own)
    with torch.no_grad():
        return linear(lstm(torch.tensor(x))[0]).numpy()


def by_the_book(found, x, layers):
    """Logits by nn.LSTM's equations."""
    sigmoid = lambda x: 1 / (1 + np.exp(-x))
    for layer in range(layers):
        w, r, b, d = (found[f"lstm.{name}_l{layer}"] for name in ["weight_ih", "weight_hh", "bias_ih", "bias_hh"])
        h = c = np.zeros((len(x), r.shape[1]), np.float32)
        out = []
        for at in range(x.shape[1]):
            i, f, g, o = np.split(x[:, at] @ w.T + b + h @ r.T + d, 4, axis=1)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
            out.append(h)
        x = np.stack(out, axis=1)
    return x @ found["linear.weight"].T + found["linear.bias"]


def run(case):
    found = tensors(case["file"])
    tokens = np.array(case["tokens"], np.int64)
    rows = len(tokens)
    if case["window"]:
        tokens = tokens.reshape(-1, case["window"])
    table = found.get("embedding.weight")
    x = tokens[..., None].astype(np.float32) if table is None else table[tokens]
    layers = sum(name.startswith("lstm.bias_ih") for name in found)
    logits = (with_torch if torch else by_the_book)(found, x, layers)
    if case["window"]:
        logits = logits[:, -1]
    e = np.exp(logits - logits.max(-1, keepdims=True))
    e = (e / e.sum(-1, keepdims=True)).reshape(rows, -1, e.shape[-1])
    expected = np.fromfile(case["expected"], "<f4").reshape(e.shape)
    return np.abs(e - expected).max(), np.ptp(expected, axis=1).max()


print("by PyTorch" if torch else "by its equations: PyTorch is not here")
judge(run)
