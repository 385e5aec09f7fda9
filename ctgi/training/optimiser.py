"""Adam with IRRA's parameter groups."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn
from torch.optim import Adam

from ctgi.training.config import TrainConfig

NEW_BIASES = ("classifier", "mlm_head")
"""New layers whose biases get the new layers' rate too. A cross-encoder's biases get the biases' rate."""


def rate_and_decay(name: str, config: TrainConfig) -> tuple[float, float]:
    """Learning rate and weight decay of the parameter called `name`.

    IRRA's rules, the later one overriding: everything base_lr; names with "cross" the new layers' rate;
    names with "bias" the biases' rate and no decay; "classifier" and "mlm_head" the new layers' rate.
    """
    rate, decay = config.base_lr, config.weight_decay
    if "cross" in name:
        rate = config.base_lr * config.new_lr_factor
    if "bias" in name:
        rate, decay = config.base_lr * config.bias_lr_factor, 0.0
    if any(part in name for part in NEW_BIASES):
        rate = config.base_lr * config.new_lr_factor
    return rate, decay


def make_optimiser(parameters: Iterable[tuple[str, nn.Parameter]], config: TrainConfig) -> Adam:
    """Adam (betas 0.9 and 0.999, L2 decay) over the parameters that need a gradient.

    Parameters that share rate and decay share a group: the same arithmetic as one group each, in fewer calls.
    Each group keeps its full rate in "full_lr", of which `lr_factor` takes a part.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in parameters:
        if parameter.requires_grad:
            groups.setdefault(rate_and_decay(name, config), []).append(parameter)
    return Adam(
        [
            {"params": members, "lr": rate, "full_lr": rate, "weight_decay": decay}
            for (rate, decay), members in groups.items()
        ],
        eps=config.adam_eps,
        fused=True,
    )
