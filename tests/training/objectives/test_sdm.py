from __future__ import annotations

import math

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ctgi.training.objectives.sdm import sdm_loss


def golden(text: NDArray[np.float64], image: NDArray[np.float64], who: NDArray[np.int64]) -> float:
    """IRRA, Eq. 5 to 8 with the constants of its code (losses.py, compute_sdm), by plain loops in float64."""

    def one_way(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
        total = 0.0
        for i in range(len(a)):
            logits = [50.0 * float(a[i] @ b[j]) for j in range(len(b))]
            top = max(logits)
            norm = top + math.log(sum(math.exp(x - top) for x in logits))
            matches = sum(int(who[i] == who[j]) for j in range(len(b)))
            for j in range(len(b)):
                p = math.exp(logits[j] - norm)
                q = (1.0 if who[i] == who[j] else 0.0) / matches
                total += p * ((logits[j] - norm) - math.log(q + 1e-8))
        return total / len(a)

    return one_way(text, image) + one_way(image, text)


def batch(seed: int, size: int, people: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    chance = np.random.default_rng(seed)
    a, b = chance.normal(size=(2, size, 12))
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b))
    return torch.from_numpy(a), torch.from_numpy(b), torch.from_numpy(chance.integers(0, people, size))


@settings(deadline=None)
@given(seed=st.integers(0, 1000), size=st.integers(1, 12), people=st.integers(1, 12))
def test_it_is_irras_formula(seed: int, size: int, people: int) -> None:
    text, image, who = batch(seed, size, people)
    expected = golden(text.numpy(), image.numpy(), who.numpy())
    assert math.isclose(float(sdm_loss(text, image, who)), expected, rel_tol=1e-9, abs_tol=1e-9)
    assert math.isclose(
        float(sdm_loss(text.float(), image.float(), who)), expected, rel_tol=1e-3, abs_tol=1e-4
    )


def test_certainty_about_strangers_costs_the_logarithm_of_epsilon() -> None:
    vectors = torch.eye(4)
    wrong = vectors[[1, 0, 3, 2]]
    loss = float(sdm_loss(vectors, wrong, torch.arange(4)))
    assert abs(loss - 2 * -math.log(1e-8)) < 1e-3


@settings(deadline=None)
@given(seed=st.integers(0, 1000), size=st.integers(2, 10))
def test_the_order_of_the_batch_does_not_matter(seed: int, size: int) -> None:
    text, image, who = batch(seed, size, 4)
    order = torch.from_numpy(np.random.default_rng(seed).permutation(size))
    torch.testing.assert_close(
        sdm_loss(text[order], image[order], who[order]), sdm_loss(text, image, who), rtol=1e-9, atol=1e-9
    )


@settings(deadline=None)
@given(seed=st.integers(0, 1000), size=st.integers(1, 8), people=st.integers(1, 8))
def test_gradients_are_finite_for_every_batch(seed: int, size: int, people: int) -> None:
    """One sample, one identity, all identities different: nothing divides by zero."""
    text, image, who = batch(seed, size, people)
    text, image = text.float().requires_grad_(), image.float().requires_grad_()
    sdm_loss(text, image, who).backward()
    assert text.grad is not None and image.grad is not None
    assert bool(text.grad.isfinite().all()) and bool(image.grad.isfinite().all())


def test_autocast_does_not_reach_it() -> None:
    text, image, who = batch(0, 8, 4)
    text, image = text.float(), image.float()
    with torch.autocast("cpu", torch.bfloat16):
        inside = sdm_loss(text, image, who)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, sdm_loss(text, image, who))


def test_a_weight_scales_what_its_pair_costs() -> None:
    text, image, who = batch(3, 9, 4)
    whole = sdm_loss(text, image, who)
    assert torch.equal(whole, sdm_loss(text, image, who, weight=torch.ones(9, dtype=text.dtype)))
    alone = [sdm_loss(text, image, who, weight=torch.eye(9, dtype=text.dtype)[row]) for row in range(9)]
    torch.testing.assert_close(torch.stack(alone).sum(), whole)
    weight = torch.linspace(0, 2, 9, dtype=text.dtype)
    torch.testing.assert_close(sdm_loss(text, image, who, weight=weight), (weight * torch.stack(alone)).sum())
