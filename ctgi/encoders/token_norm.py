"""Batch normalisation over the tokens that were selected, and over all processes of a run."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ctgi.encoders.processes import total

EPSILON, MOMENTUM = 1e-5, 0.1


class TokenNorm(nn.Module):
    """BatchNorm1d whose statistics leave out padding and are those of the whole batch.

    In RDE a caption shorter than the selection fills it up with padding, which takes part in the mean and
    variance: the same caption then means something else beside a longer one. Here only valid rows count.
    Under torchrun sums are taken over all processes (torch's SyncBatchNorm knows GPUs only), so gradients are
    those of one process with the whole batch.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """x (B, k, width) and valid bool (B, k), true at least once in the batch; float32 of x's shape."""
        x = x.float()
        mean, variance = (
            self._statistics(x, valid) if self.training else (self.running_mean, self.running_var)
        )
        return (x - mean) * (variance + EPSILON).rsqrt() * self.weight + self.bias

    def _statistics(self, x: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        mask = valid.unsqueeze(-1).float()
        count = total(mask.sum())
        mean = total((mask * x).sum(dim=(0, 1))) / count
        variance = total((mask * (x - mean) ** 2).sum(dim=(0, 1))) / count
        with torch.no_grad():
            self.running_mean.lerp_(mean, MOMENTUM)
            self.running_var.lerp_(variance * count / (count - 1).clamp(min=1), MOMENTUM)
        return mean, variance
