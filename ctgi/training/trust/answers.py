"""The first signal: how sure the model was of the answers that a caption is made of."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ctgi.datasets.pseudo import PseudoCaption
from ctgi.errors import CtgiError
from ctgi.training.trust.join import Signal


def answers_signal(captions: Sequence[PseudoCaption]) -> Signal:
    """A caption's probability is the mean of those of its kept answers: the share of them that the model
    expects to be right.

    So a caption is not the less trusted for saying more, and one that is wrong in a detail still counts for
    the rest. A probability is the model's of the whole wording: calibrated as far as the model is, and low
    for a model that shares its belief among many wordings, which is so for all captions and hence no
    evidence. Where no kept answer has one, the signal is silent. It knows nothing of T_s, the first
    description.

    Raises CtgiError where no caption has a kept answer with a probability.
    """
    found = np.array([_expected_share(caption) for caption in captions])
    if not np.isfinite(found).any():
        raise CtgiError(
            "no caption has an answer with a probability: the server gave none; leave answers out of --trust"
        )
    return Signal("answers", found)


def _expected_share(caption: PseudoCaption) -> float:
    kept = [pair.probability for pair in caption.pairs if pair.kept and pair.probability is not None]
    return float(np.mean(kept)) if kept else float("nan")
