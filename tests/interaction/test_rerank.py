"""Eq. 7 as one fused vector, against the mixture of two searches computed in float64."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ctgi.interaction.rerank import Ranking, fuse, with_anchor


@settings(deadline=None)
@given(seed=st.integers(0, 10_000), lam=st.floats(0, 1), dim=st.integers(2, 64))
def test_the_fused_score_is_eq_7(seed: int, lam: float, dim: int) -> None:
    rng = np.random.default_rng(seed)
    q, refined, gallery = (rng.normal(size=(n, dim)) for n in (1, 1, 50))
    q, refined, gallery = (
        (m / np.linalg.norm(m, axis=1, keepdims=True)).astype(np.float32) for m in (q, refined, gallery)
    )
    s_q, s_refined = (gallery.astype(np.float64) @ v[0].astype(np.float64) for v in (q, refined))
    fused = fuse(q[0], refined[0], lam)
    assert fused.dtype == np.float32
    np.testing.assert_allclose(
        gallery.astype(np.float64) @ fused, lam * s_q + (1 - lam) * s_refined, atol=3e-7
    )


def test_it_is_not_brought_back_to_unit_length() -> None:
    q, refined = np.array([1, 0], np.float32), np.array([0, 1], np.float32)
    assert float(np.linalg.norm(fuse(q, refined, 0.5))) == pytest.approx(np.sqrt(0.5))


def test_the_anchor_is_set_to_one_and_leads() -> None:
    ranking = Ranking(("a", "b", "c"), (0.9, 0.8, 0.7))
    assert with_anchor(ranking, "c", 3) == Ranking(("c", "a", "b"), (1.0, 0.9, 0.8))
    assert with_anchor(ranking, "a", 2) == Ranking(("a", "b"), (1.0, 0.8))
    assert with_anchor(ranking, None, 2) == Ranking(("a", "b"), (0.9, 0.8))


def test_an_anchor_below_the_depth_of_the_ranking_still_leads() -> None:
    assert with_anchor(Ranking(("a", "b"), (0.9, 0.8)), "z", 2) == Ranking(("z", "a"), (1.0, 0.9))


def test_rank_of() -> None:
    ranking = Ranking(("a", "b"), (0.9, 0.8))
    assert ranking.rank_of("b") == 2 and ranking.rank_of("z") is None
