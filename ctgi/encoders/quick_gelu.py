"""CLIP's activation, x * sigmoid(1.702 x), with one hidden layer kept for the way back instead of three.

In a tower the hidden layers of the MLPs, four times as wide as the rest, are most of what a training step
keeps in memory. Written plainly, autograd keeps what goes into the activation, its sigmoid, and what comes
out. All of it follows from the first.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
from open_clip.transformer import QuickGELU
from torch import Tensor, nn
from torch.nn import functional

FACTOR = 1.702


class LeanQuickGELU(nn.Module):
    """QuickGELU by torch's SiLU, silu(1.702 x) / 1.702, whose gradient needs its input alone."""

    def forward(self, x: Tensor) -> Tensor:
        return _gelu(x)


class LeanMLP(nn.Sequential):
    """A block's c_fc, gelu and c_proj; where a gradient is wanted, the output of gelu is made again."""

    def forward(self, x: Tensor) -> Tensor:
        layers: Any = self
        hidden = layers.c_fc(x)
        weight, bias = layers.c_proj.weight, layers.c_proj.bias
        if not (torch.is_grad_enabled() and hidden.requires_grad):
            return functional.linear(_gelu(hidden), weight, bias)
        # Nothing is cast on the way back, so what autocast would cast is cast here.
        weight, bias = weight.to(hidden.dtype), bias.to(hidden.dtype)
        result: Tensor = _GeluLinear.apply(hidden, weight, bias)
        return result


def make_lean(model: nn.Module) -> None:
    """Put these in the place of open_clip's QuickGELU and the MLPs around it. Names of weights stay."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, QuickGELU):
                setattr(module, name, LeanQuickGELU())
    for module in list(model.modules()):
        for name, child in module.named_children():
            parts = OrderedDict(child.named_children())
            if list(parts) == ["c_fc", "gelu", "c_proj"] and isinstance(parts["gelu"], LeanQuickGELU):
                setattr(module, name, LeanMLP(parts))


def _gelu(x: Tensor) -> Tensor:
    return functional.silu(FACTOR * x) / FACTOR


def _gelu_of_scaled_(scaled: Tensor) -> Tensor:
    """The activation, written over FACTOR * x: one more layer of this width would be a step's peak."""
    return functional.silu(scaled, inplace=True).div_(FACTOR)


class _GeluLinear(torch.autograd.Function):
    """linear(gelu(hidden), weight, bias), keeping `hidden` and `weight`."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(hidden, weight)
        return functional.linear(_gelu_of_scaled_(FACTOR * hidden), weight, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        hidden, weight = ctx.saved_tensors
        scaled = FACTOR * hidden
        of_hidden = grad @ weight
        torch.ops.aten.silu_backward.grad_input(of_hidden, scaled, grad_input=of_hidden)
        flat = grad.flatten(0, -2)
        of_weight = flat.T @ _gelu_of_scaled_(scaled).flatten(0, -2)
        return of_hidden, of_weight, flat.sum(dim=0)
