"""Every choice that MTI makes, with the paper's value where it gives one and the reason where it does not."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ctgi.errors import CtgiError

SCALES = ("calibrated", "cosine")
JUDGES = ("hard", "soft", "dossier")


@dataclass(frozen=True)
class MTIConfig:
    """Parameters of one interactive search.

    Raises CtgiError when a value is out of its range.
    """

    k: int = 20
    """Candidates that may be judged (Sec. 4.2: K = 20). With dossiers judging costs no call, and hundreds are
    as good as free."""

    judge: str = "hard"
    """Who says whether a candidate fits: "hard", the language model's yes or no as published; "soft", its
    probability of "yes"; "dossier", what the pictures answered when they were enrolled, without a call."""

    m: int = 1
    """Anchors at most, each a different person as far as the dossiers tell. The paper takes one; several keep
    a vague query from being refined for the wrong person alone (docs/interaction.md)."""

    temperature: float = 0.02
    """Similarity and log-likelihood are joined as similarity + temperature · weight · log-likelihood. 0.02 is
    the temperature SDM trains the similarity with (IRRA), so similarity / temperature is a log-likelihood of
    its own up to a constant."""

    weight: float = 1.0
    """Weight of the answers' log-likelihood. 1 takes answers and similarity for independent; both come from
    the same pixels, so val may ask for less."""

    doubt: float = 0.1
    """Prior probability that a detail of a query, or the answer to it, is wrong. It is the floor: no detail
    can cost a candidate more than log(doubt). About 7 % of the answers of a good reader are wrong, and
    eye-witnesses err as well."""

    xi: float = 0.85
    """Early stop: the top candidate's similarity on `scale` must exceed it (Sec. 4.2: ξ = 0.85)."""

    scale: str = "calibrated"
    """The scale ξ is read on: "calibrated" (probability that the top candidate is right, fitted on val and
    kept in the release) or "cosine". The paper names none; raw cosines of CLIP models rarely reach 0.85."""

    lam: float = 0.8
    """λ of Eq. 7, the weight of the query as given. The paper gives no value; 0.8 is that of ICL, its nearest
    published relative."""

    wave: int = 8
    """Candidates judged at the same time. It changes the time and the number of calls, never the anchor."""

    rounds: int = 1
    """Waves of questions put to the anchor. The paper gives no number for MTI; one wave that asks everything
    the query leaves out takes a single round trip, and a second would find little left to ask."""

    questions: int = 13
    """Questions in one round at most, the most telling first; the pool has 13."""

    depth: int = 100
    """Pictures in the rankings that come back. The fused vector ranks the whole gallery."""

    deadline: float | None = None
    """Seconds a search may take; None: no limit. The best ranking so far is returned when they are over."""

    max_calls: int | None = None
    """Language-model calls a search may make; None: no limit."""

    def __post_init__(self) -> None:
        for name in ("k", "m", "wave", "rounds", "questions", "depth"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise CtgiError(f"MTI's {name} is {value!r}; give a whole number from 1 upwards")
        if not 0.0 <= self.lam <= 1.0:
            raise CtgiError(f"MTI's lam is {self.lam!r}; Eq. 7 mixes with a weight between 0 and 1")
        if self.judge not in JUDGES:
            raise CtgiError(f"MTI's judge is {self.judge!r}; choose one of {', '.join(JUDGES)}")
        if not 0.0 < self.temperature < math.inf:
            raise CtgiError(f"MTI's temperature is {self.temperature!r}; give a positive number")
        if not 0.0 <= self.weight < math.inf:
            raise CtgiError(f"MTI's weight is {self.weight!r}; give 0 or a positive number")
        if not 0.0 < self.doubt < 1.0:
            raise CtgiError(f"MTI's doubt is {self.doubt!r}; a probability between 0 and 1, neither included")
        if math.isnan(self.xi):
            raise CtgiError(f"MTI's xi is {self.xi!r}; give a number, 0 to 1 on the calibrated scale")
        if self.scale not in SCALES:
            raise CtgiError(f"MTI's scale is {self.scale!r}; choose one of {', '.join(SCALES)}")
        if self.deadline is not None and not self.deadline > 0:
            raise CtgiError(f"MTI's deadline is {self.deadline!r} seconds; give a positive number or none")
        if self.max_calls is not None and self.max_calls < 0:
            raise CtgiError(f"MTI's max_calls is {self.max_calls!r}; give 0 or more, or none")

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> MTIConfig:
        """From a mapping such as a YAML section. Raises CtgiError on a name that MTI does not know."""
        known = {field.name for field in dataclasses.fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise CtgiError(f"MTI knows no setting {unknown[0]!r}; there are {', '.join(sorted(known))}")
        return cls(**values)
