"""PyTorch on a GPU: `peer_cuda.py MODEL IDS VOCAB eager|graph f32|tf32|bf16|fp16`; see `recipes` for what it answers.

`graph` captures a whole step, from the batch to the update, as one CUDA graph; where PyTorch cannot, the first answer
says so: {"refused": why}. bf16 and fp16 are by autocast, fp16 without scaling the loss. All batches lie on the GPU
beforehand, and the host waits once for all steps of a round.
"""

import itertools
import sys
from collections.abc import Callable
from pathlib import Path

import cases
import recipes
import torch
from cases import MODELS
from peer_torch import Model, optimizer_of
from torch import nn

BATCHES = 256
HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Training:
    def __init__(self, name: str, ids: Path, vocab: int, how: str, precision: str) -> None:
        self.recipe = recipe = MODELS[name]
        self.model = Model(recipe, vocab).cuda()
        self.parameters = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self.optimizer = optimizer_of(recipe, self.parameters)
        # A graph remembers casts of weights that are not those of the next step.
        half, cache = HALF.get(precision), how == "eager"
        self.autocast = torch.autocast("cuda", half, enabled=half is not None, cache_enabled=cache)
        batches = itertools.islice(recipes.batches(recipe, recipes.token_ids(ids)), BATCHES)
        on_gpu = [(torch.from_numpy(x).cuda(), torch.from_numpy(y).cuda(), afresh) for x, y, afresh in batches]
        self.feed = itertools.cycle(on_gpu)
        self.tokens, self.targets = on_gpu[0][0].clone(), on_gpu[0][1].clone()
        self.state = [torch.zeros(recipe.layers, recipe.rows, recipe.hidden, device="cuda") for _ in range(2)]
        self.total = torch.zeros((), device="cuda")
        self.step: Callable[[], None] = self.eager

    def eager(self) -> None:
        """A step on the batch in `tokens` and `targets`."""
        recipe = self.recipe
        self.optimizer.zero_grad(set_to_none=True)
        with self.autocast:
            loss, after = self.model(self.tokens, self.targets, tuple(self.state))
        (loss * recipe.steps if recipe.sum_steps else loss).backward()
        if recipe.clip:
            nn.utils.clip_grad_norm_(self.parameters, recipe.clip, foreach=True)
        self.optimizer.step()
        for kept, new in zip(self.state, after, strict=True):
            kept.copy_(new.detach())
        self.total.add_(loss.detach())

    def capture(self) -> None:
        """Makes a graph of the step, and leaves the training where it was."""
        for group in self.optimizer.param_groups:
            if "capturable" in group:
                group["capturable"] = True
        start = [parameter.detach().clone() for parameter in self.parameters]
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                self.eager()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self.eager()
        with torch.no_grad():
            for parameter, value in zip(self.parameters, start, strict=True):
                parameter.copy_(value)
            for state in self.optimizer.state.values():
                for tensor in filter(torch.is_tensor, state.values()):
                    tensor.zero_()
        self.step = graph.replay

    def run(self, steps: int) -> float:
        self.total.zero_()
        for _ in range(steps):
            tokens, targets, afresh = next(self.feed)
            if afresh:
                for kept in self.state:
                    kept.zero_()
            self.tokens.copy_(tokens)
            self.targets.copy_(targets)
            self.step()
        return self.total.item() / steps


def main(name: str, ids: str, vocab: str, how: str, precision: str) -> None:
    answer = recipes.protocol()
    torch.manual_seed(0)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
    training = Training(name, Path(ids), int(vocab), how, precision)
    if how == "graph":
        try:
            training.capture()
        except RuntimeError as error:
            answer({"refused": str(error).splitlines()[0]})
            return
    recipes.serve(answer, training.run)


if __name__ == "__main__":
    main(*sys.argv[1:])
