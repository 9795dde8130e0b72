"""Writes what stands beside it: small models of PyTorch's, saved in each way, and what they make of a text.

    python -m venv .venv && .venv/bin/pip install torch numpy safetensors
    .venv/bin/python tests/weights/make_weights.py

NAME.pt and NAME.safetensors are weights; text.txt is read, with the words of words.txt as ids, and expected.json has for
each model log-probabilities of every word after each of the first words of the text. tests/cli/import.rs has the models as
lstmc has them. The tests need no Python: the files are in the repository.
"""

import json
import os
from pathlib import Path

import numpy
import torch
from safetensors.torch import save_file
from torch import nn

FOLDER = Path(__file__).resolve().parent
WORDS = "mouse the cat <eos> bell old a said of we fear".split()
LINES = ["the old mouse said we fear the cat", "a bell of the cat said the old mouse", "we said a bell"]
READ = 20


class Net(nn.Module):
    """An embedding, recurrent layers and a linear one, with the names of PyTorch's own example of a language model."""

    def __init__(self, rnn, width, units, bias=True, tied=False):
        super().__init__()
        self.encoder = nn.Embedding(len(WORDS), width)
        self.rnn = rnn
        self.decoder = nn.Linear(units, len(WORDS), bias=bias)
        if tied:
            self.decoder.weight = self.encoder.weight

    def forward(self, tokens):
        return self.decoder(self.rnn(self.encoder(tokens))[0])


class Two(nn.Module):
    """Two modules of one layer each, of the same shape, and a layer norm."""

    def __init__(self):
        super().__init__()
        self.embed_tokens = nn.Embedding(len(WORDS), 8)
        self.first = nn.LSTM(8, 8)
        self.second = nn.LSTM(8, 8)
        self.norm = nn.LayerNorm(8)
        self.lm_head = nn.Linear(8, len(WORDS), bias=False)

    def forward(self, tokens):
        return self.lm_head(self.norm(self.second(self.first(self.embed_tokens(tokens))[0])[0]))


class Cells(nn.Module):
    """Cells, and a linear layer with a nonlinearity."""

    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(len(WORDS), 6)
        self.cells = nn.ModuleList([nn.GRUCell(6, 7), nn.GRUCell(7, 9)])
        self.fc1 = nn.Linear(9, 5)
        self.fc2 = nn.Linear(5, len(WORDS))

    def forward(self, tokens):
        states, out = [torch.zeros(7), torch.zeros(9)], []
        for x in self.emb(tokens):
            for number, cell in enumerate(self.cells):
                x = states[number] = cell(x, states[number])
            out.append(self.fc2(torch.relu(self.fc1(x))))
        return torch.stack(out)


class Hostile:
    """What a reader that runs what it reads would do."""

    def __reduce__(self):
        return os.system, ("touch was-run",)


def started(module):
    """With numbers that leave no gate at its middle."""
    for parameter in module.parameters():
        nn.init.uniform_(parameter, -0.6, 0.6)
    return module


def put(name, what, **options):
    torch.save(what, FOLDER / f"{name}.pt", **options)


def main():
    torch.manual_seed(18)
    ids = [WORDS.index(word) for line in LINES for word in (line + " <eos>").split()]
    (FOLDER / "text.txt").write_text("".join(line + "\n" for line in LINES))
    (FOLDER / "words.txt").write_text("".join(word + "\n" for word in WORDS))
    expected = {}

    def made(name, module, kind=torch.float32):
        """The model with weights that are rounded to a type, and then f32 again."""
        module = started(module).to(kind).to(torch.float32)
        with torch.no_grad():
            expected[name] = torch.log_softmax(module(torch.tensor(ids[:READ])), -1).tolist()
        return module

    lstm = made("lstm", Net(nn.LSTM(6, 8, 2), 6, 8))
    state = lstm.state_dict()
    put("lstm", state)
    put("lstm-legacy", state, _use_new_zipfile_serialization=False)
    save_file(state, FOLDER / "lstm.safetensors")
    # As a training leaves it, with an optimizer's states, on several devices.
    optimizer = torch.optim.Adam(lstm.parameters())
    lstm(torch.tensor(ids[:READ])).sum().backward()
    state = {f"module.{name}": tensor.detach().clone() for name, tensor in lstm.state_dict().items()}
    optimizer.step()
    nested = {"epoch": 3, "models": [{"weights": state}], "hook": Hostile(), "optimizer": optimizer.state_dict()}
    put("lstm-nested", nested)
    put("lstm-module", made("lstm-module", Net(nn.LSTM(6, 8, 2), 6, 8)))

    put("gru", made("gru", Net(nn.GRU(6, 8), 6, 8), torch.float16).half().state_dict())
    rnn = Net(nn.RNN(6, 8, nonlinearity="relu", bias=False), 6, 8, bias=False)
    put("rnn", made("rnn", rnn, torch.bfloat16).bfloat16().state_dict())
    put("tied", made("tied", Net(nn.LSTM(8, 8), 8, 8, tied=True)).double().state_dict())
    put("two", made("two", Two()).state_dict())
    put("cells", made("cells", Cells()).state_dict())
    # A small file of a large tensor.
    put("expanded", {"encoder.weight": torch.zeros(1).expand(1 << 30)})
    (FOLDER / "expected.json").write_text(json.dumps(expected, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
