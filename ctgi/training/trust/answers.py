"""The first signal: how sure the model was of the answers that a caption is made of."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ctgi.datasets.pseudo import PseudoCaption
from ctgi.errors import CtgiError
from ctgi.training.trust.join import Signal


def answers_signal(captions: Sequence[PseudoCaption]) -> Signal:
    """A caption's probability is the geometric mean of those of its kept answers.

    The mean makes it a typical answer's, so that a caption is not the less trusted for saying more; the
    geometric one lets a single answer that the model hardly believes weigh heavily. A probability is the
    model's of the whole wording: calibrated as far as the model is, and low for a model that shares its
    belief among many wordings, which is so for all captions and hence no evidence. Where no kept answer has
    one, the signal is silent. It knows nothing of T_s, the first description.

    Raises CtgiError where no caption has a kept answer with a probability.
    """
    found = np.array([_typical(caption) for caption in captions])
    if not np.isfinite(found).any():
        raise CtgiError(
            "no caption has an answer with a probability: the server gave none; leave answers out of --trust"
        )
    return Signal("answers", found)


def _typical(caption: PseudoCaption) -> float:
    kept = [pair.probability for pair in caption.pairs if pair.kept and pair.probability is not None]
    if not kept:
        return float("nan")
    return float(np.exp(np.log(np.clip(kept, 1e-12, 1.0)).mean()))
