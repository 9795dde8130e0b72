"""PyTorch's DistributedDataParallel over gloo: `peer_ddp.py MODEL VOCAB RANK RANKS ADDRESS PORT`, one thread a process.

Rank 0 answers as `recipes` says, and tells the others what to do; they end with it. Of one rank it is PyTorch without
DistributedDataParallel. Each rank has its part of the rows. Tokens are drawn, as in lstmc's text few words are frequent.
"""

import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "peers"))

import recipes
from peer_torch import Model, optimizer_of
from recipes import RECIPES

TOKENS = 200_000


def main(name: str, vocab: int, rank: int, ranks: int) -> None:
    answer = recipes.protocol()
    torch.manual_seed(rank)
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    whole = RECIPES[name]
    recipe = replace(whole, rows=whole.rows // ranks)
    model = Model(recipe, vocab)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = optimizer_of(recipe, parameters)
    together = DistributedDataParallel(model, gradient_as_bucket_view=True) if ranks > 1 else model
    # Frequencies fall as one through their place, as words' do.
    ids = np.floor(vocab ** np.random.default_rng(rank).random(TOKENS)).astype(np.int64) - 1
    feed = recipes.batches(recipe, ids)
    zeros = torch.zeros(recipe.layers, recipe.rows, recipe.hidden)
    state = (zeros, zeros)

    def steps(count: int) -> float:
        nonlocal state
        total = 0.0
        for _ in range(count):
            tokens, targets, afresh = next(feed)
            if afresh:
                state = (zeros, zeros)
            loss, after = together(torch.from_numpy(tokens), torch.from_numpy(targets), state)
            state = (after[0].detach(), after[1].detach())
            optimizer.zero_grad(set_to_none=ranks == 1)
            (loss * recipe.steps if recipe.sum_steps else loss).backward()
            if recipe.clip:
                nn.utils.clip_grad_norm_(parameters, recipe.clip, foreach=True)
            optimizer.step()
            total += loss.item()
        return total / max(1, count)

    def told(count: int) -> int:
        """What rank 0 says."""
        word = torch.tensor([count])
        if ranks > 1:
            dist.broadcast(word, 0)
        return int(word.item())

    if rank == 0:
        recipes.serve(answer, lambda count: steps(told(count)))
        told(0)
    else:
        while count := told(0):
            steps(count)


if __name__ == "__main__":
    name, vocab, rank, ranks, address, port = sys.argv[1:]
    if int(ranks) > 1:
        os.environ |= {"MASTER_ADDR": address, "MASTER_PORT": port}
        dist.init_process_group("gloo", rank=int(rank), world_size=int(ranks))
    main(name, int(vocab), int(rank), int(ranks))
    # Threads of gloo outlive the group, and would end the process with a complaint.
    os._exit(0)
