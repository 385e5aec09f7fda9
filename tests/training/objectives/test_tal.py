from __future__ import annotations

import math

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ctgi.training.objectives.tal import mismatched_losses, tal_losses


def golden(
    text: NDArray[np.float64], image: NDArray[np.float64], who: NDArray[np.int64], tau: float, margin: float
) -> NDArray[np.float64]:
    """RDE, Eq. 6 and 7, with positives by identity as in its compute_TAL_per; plain loops in float64."""
    s = text @ image.T

    def one_way(s: NDArray[np.float64], r: int) -> float:
        positive = [j for j in range(len(who)) if who[j] == who[r]]
        negative = [j for j in range(len(who)) if who[j] != who[r]]
        if not negative:
            return 0.0
        total = sum(math.exp((s[r, j] - s[r].max()) / tau) for j in positive)
        mean = sum(math.exp((s[r, j] - s[r].max()) / tau) / total * s[r, j] for j in positive)
        top = max(s[r, j] for j in negative)
        soft = top + tau * math.log(sum(math.exp((s[r, j] - top) / tau) for j in negative))
        return max(0.0, margin - mean + soft)

    return np.array([one_way(s, r) + one_way(s.T, r) for r in range(len(who))])


def batch(seed: int, size: int, people: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    chance = np.random.default_rng(seed)
    a = chance.normal(size=(size, 12))
    b = a + chance.normal(size=(size, 12))  # pairs that are alike, so that both sides of the hinge occur
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b))
    return torch.from_numpy(a), torch.from_numpy(b), torch.from_numpy(chance.integers(0, people, size))


@settings(deadline=None)
@given(
    seed=st.integers(0, 1000),
    size=st.integers(1, 12),
    people=st.integers(1, 12),
    tau=st.sampled_from([0.015, 0.02, 0.1]),
)
def test_it_is_rdes_formula(seed: int, size: int, people: int, tau: float) -> None:
    text, image, who = batch(seed, size, people)
    expected = golden(text.numpy(), image.numpy(), who.numpy(), tau, 0.1)
    np.testing.assert_allclose(
        tal_losses(text, image, who, tau, 0.1).numpy(), expected, rtol=1e-9, atol=1e-12
    )


def test_equal_negatives_cost_tau_times_their_logarithm() -> None:
    text, image = torch.zeros(64, 65), torch.zeros(64, 65)
    text[:, 0] = image[:, 0] = 1.0  # all alike: positives and negatives have similarity 1
    loss = tal_losses(text, image, torch.arange(64), 0.015, 0.1)
    torch.testing.assert_close(loss, torch.full((64,), 2 * (0.1 + 0.015 * math.log(63))))


@settings(deadline=None)
@given(seed=st.integers(0, 1000), size=st.integers(2, 10))
def test_the_order_of_the_batch_does_not_matter(seed: int, size: int) -> None:
    text, image, who = batch(seed, size, 4)
    order = torch.from_numpy(np.random.default_rng(seed).permutation(size))
    torch.testing.assert_close(
        tal_losses(text[order], image[order], who[order]), tal_losses(text, image, who)[order]
    )


@settings(deadline=None)
@given(
    seed=st.integers(0, 1000),
    size=st.integers(1, 8),
    people=st.integers(1, 8),
    tau=st.sampled_from([1e-6, 1e-4, 0.0112, 0.015]),
)
def test_gradients_are_finite_for_every_batch(seed: int, size: int, people: int, tau: float) -> None:
    """The published exponentials overflow below tau = 1/88.7, and a batch of one identity makes them NaN."""
    text, image, who = batch(seed, size, people)
    text, image = text.float().requires_grad_(), image.float().requires_grad_()
    loss = tal_losses(text, image, who, tau)
    loss.sum().backward()
    assert bool(loss.isfinite().all()) and text.grad is not None and image.grad is not None
    assert bool(text.grad.isfinite().all()) and bool(image.grad.isfinite().all())


def test_without_a_stranger_nothing_is_lost_and_nothing_pulls() -> None:
    text, image, _ = batch(0, 5, 5)
    text.requires_grad_()
    loss = tal_losses(text, image, torch.zeros(5, dtype=torch.int64))
    loss.sum().backward()
    assert text.grad is not None and not loss.any() and not text.grad.any()


def test_the_weights_of_the_positives_have_no_gradient() -> None:
    """With alpha constant, the gradient of -sum alpha S in a row is -alpha."""
    text, image = torch.eye(3, dtype=torch.float64), torch.rand(3, 3, dtype=torch.float64)
    image.requires_grad_()
    who = torch.tensor([0, 0, 1])
    tal_losses(text, image, who, 0.5, 10.0)[2].backward()
    assert image.grad is not None
    # Pair 2 is alone: its row of S has positive S_22, negatives S_20 and S_21; its column likewise.
    s = image.detach().numpy().T  # S = text @ image.T = image.T
    row = np.exp(s[2, :2] / 0.5) / np.exp(s[2, :2] / 0.5).sum()
    column = np.exp(s[:2, 2] / 0.5) / np.exp(s[:2, 2] / 0.5).sum()
    expected = np.zeros((3, 3))
    expected[2, 2] = -2.0
    expected[:2, 2] += row
    expected[2, :2] += column
    np.testing.assert_allclose(image.grad.numpy(), expected, rtol=1e-9)


def test_autocast_does_not_reach_it() -> None:
    text, image, who = batch(0, 8, 4)
    text, image = text.float(), image.float()
    with torch.autocast("cpu", torch.bfloat16):
        inside = tal_losses(text, image, who)
    assert inside.dtype == torch.float32 and torch.equal(inside, tal_losses(text, image, who))


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 1000), size=st.integers(1, 10), people=st.integers(1, 5))
def test_a_strangers_caption_costs_what_it_would_as_a_wrong_pair(seed: int, size: int, people: int) -> None:
    """For each picture the batch is written down anew: its own caption replaced by the next stranger's, all
    else of that stranger left out; then the golden formula is asked for its row."""
    text, image, who = (x.numpy() for x in batch(seed, size, people))
    got = mismatched_losses(*(torch.from_numpy(x) for x in (text, image, who)), tau=0.02, margin=0.1).numpy()
    for i in range(size):
        others = [(i + k) % size for k in range(size) if who[(i + k) % size] != who[i]]
        if not others:
            assert np.isnan(got[i])
            continue
        stranger = others[0]
        exchanged = text.copy()
        exchanged[i] = text[stranger]
        kept = [k for k in range(size) if who[k] != who[stranger]]
        row = golden(exchanged[kept], image[kept], who[kept], 0.02, 0.1)[kept.index(i)]
        assert np.isclose(got[i], row, rtol=1e-9, atol=1e-12)
