from __future__ import annotations

import pytest
import torch
from open_clip.transformer import QuickGELU, Transformer
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from ctgi.encoders.quick_gelu import LeanMLP, LeanQuickGELU, make_lean


def transformer(dtype: torch.dtype = torch.float64) -> Transformer:
    torch.manual_seed(0)
    return Transformer(16, 2, 2, act_layer=QuickGELU).to(dtype)


def learnt(tower: Transformer, x: Tensor) -> dict[str, Tensor]:
    out = tower(x)
    (out * torch.arange(out.numel()).view_as(out).cos()).sum().backward()
    return {
        "out": out.detach(),
        **{name: p.grad for name, p in tower.named_parameters() if p.grad is not None},
    }


def test_it_is_quick_gelu_with_the_same_gradient() -> None:
    x = torch.linspace(-30, 30, 1001, dtype=torch.float64)
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    torch.testing.assert_close(LeanQuickGELU()(ours), QuickGELU()(theirs), rtol=1e-12, atol=1e-12)
    LeanQuickGELU()(ours).sum().backward()
    QuickGELU()(theirs).sum().backward()
    assert ours.grad is not None and theirs.grad is not None
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-12, atol=1e-12)


def test_a_tower_keeps_its_names_its_output_and_its_gradients() -> None:
    x = torch.randn(2, 5, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    plain, lean = transformer(), transformer()
    make_lean(lean)
    assert list(lean.state_dict()) == list(plain.state_dict())
    assert not any(isinstance(module, QuickGELU) for module in lean.modules())
    assert sum(isinstance(module, LeanMLP) for module in lean.modules()) == 2
    with torch.no_grad():
        torch.testing.assert_close(lean(x), plain(x), rtol=1e-12, atol=1e-12)
    ours, theirs = learnt(lean, x), learnt(plain, x)
    assert ours.keys() == theirs.keys()
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-10)


def test_recomputed_or_not_the_gradients_are_the_same() -> None:
    x = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(1))
    once, twice = transformer(torch.float32), transformer(torch.float32)
    make_lean(once)
    make_lean(twice)
    twice.grad_checkpointing = True
    torch.testing.assert_close(learnt(twice, x), learnt(once, x), rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_under_autocast_it_computes_in_half_precision_and_learns_in_full(dtype: torch.dtype) -> None:
    x = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(1))
    plain, lean = transformer(torch.float32), transformer(torch.float32)
    make_lean(lean)
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype is torch.bfloat16):
        assert lean.resblocks[0].mlp(x).dtype == dtype
        ours, theirs = learnt(lean, x), learnt(plain, x)
    assert all(gradient.dtype == torch.float32 for name, gradient in ours.items() if name != "out")
    near = {"rtol": 0.1, "atol": 0.1} if dtype is torch.bfloat16 else {"rtol": 1e-4, "atol": 1e-5}
    torch.testing.assert_close(ours, theirs, **near)


def test_one_hidden_layer_is_kept_instead_of_three() -> None:
    def kept(tower: Transformer) -> int:
        seen: dict[int, int] = {}

        def pack(x: Tensor) -> Tensor:
            if x.shape[-1] == 64 and x.numel() == 10 * 64:  # not the weights, which are kept anyway
                seen[x.untyped_storage().data_ptr()] = x.numel()
            return x

        with saved_tensors_hooks(pack, lambda x: x):
            out = tower(torch.randn(2, 5, 16))
        assert out.requires_grad
        return len(seen)

    plain, lean = transformer(torch.float32), transformer(torch.float32)
    make_lean(lean)
    assert (kept(plain), kept(lean)) == (2 * 3, 2 * 1)
