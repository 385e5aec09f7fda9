"""Adam with the published parameter groups: IRRA's by name, and by role what a module says of itself."""

from __future__ import annotations

from torch import nn
from torch.optim import Adam

from ctgi.errors import CtgiError
from ctgi.training.config import TrainConfig

NEW_BIASES = ("classifier", "mlm_head")
"""New layers whose biases get the new layers' rate too. A cross-encoder's biases get the biases' rate."""
ROLES = (None, "new", "rde_new")


def rate_and_decay(name: str, config: TrainConfig, role: str | None = None) -> tuple[float, float]:
    """Learning rate and weight decay of the parameter called `name` in a module of this role.

    IRRA's rules, the later one overriding: everything base_lr; names with "cross", and role "new", the new
    layers' rate; names with "bias" the biases' rate and no decay; "classifier" and "mlm_head" the new layers'
    rate. Role "rde_new" is RDE's token selection: config.rde_new_lr for weights and biases alike. Biases
    never decay.
    """
    rate, decay = config.base_lr, config.weight_decay
    if "cross" in name or role == "new":
        rate = config.base_lr * config.new_lr_factor
    if "bias" in name:
        rate, decay = config.base_lr * config.bias_lr_factor, 0.0
    if any(part in name for part in NEW_BIASES):
        rate = config.base_lr * config.new_lr_factor
    return (config.rde_new_lr if role == "rde_new" else rate), decay


def roles(model: nn.Module) -> dict[str, str | None]:
    """The role of every parameter: the attribute `lr_role` of the nearest module above it that has one.

    Raises CtgiError for a role that nobody knows.
    """
    role_of: dict[str, str | None] = {"": getattr(model, "lr_role", None)}
    for name, module in model.named_modules():
        role = getattr(module, "lr_role", role_of[name.rpartition(".")[0]])
        if role not in ROLES:
            raise CtgiError(f"{name}: lr_role {role!r} is not one of new, rde_new; correct the module")
        role_of[name] = role
    return {name: role_of[name.rpartition(".")[0]] for name, _ in model.named_parameters()}


def make_optimiser(model: nn.Module, config: TrainConfig) -> Adam:
    """Adam (betas 0.9 and 0.999, L2 decay) over the parameters that need a gradient.

    Parameters that share rate and decay share a group: the same arithmetic as one group each, in fewer calls.
    Each group keeps its full rate in "full_lr", of which `lr_factor` takes a part.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    role_of = roles(model)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            groups.setdefault(rate_and_decay(name, config, role_of[name]), []).append(parameter)
    return Adam(
        [
            {"params": members, "lr": rate, "full_lr": rate, "weight_decay": decay}
            for (rate, decay), members in groups.items()
        ],
        eps=config.adam_eps,
        fused=True,
    )
