"""Checks ONNX files and compares their probabilities with what lstmc found; for tests/export.rs."""

import json

import numpy as np
import onnx
import onnxruntime
from judge import TOLERANCE, judge


def pieces(tokens, window, dims):
    """The tokens as the model takes them, piece by piece."""
    if window:
        return np.split(tokens, tokens.shape[1] // window, axis=1)
    if len(dims) == 1:
        return [tokens[:, at] for at in range(tokens.shape[1])]
    # An open number of steps may be another one each time.
    step = dims[1] if isinstance(dims[1], int) else None
    cuts = range(step, tokens.shape[1], step) if step else [1, 8, 60]
    return np.split(tokens, list(cuts), axis=1)


def run(case):
    model = onnx.load(case["file"])
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(case["file"])
    about = session.get_modelmeta().custom_metadata_map
    assert {"name", "vocabulary", "tokens", "states", "source"} <= about.keys(), about.keys()
    tokens = np.array(case["tokens"], np.int64)
    rows = len(tokens)
    states = json.loads(about["states"])
    state = {one["input"]: np.full((rows, one["width"]), one["start"], np.float32) for one in states}
    found = []
    for piece in pieces(tokens, case["window"], session.get_inputs()[0].shape):
        probabilities, *new = session.run(None, {"tokens": piece, **state})
        state = dict(zip(state, new))
        found.append(probabilities.reshape(rows, -1, probabilities.shape[-1]))
    found = np.concatenate(found, axis=1)
    vocabulary = json.loads(about["vocabulary"])
    assert found.shape[-1] == vocabulary["reserve"] + len(vocabulary["words"])
    expected = np.fromfile(case["expected"], "<f4").reshape(found.shape)
    # Of a model that is hardly trained the probabilities are small, and what moves them from token to token is smaller.
    off = np.abs(found - expected).max(axis=(0, 2))
    if off.max() > TOLERANCE:
        print("off by", off.tolist())
    return off.max(), np.ptp(expected, axis=1).max()


judge(run)
