"""Writes tests/fixtures: small recurrent models, trained for three steps by PyTorch.

    python -m venv .venv && .venv/bin/pip install torch numpy safetensors
    .venv/bin/python tests/pytorch/make_fixtures.py

Each case becomes a model file, NAME.lstm, and NAME.safetensors with what PyTorch makes of it, in lstmc's names and
layout (vectors are rows: `x @ W`, `W` being [in, out]):

    param/P            the parameter P before the first step
    tokens/S           [T, B], what step S = 1, 2, 3 reads
    targets/S          [T, B], or [B] where only the last step predicts
    loss/S             mean cross-entropy per prediction, of the parameters before the step
    loss64/S           the same of a training that ran in 64-bit floats throughout
    gradient/S/P       before clipping
    param/S/P          after the step
    state/S/L.s        [B, n], state s of layer L after the batch, where it is carried into the next one

and the metadata `vocab`. The tests need no Python: the files are in the repository.
"""

import copy
from pathlib import Path

import numpy
import torch
from safetensors.numpy import save_file
from torch import nn
from torch.nn import functional

STEPS = 3
FOLDER = Path(__file__).resolve().parent.parent / "fixtures"

# The parts into which PyTorch's stacked recurrent weights are cut.
GATES = {"lstm": "ifgo", "gru": "rzn", "rnn": [""]}
MODULES = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}
STATES = {"lstm": "hc", "gru": "h", "rnn": "h"}
ACTIVATIONS = {"linear": lambda x: x, "relu": torch.relu, "tanh": torch.tanh, "sigmoid": torch.sigmoid}

TIED = """layer lookup(t: token, table: [rows, width]) {
    return table[t]
}

layer readout(x: [in], table: [rows, in]) {
    param b: [rows] = zeros
    return x @ transpose(table) + b
}

"""

# Of the optimizers that divide by the root of a mean square. With the tiny values in common use a weight whose gradient
# is close to zero moves by the quotient of two roundings, and where the epsilon stands would make no difference.
EPSILON = 0.001

OPTIMIZERS = {
    "sgd": lambda p, rate: torch.optim.SGD(p, lr=rate),
    "momentum": lambda p, rate: torch.optim.SGD(p, lr=rate, momentum=0.9),
    "rmsprop": lambda p, rate: torch.optim.RMSprop(p, lr=rate, alpha=0.9, eps=EPSILON),
    "adam": lambda p, rate: torch.optim.Adam(p, lr=rate, betas=(0.9, 0.999), eps=EPSILON),
    "adagrad": lambda p, rate: torch.optim.Adagrad(p, lr=rate, eps=EPSILON),
}


class Case:
    """A model, how it is trained and what on. `stages` are (layer, *arguments), as in the model file."""

    def __init__(
        self, name, stages, optimizer, rate, vocab, steps, rows, *, stream=True, last=False, mean=False, clip=None
    ):
        self.name, self.stages, self.optimizer, self.rate = name, stages, optimizer, rate
        self.vocab, self.steps, self.rows = vocab, steps, rows
        self.stream, self.last, self.mean, self.clip = stream, last, mean, clip

    def tied(self):
        return any(kind == "readout" for kind, *_ in self.stages)

    def source(self):
        """The model file."""

        def call(kind, *arguments):
            if self.tied() and kind in ("embedding", "readout"):
                return "lookup(E)" if kind == "embedding" else "readout(E)"
            if not arguments:
                return kind
            words = [str(arguments[0])] + [f"activation: {word}" for word in arguments[1:]]
            return f"{kind}({', '.join(words)})"

        sizes = f"rows: {self.rows}"
        batches = f"stream({sizes}, steps: {self.steps})"
        if not self.stream:
            targets = "last" if self.last else "each"
            batches = f"windows(length: {self.steps}, stride: {self.steps}, {sizes}, targets: {targets})"
        chain = " -> ".join(["tokens"] + [call(*stage) for stage in self.stages] + ["softmax"])
        table = f"    param E: [vocab, {self.stages[0][1]}]\n" if self.tied() else ""
        loss = "cross_entropy" if self.mean else "cross_entropy(steps: sum)"
        adaptive = self.optimizer in ("rmsprop", "adam", "adagrad")
        optimizer = f"{self.optimizer}(rate: {self.rate}{f', epsilon: {EPSILON}' if adaptive else ''})"
        clip = f"    clip: norm({self.clip})\n" if self.clip else ""
        return (
            "// Written by tests/pytorch/make_fixtures.py.\n\n"
            + (TIED if self.tied() else "")
            + f'data {{\n    train: "none"\n    tokens: words\n    batches: {batches}\n}}\n\n'
            + f"model {{\n{table}    {chain}\n}}\n\n"
            + f"train {{\n    loss: {loss}\n    optimizer: {optimizer}\n{clip}    epochs: 1\n}}\n"
        )


class Model(nn.Module):
    """A case's stages as PyTorch modules."""

    def __init__(self, case):
        super().__init__()
        self.case, self.layers, self.names = case, nn.ModuleList(), []
        width, counts = 1, {}
        for kind, *arguments in case.stages:
            counts[kind] = counts.get(kind, 0) + 1
            self.names.append(f"{kind}_{counts[kind]}")
            layer = nn.Identity()
            if kind == "embedding":
                layer = nn.Embedding(case.vocab, arguments[0])
            elif kind in MODULES:
                layer = MODULES[kind](width, arguments[0])
            elif kind == "dense":
                arguments = [case.vocab if arguments[0] == "vocab" else arguments[0]]
                layer = nn.Linear(width, arguments[0])
            elif kind == "readout":
                layer, arguments = nn.Linear(width, case.vocab), [case.vocab]
                layer.weight = self.layers[0].weight
            elif kind == "layer_norm":
                layer = nn.LayerNorm(width, eps=1e-5)
            width = arguments[0] if arguments else width
            self.layers.append(layer)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -0.5, 0.5)
        self.drop_second_bias()

    def recurrent(self):
        for (kind, *_), name, layer in zip(self.case.stages, self.names, self.layers):
            if kind in MODULES:
                yield kind, name, layer

    @torch.no_grad()
    def drop_second_bias(self):
        """PyTorch adds two biases to each gate; a textbook and lstmc one, but for the GRU's n, where they differ."""
        for kind, _, layer in self.recurrent():
            layer.bias_hh_l0[: self.single_biases(kind, layer)] = 0
            if layer.bias_hh_l0.grad is not None:
                layer.bias_hh_l0.grad[: self.single_biases(kind, layer)] = 0

    @staticmethod
    def single_biases(kind, layer):
        return layer.hidden_size * (2 if kind == "gru" else len(GATES[kind]))

    def forward(self, tokens, states):
        """Logits [T, B, vocab], or [B, vocab] where only the last step predicts, and the layers' final states."""
        flow, final = tokens, {}
        for (kind, *arguments), name, layer in zip(self.case.stages, self.names, self.layers):
            if kind == "scalar":
                flow = flow.to(self.layers[-1].weight.dtype).unsqueeze(-1)
            elif kind in MODULES:
                flow, final[name] = layer(flow, states.get(name))
            elif kind == "last":
                flow = flow[-1]
            else:
                flow = layer(flow)
                if len(arguments) > 1:
                    flow = ACTIVATIONS[arguments[1]](flow)
        return flow, final

    def tensors(self, of):
        """`of(parameter)` for each of lstmc's parameters, by name, in its layout."""
        found = {}
        for (kind, *_), name, layer in zip(self.case.stages, self.names, self.layers):
            if kind == "embedding":
                found["E" if self.case.tied() else f"{name}.E"] = of(layer.weight)
            elif kind == "dense":
                found |= {f"{name}.W": of(layer.weight).T, f"{name}.b": of(layer.bias)}
            elif kind == "readout":
                found[f"{name}.b"] = of(layer.bias)
            elif kind == "layer_norm":
                found |= {f"{name}.gain": of(layer.weight), f"{name}.bias": of(layer.bias)}
            elif kind in MODULES:
                gates = GATES[kind]
                parts = {"W": layer.weight_ih_l0, "R": layer.weight_hh_l0, "b": layer.bias_ih_l0}
                for letter, parameter in parts.items():
                    for gate, part in zip(gates, of(parameter).chunk(len(gates))):
                        found[f"{name}.{letter}_{gate}".rstrip("_")] = part.T if part.ndim == 2 else part
                if kind == "gru":
                    found[f"{name}.c_n"] = of(layer.bias_hh_l0).chunk(3)[2]
        return {name: array(tensor) for name, tensor in found.items()}


def array(tensor):
    # A copy: the next step changes the parameters in place.
    return numpy.array(tensor.detach().numpy(), order="C")


def train(case, model, batches):
    """Trains in the model's precision; what each step saw and made."""
    optimizer = OPTIMIZERS[case.optimizer](model.parameters(), case.rate)
    states, found = {}, {}
    for step, (tokens, targets) in enumerate(batches, 1):
        optimizer.zero_grad()
        logits, final = model(tokens, states if case.stream else {})
        total = functional.cross_entropy(logits.flatten(0, -2), targets.flatten(), reduction="sum")
        objective = total / (targets.numel() if case.mean else case.rows)
        objective.backward()
        model.drop_second_bias()
        found[f"loss/{step}"] = array(total / targets.numel())
        found |= {f"gradient/{step}/{name}": value for name, value in model.tensors(lambda p: p.grad).items()}
        if case.clip:
            nn.utils.clip_grad_norm_(model.parameters(), case.clip)
        optimizer.step()
        found |= {f"param/{step}/{name}": value for name, value in model.tensors(lambda p: p).items()}
        if case.stream:
            for kind, name, _ in model.recurrent():
                values = final[name] if kind == "lstm" else (final[name],)
                found |= {f"state/{step}/{name}.{letter}": array(value[0]) for letter, value in zip(STATES[kind], values)}
                states[name] = tuple(v.detach() for v in values) if kind == "lstm" else values[0].detach()
    return found


def write(case, seed):
    torch.manual_seed(seed)
    model = Model(case)
    double = copy.deepcopy(model).double()
    shape = (case.steps, case.rows)
    batches = [
        (torch.randint(case.vocab, shape), torch.randint(case.vocab, shape[1:] if case.last else shape))
        for _ in range(STEPS)
    ]
    found = {f"param/{name}": value for name, value in model.tensors(lambda p: p).items()}
    for step, (tokens, targets) in enumerate(batches, 1):
        found[f"tokens/{step}"] = array(tokens).astype(numpy.uint32)
        found[f"targets/{step}"] = array(targets).astype(numpy.uint32)
    found |= train(case, model, batches)
    exact = train(case, double, batches)
    found |= {f"loss64/{step}": exact[f"loss/{step}"] for step in range(1, STEPS + 1)}
    # One entry only: the library writes several in any order, and the files should come out the same.
    path = FOLDER / f"{case.name}.safetensors"
    save_file(found, path, {"vocab": str(case.vocab)})
    path.chmod(0o644)
    (FOLDER / f"{case.name}.lstm").write_text(case.source())
    losses = ", ".join(f"{exact[f'loss/{step}']:.4f}" for step in range(1, STEPS + 1))
    count = sum(value.size for value in model.tensors(lambda p: p).values())
    print(f"{case.name}: {count} parameters, loss {losses}")


E, OUTPUT = "embedding", ("dense", "vocab")
WINDOWS = {"stream": False}
LAST = {"stream": False, "last": True}
MEAN = {"mean": True}
# Name, stages, optimizer and its rate; vocabulary, steps and rows.
CASES = [
    Case("lstm-sgd", [(E, 5), ("lstm", 7), OUTPUT], "sgd", 0.5, 11, 6, 3),
    # The clip acts on every step, and in the next case on none.
    Case("lstm-sgd-clip", [(E, 3), ("lstm", 5), OUTPUT], "sgd", 1.0, 13, 7, 2, clip=0.25),
    Case("gru-sgd-clip-wide", [(E, 3), ("gru", 5), OUTPUT], "sgd", 0.25, 13, 7, 2, clip=100),
    Case("two-lstms-sgd-clip", [(E, 9), ("lstm", 19), ("lstm", 33), OUTPUT], "sgd", 1.0, 37, 9, 5, clip=1.0),
    Case("two-lstms-adam", [(E, 5), ("lstm", 9), ("lstm", 3), OUTPUT], "adam", 0.01, 9, 5, 3, **WINDOWS, **MEAN),
    Case("gru-rmsprop", [(E, 6), ("gru", 7), OUTPUT], "rmsprop", 0.01, 10, 5, 3),
    Case("two-grus-momentum", [(E, 4), ("gru", 7), ("gru", 5), OUTPUT], "momentum", 0.1, 7, 5, 2, **MEAN),
    Case("rnn-adagrad", [(E, 3), ("rnn", 9), OUTPUT], "adagrad", 0.05, 12, 8, 3, **MEAN),
    Case("lstm-last-adam", [(E, 7), ("lstm", 6), ("last",), ("dense", 5, "relu"), OUTPUT], "adam", 0.02, 9, 3, 5, **LAST),
    Case("scalar-lstm-rmsprop", [("scalar",), ("lstm", 8), ("last",), OUTPUT], "rmsprop", 0.001, 15, 3, 1, **LAST, **MEAN),
    Case("norm-gru-adam", [(E, 7), ("layer_norm",), ("gru", 5), ("dense", 4, "tanh"), OUTPUT], "adam", 0.01, 8, 4, 3, **MEAN),
    Case("tied-lstm-sgd", [(E, 6), ("lstm", 6), ("readout",)], "sgd", 0.5, 11, 5, 3, **MEAN),
]

if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    FOLDER.mkdir(exist_ok=True)
    for seed, case in enumerate(CASES, 1):
        write(case, seed)
