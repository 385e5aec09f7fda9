"""The second signal: whether an encoder finds a caption nearer to its picture than to strangers' pictures.

What a cosine is worth is learnt without labels. Re-paired with pictures of other people, the captions show
how surely wrong pairs score. The given pairs are a mixture of right ones and such wrong ones, so the chance
that a pair is wrong is the local false discovery rate (Efron et al., JASA 2001): the share of wrong pairs
times the ratio of both densities at its score.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ctgi.training.trust.isotonic import isotonic
from ctgi.training.trust.join import Numbers, Signal

STRANGERS = 4
"""Pictures of other people that each caption is re-paired with."""
LOW = 0.25
"""The share of surely wrong pairs below the score under which right pairs are taken to be rare."""

Embeddings = NDArray[np.float32]
Indices = NDArray[np.int64]


def similarity_signal(
    texts: Embeddings, pictures: Embeddings, picture: Indices, identity: Indices, seed: int = 0
) -> Signal:
    """texts (N, D) and pictures (P, D), unit norm; picture (N,): the row of each caption's own; identity
    (P,): who is on each picture. Silent where there are no strangers' pictures."""
    rng = np.random.default_rng([seed, 3])
    score = _Score(texts, pictures)
    rows = np.arange(len(texts))
    others = rng.integers(len(pictures), size=(len(texts), STRANGERS))
    strange = identity[others] != identity[picture][:, None]
    if not strange.any():
        return Signal("similarity", np.full(len(texts), np.nan))
    own = score(rows, picture)
    wrong = score(np.repeat(rows, STRANGERS)[strange.ravel()], others[strange])
    return Signal("similarity", right_probability(own, wrong))


def right_probability(own: Numbers, wrong: Numbers) -> Numbers:
    """Probability that each given pair is right, (N,), from the scores of the given pairs (N,) and of pairs
    that are surely wrong (M,); it never falls with the score.

    1 - share * f_wrong / f_own. The ratio of the densities is isotonic regression's of "given" against
    "re-paired", both groups weighing the same. The share of wrong pairs is how many of the given score in the
    lowest quarter of the wrong ones, against that quarter (Storey, JRSS B 2002): right pairs that score as
    low are counted as wrong, so it is rather too high.
    """
    low = np.quantile(wrong, LOW)
    share = min(1.0, float((own <= low).mean() / (wrong <= low).mean()))
    x = np.concatenate([own, wrong])
    given = np.concatenate([np.ones(len(own)), np.zeros(len(wrong))])
    mass = np.concatenate([np.full(len(own), 1 / len(own)), np.full(len(wrong), 1 / len(wrong))])
    part = isotonic(x, given, mass)[: len(own)]
    # part = f_own / (f_own + f_wrong), hence f_wrong / f_own = (1 - part) / part.
    ratio = (1 - part) / np.maximum(part, 1e-12)
    return np.clip(1 - share * ratio, 0.0, 1.0)


class _Score:
    """Cosines without what a caption has in common with all pictures and a picture with all captions: both
    sides are centred, and divided by their spread over the other side."""

    def __init__(self, texts: Embeddings, pictures: Embeddings) -> None:
        self.texts = texts.astype(np.float64) - texts.mean(axis=0, dtype=np.float64)
        self.pictures = pictures.astype(np.float64) - pictures.mean(axis=0, dtype=np.float64)
        self.text_spread = _spread(self.texts, self.pictures)
        self.picture_spread = _spread(self.pictures, self.texts)

    def __call__(self, text: Indices, picture: Indices) -> Numbers:
        dot = np.einsum("nd,nd->n", self.texts[text], self.pictures[picture])
        scaled: Numbers = dot / np.sqrt(self.text_spread[text] * self.picture_spread[picture])
        return scaled


def _spread(of: Numbers, over: Numbers) -> Numbers:
    """Standard deviation of each row's inner products with all rows of the other side."""
    covariance = over.T @ over / len(over)
    spread: Numbers = np.sqrt(np.maximum(np.einsum("nd,de,ne->n", of, covariance, of, optimize=True), 1e-24))
    return spread
