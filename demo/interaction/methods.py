"""What is compared, and which of its parameters are chosen on val."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ctgi.interaction.config import MTIConfig


@dataclass(frozen=True)
class Method:
    """One row of the table.

    ``fixed`` are fields of MTIConfig (None: no MTI at all), ``axes`` those that are chosen on val. ``like``
    names the method whose choice is taken over, so that only what ``fixed`` says differs from it. Without
    ``dossiers`` everything is asked live.
    """

    name: str
    title: str
    fixed: Mapping[str, Any] | None = field(default_factory=dict)
    axes: tuple[str, ...] = ()
    like: str = ""
    dossiers: bool = True

    def config(self, chosen: Mapping[str, Any], depth: int) -> MTIConfig:
        """The setting, with what was chosen on val."""
        return MTIConfig.of({**chosen, **(self.fixed or {}), "depth": depth})


_SOFT = ("temperature", "doubt", "lam")
METHODS = (
    Method("none", "no MTI", None),
    Method(
        "paper",
        "MTI as published, K = 20",
        {"judge": "hard", "k": 20, "m": 1, "xi": 0.85},
        ("lam",),
        dossiers=False,
    ),
    Method("soft", "soft judge, K = 20", {"judge": "soft", "k": 20, "m": 1}, _SOFT, dossiers=False),
    Method("anchors", "three anchors, K = 20", {"judge": "hard", "k": 20, "xi": 0.85, "m": 3}, ("lam",)),
    Method("dossier-20", "dossiers, K = 20", {"judge": "dossier", "m": 1, "k": 20}, like="dossier-100"),
    Method("dossier-50", "dossiers, K = 50", {"judge": "dossier", "m": 1, "k": 50}, like="dossier-100"),
    Method("dossier-100", "dossiers, K = 100", {"judge": "dossier", "m": 1, "k": 100}, _SOFT),
    Method("dossier-200", "dossiers, K = 200", {"judge": "dossier", "m": 1, "k": 200}, like="dossier-100"),
    Method(
        "all",
        "all together",
        {"judge": "dossier"},
        ("temperature", "doubt", "k", "questions", "m", "lam", "xi"),
    ),
)
BY_NAME = {method.name: method for method in METHODS}

#: Kinds of query in the order of the table; the last part of the issue's list has names of its own.
KINDS = {
    "short": "short and vague",
    "middling": "middling",
    "detailed": "detailed",
    "wrong-detail": "wrong in one detail",
    "negation": "with a negation",
}
