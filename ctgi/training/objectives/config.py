"""What can be chosen about the objectives, with the published values as defaults."""

from __future__ import annotations

from dataclasses import dataclass

from ctgi.errors import CtgiError

CAPTIONS = ("masked", "clean")
PADDING = ("ignored", "attended")
CONSENSUS = ("monotone", "published", "published-loose", "off")
SELECTION = ("valid", "context")


@dataclass(frozen=True)
class ObjectiveConfig:
    """Constants of SDM, IRRA and RDE; checked by `check_objective`.

    Raises CtgiError naming the field, its value and what is allowed.
    """

    sdm_scale: float = 50.0
    irra_captions: str = "masked"
    """What SDM and the ID loss of IRRA read. "masked": the caption with 15 % of its tokens masked, as IRRA's
    code does; "clean": the caption itself, as its paper says (ADR 0009)."""
    irra_padding: str = "ignored"
    """Whether MLM's cross-modal encoder looks at padding. "attended", as IRRA's code does, pads every caption
    to the whole context; the loss then depends on its length (ADR 0009)."""
    tal_tau: float = 0.015
    tal_margin: float = 0.1
    rde_consensus: str = "monotone"
    """How RDE judges pairs before each epoch. "monotone": ours; "published" and "published-loose":
    RDE's own with its two settings, for comparison; "off": every pair counts."""
    rde_selection: str = "valid"
    """What RDE takes 0.3 of when it selects text tokens. "valid": the caption's own tokens; "context": all
    positions, as RDE's code does (ADR 0010). Fixed when an encoder first becomes RDE's."""

    def check_objective(self) -> None:
        """Raise CtgiError for the first value that is not allowed."""
        for name in ("sdm_scale", "tal_tau", "tal_margin"):
            value = getattr(self, name)
            if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < float("inf"):
                raise CtgiError(f"training option {name}={value!r} is not a number above 0")
        for name, allowed in (
            ("irra_captions", CAPTIONS),
            ("irra_padding", PADDING),
            ("rde_consensus", CONSENSUS),
            ("rde_selection", SELECTION),
        ):
            if getattr(self, name) not in allowed:
                raise CtgiError(
                    f"training option {name}={getattr(self, name)!r} is not one of {', '.join(allowed)}"
                )
