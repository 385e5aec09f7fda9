"""Every choice that MTI makes, with the paper's value where it gives one and the reason where it does not."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ctgi.errors import CtgiError

SCALES = ("calibrated", "cosine")


@dataclass(frozen=True)
class MTIConfig:
    """Parameters of one interactive search.

    Raises CtgiError when a value is out of its range.
    """

    k: int = 20
    """Candidates that may be judged (Sec. 4.2: K = 20)."""

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
        for name in ("k", "wave", "rounds", "questions", "depth"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise CtgiError(f"MTI's {name} is {value!r}; give a whole number from 1 upwards")
        if not 0.0 <= self.lam <= 1.0:
            raise CtgiError(f"MTI's lam is {self.lam!r}; Eq. 7 mixes with a weight between 0 and 1")
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
