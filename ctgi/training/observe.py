"""What an objective wants to know about all training pairs before an epoch: the loss of each, as it stands.

RDE's consensus judges pairs by their losses. Its code takes them from augmented pictures in training order;
here nothing is augmented, dropout is off, and the pairs that are compared with each other are drawn by (seed,
epoch), so the losses are those of the model and not of the dice.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ctgi.training.config import TrainConfig
from ctgi.training.distributed import alone, rank, total, world
from ctgi.training.loader import Loader, Pairs
from ctgi.training.model import Model


def observe(
    model: Model,
    pairs: Pairs,
    config: TrainConfig,
    epoch: int,
    device: torch.device,
    half: torch.dtype | None,
) -> None:
    """Call the objective's `pair_losses(encoder, batch) -> (B, S)` for all, then `observe((N, S), epoch)`.

    An objective without these two, or with a false attribute `observing`, is left alone. Batches are whole
    ones of about config.batch_size and shared out among the processes, so what is observed does not depend on
    how many there are.
    """
    objective: Any = model.objective
    if not hasattr(objective, "pair_losses") or not getattr(objective, "observing", True):
        return
    # Four numbers: no other chance of the run begins with them (numpy fills shorter seeds with zeros).
    order = np.random.default_rng([config.seed, epoch, 0, 1]).permutation(len(pairs))
    batches = np.array_split(order, -(-len(order) // config.batch_size))
    own = batches[rank() :: world()]
    model.eval()
    with alone(), torch.no_grad(), torch.autocast(device.type, half, enabled=half is not None):
        seen = own or batches[:1]  # where there are fewer batches than processes, somebody's result is spare
        loader = Loader(pairs, seen, seed=config.seed, epoch=epoch, first=0, augment=False, device=device)
        losses = [objective.pair_losses(model.encoder, batch).float() for batch in loader]
    model.train()
    table = torch.zeros(len(pairs), losses[0].shape[1], device=device)
    if own:
        table[torch.from_numpy(np.concatenate(own)).to(device)] = torch.cat(losses)
    objective.observe(total(table).cpu(), epoch)
