"""PyTorch: `peer_torch.py MODEL IDS VOCAB eager|compile|autocast`; see `recipes` for what it answers."""

import os
import sys
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

import recipes
from recipes import RECIPES, Recipe

Carried = list[tuple[Tensor, Tensor]]


class Model(nn.Module):
    """The model with its loss. Each layer is PyTorch's own LSTM."""

    def __init__(self, recipe: Recipe, vocab: int) -> None:
        super().__init__()
        self.recipe = recipe
        hidden = recipe.hidden
        if not recipe.scalar:
            self.embedding = nn.Embedding(vocab, hidden)
        # One stack where nothing but dropout stands between its layers.
        between = 0.0 if recipe.dropout_last else recipe.dropout
        self.lstm = nn.LSTM(1 if recipe.scalar else hidden, hidden, recipe.layers, dropout=between)
        self.out = nn.Linear(hidden, vocab)
        self.load(recipes.parameters(recipe, vocab))

    @torch.no_grad()
    def load(self, found: dict[str, recipes.Array]) -> None:
        if not self.recipe.scalar:
            self.embedding.weight.copy_(torch.from_numpy(found["embedding"]))
        for layer in range(self.recipe.layers):
            for own, name in (("weight_ih", "W"), ("weight_hh", "R"), ("bias_ih", "b")):
                parameter = getattr(self.lstm, f"{own}_l{layer}")
                parameter.copy_(torch.from_numpy(found[f"{name}{layer}"].T))
            # PyTorch's second bias of each gate: kept at zero, as the model has one.
            getattr(self.lstm, f"bias_hh_l{layer}").zero_().requires_grad_(False)
        self.out.weight.copy_(torch.from_numpy(found["out"].T))
        self.out.bias.copy_(torch.from_numpy(found["bias"]))

    def forward(
        self, tokens: Tensor, targets: Tensor, state: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        recipe = self.recipe
        x = tokens.unsqueeze(-1).float() if recipe.scalar else self.embedding(tokens)
        if recipe.dropout and not recipe.dropout_last:
            x = functional.dropout(x, recipe.dropout)
        x, state = self.lstm(x, state)
        if recipe.scalar:
            x = x[-1]
        if recipe.dropout:
            x = functional.dropout(x, recipe.dropout)
        logits = self.out(x)
        return functional.cross_entropy(logits.flatten(0, -2), targets.flatten()), state


def optimizer_of(recipe: Recipe, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(parameters, lr=recipe.rate, fused=True)
    if recipe.optimizer == "adam":
        return torch.optim.Adam(parameters, lr=recipe.rate, eps=recipe.epsilon, fused=True)
    return torch.optim.RMSprop(parameters, lr=recipe.rate, alpha=0.9, eps=recipe.epsilon, foreach=True)


def main(name: str, ids: str, vocab: str, how: str) -> None:
    answer = recipes.protocol()
    torch.manual_seed(0)
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    torch.set_flush_denormal(True)
    recipe = RECIPES[name]
    model = Model(recipe, int(vocab))
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = optimizer_of(recipe, parameters)
    if how == "compile":
        # Dynamo would write nn.LSTM out, step by step: compiled for 17 s, and slower than PyTorch's own kernel.
        model.lstm.forward = torch.compiler.disable(model.lstm.forward)
        model.compile()
    feed = recipes.batches(recipe, recipes.token_ids(Path(ids)))
    zeros = torch.zeros(recipe.layers, recipe.rows, recipe.hidden)
    state = (zeros, zeros)

    def run(steps: int) -> float:
        nonlocal state
        total = torch.zeros(())
        for _ in range(steps):
            tokens, targets, afresh = next(feed)
            if afresh:
                state = (zeros, zeros)
            # What it multiplies is rounded to bf16, and the loss is f32; backward does as forward did.
            with torch.autocast("cpu", torch.bfloat16, enabled=how == "autocast"):
                loss, after = model(torch.from_numpy(tokens), torch.from_numpy(targets), state)
            state = (after[0].detach(), after[1].detach())
            optimizer.zero_grad(set_to_none=True)
            (loss * recipe.steps if recipe.sum_steps else loss).backward()
            if recipe.clip:
                nn.utils.clip_grad_norm_(parameters, recipe.clip, foreach=True)
            optimizer.step()
            total += loss.detach()
        return total.item() / steps

    recipes.serve(answer, run)


if __name__ == "__main__":
    main(*sys.argv[1:])
