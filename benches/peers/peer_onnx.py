"""ONNX Runtime writing words one by one: `peer_onnx.py MODEL VOCAB`; see `recipes` for what it answers.

The graph reads one word and the state: Gather, one LSTM operator a layer, MatMul, Add, ArgMax. (The likeliest word is
that of the logits, so that it needs no softmax.) Inputs and outputs are bound once to two sets of buffers that take
turns, so that nothing is copied or allocated between two words.
"""

import itertools
import os
import sys

import numpy as np
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

import recipes
from recipes import RECIPES, Recipe


def graph(recipe: Recipe, vocab: int) -> bytes:
    found = recipes.parameters(recipe, vocab)
    hidden = recipe.hidden
    weights = {"E": found["embedding"], "out": found["out"], "bias": found["bias"], "axes": np.array([1], np.int64)}
    nodes = [helper.make_node("Gather", ["E", "word"], ["x0"])]
    state_in, state_out = [], []

    def gates(matrix: recipes.Array) -> recipes.Array:
        """The transposed matrix, its gates in ONNX's order: i, o, f, c."""
        i, f, g, o = np.split(matrix, 4, axis=-1)
        return np.ascontiguousarray(np.concatenate([i, o, f, g], axis=-1).T[None])

    for layer in range(recipe.layers):
        bias = gates(found[f"b{layer}"])
        weights |= {
            f"W{layer}": gates(found[f"W{layer}"]),
            f"R{layer}": gates(found[f"R{layer}"]),
            f"B{layer}": np.concatenate([bias, np.zeros_like(bias)], axis=-1),
        }
        inputs = [f"x{layer}", f"W{layer}", f"R{layer}", f"B{layer}", "", f"h{layer}", f"c{layer}"]
        outputs = [f"y{layer}", f"h{layer}_next", f"c{layer}_next"]
        nodes.append(helper.make_node("LSTM", inputs, outputs, hidden_size=hidden))
        nodes.append(helper.make_node("Squeeze", [f"y{layer}", "axes"], [f"x{layer + 1}"]))
        shape = [1, 1, hidden]
        for name in ("h", "c"):
            state_in.append(helper.make_tensor_value_info(f"{name}{layer}", TensorProto.FLOAT, shape))
            state_out.append(helper.make_tensor_value_info(f"{name}{layer}_next", TensorProto.FLOAT, shape))
    nodes += [
        helper.make_node("MatMul", [f"x{recipe.layers}", "out"], ["product"]),
        helper.make_node("Add", ["product", "bias"], ["logits"]),
        helper.make_node("ArgMax", ["logits"], ["word_next"], axis=-1, keepdims=0),
    ]
    word_in = helper.make_tensor_value_info("word", TensorProto.INT64, [1, 1])
    word_out = helper.make_tensor_value_info("word_next", TensorProto.INT64, [1, 1])
    made = helper.make_graph(
        nodes,
        "generate",
        [word_in, *state_in],
        [word_out, *state_out],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return bytes(model.SerializeToString())


def main(name: str, vocab: str) -> None:
    answer = recipes.protocol()
    recipe = RECIPES[name]
    options = ort.SessionOptions()
    options.intra_op_num_threads = len(os.sched_getaffinity(0))
    options.inter_op_num_threads = 1
    session = ort.InferenceSession(graph(recipe, int(vocab)), options, providers=["CPUExecutionProvider"])
    names = ["word"] + [f"{state}{layer}" for layer in range(recipe.layers) for state in ("h", "c")]

    def buffer(name: str) -> ort.OrtValue:
        zeros = np.ones((1, 1), np.int64) if name == "word" else np.zeros((1, 1, recipe.hidden), np.float32)
        return ort.OrtValue.ortvalue_from_numpy(zeros)

    buffers = [{name: buffer(name) for name in names} for _ in range(2)]
    bindings = []
    for here, there in (buffers, buffers[::-1]):
        binding = session.io_binding()
        for name in names:
            binding.bind_ortvalue_input(name, here[name])
            binding.bind_ortvalue_output(f"{name}_next", there[name])
        bindings.append((binding, there["word"]))
    turns = itertools.cycle(bindings)

    def run(count: int) -> None:
        written = []
        for binding, word in itertools.islice(turns, count):
            session.run_with_iobinding(binding)
            written.append(word.numpy().item())

    recipes.serve(answer, run)


if __name__ == "__main__":
    main(*sys.argv[1:])
