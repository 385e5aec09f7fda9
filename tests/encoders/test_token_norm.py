from __future__ import annotations

import torch
from torch import nn

from ctgi.encoders.token_norm import TokenNorm


def test_it_is_batch_norm_over_the_valid_rows() -> None:
    torch.manual_seed(0)
    ours, theirs = TokenNorm(6), nn.BatchNorm1d(6)
    with torch.no_grad():
        ours.weight.normal_(), theirs.weight.copy_(ours.weight)
        ours.bias.normal_(), theirs.bias.copy_(ours.bias)
    for _ in range(3):
        x = torch.randn(4, 5, 6, requires_grad=True)
        valid = torch.rand(4, 5) < 0.6
        valid[:, 0] = True
        rows = x.detach()[valid].requires_grad_()
        out, expected = ours(x, valid), theirs(rows)
        torch.testing.assert_close(out[valid], expected)
        (out[valid] ** 3).sum().backward()
        (expected**3).sum().backward()
        assert x.grad is not None and rows.grad is not None
        torch.testing.assert_close(x.grad[valid], rows.grad, rtol=1e-4, atol=1e-5)
        assert not x.grad[~valid].any()
    torch.testing.assert_close(ours.running_mean, theirs.running_mean)
    torch.testing.assert_close(ours.running_var, theirs.running_var)
    ours.eval(), theirs.eval()
    torch.testing.assert_close(ours(x, valid)[valid], theirs(x[valid]))


def test_padding_changes_nothing() -> None:
    torch.manual_seed(1)
    x, valid = torch.randn(3, 4, 5), torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1], [1, 0, 0, 0]]).bool()
    other = x.masked_fill(~valid.unsqueeze(-1), 1e4)
    first, second = TokenNorm(5), TokenNorm(5)
    torch.testing.assert_close(first(x, valid)[valid], second(other, valid)[valid])
    torch.testing.assert_close(first.running_var, second.running_var)


def test_a_single_row_is_finite() -> None:
    norm = TokenNorm(3)
    x = torch.randn(1, 1, 3, requires_grad=True)
    norm(x, torch.ones(1, 1, dtype=torch.bool)).sum().backward()
    assert x.grad is not None and bool(x.grad.isfinite().all())
    assert bool(norm.running_var.isfinite().all())
