"""Flags of MTI for the commands that search, and the interaction that they describe.

What no flag says is as `ctgi tune` chose it on val for this judge, where the release has it, else as
MTIConfig has it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ctgi.cli.numbers import probability
from ctgi.errors import CtgiError

if TYPE_CHECKING:
    from ctgi.captioning.reconstructor import Reconstructor
    from ctgi.interaction.config import MTIConfig
    from ctgi.interaction.dossier import Dossiers
    from ctgi.interaction.mti import MTI, Encode, Index, Pictures
    from ctgi.mllm.client import ChatClient

#: Answers that the model itself gives less are left out, where neither a flag nor the release says otherwise.
MIN_PROBABILITY = 0.1
# Flags whose names would be unclear beside those of a command.
RENAMED = {"mti_rounds": "rounds", "max_questions": "questions"}
FIELDS = (
    "k",
    "judge",
    "m",
    "temperature",
    "weight",
    "doubt",
    "xi",
    "scale",
    "lam",
    "wave",
    "mti_rounds",
    "max_questions",
    "deadline",
    "max_calls",
)
# What a release may say of the paper's MTI outside `tuned`.
_PLAIN = ("lam",)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Every field of MTIConfig but the depth; only what is given is passed on."""
    group = parser.add_argument_group("MTI (Sec. 3.3); a release's own values come before these defaults")
    absent = argparse.SUPPRESS

    def number(flag: str, kind: type, what: str) -> None:
        group.add_argument(flag, type=kind, default=absent, help=what)

    group.add_argument(
        "--judge",
        choices=("hard", "soft", "dossier"),
        default=absent,
        help="the model's yes or no as published (hard), its probability of yes (soft), or what the pictures "
        "answered when they were indexed (dossier)",
    )
    number("--k", int, "candidates that may be judged (20)")
    number("--m", int, "anchors at most, each another person (1)")
    number("--xi", float, "early stop above it, on --scale (0.85)")
    group.add_argument(
        "--scale",
        choices=("calibrated", "cosine"),
        default=absent,
        help="scale of xi (calibrated, where the release has a calibration)",
    )
    number("--lam", float, "weight of the query as given, Eq. 7 (0.8)")
    number("--temperature", float, "one unit of log-likelihood in units of similarity (0.02)")
    number("--weight", float, "weight of the answers' log-likelihood (1)")
    number("--doubt", float, "chance that a detail or an answer is wrong (0.1)")
    number("--wave", int, "candidates judged at the same time (8)")
    number("--mti-rounds", int, "waves of questions to the anchor (1)")
    number("--max-questions", int, "questions in a round at most (13)")
    group.add_argument(
        "--mti-min-probability",
        type=probability,
        metavar="P",
        help=f"answers that the model itself gives less are left out ({MIN_PROBABILITY})",
    )
    group.add_argument(
        "--deadline", type=float, default=absent, metavar="S", help="seconds a search may take"
    )
    group.add_argument("--max-calls", type=int, default=absent, metavar="N", help="calls a search may make")


def check(options: argparse.Namespace, *, live: bool, dossiers: bool) -> None:
    """Raise CtgiError for flags of MTI that would be passed over: `live` says whether there is a chat model
    that judges, `dossiers` whether there are any."""
    judge = getattr(options, "judge", None)
    if judge in ("hard", "soft") and not live:
        raise CtgiError(f"--judge {judge} asks a chat model: name --server and --model")
    if judge == "dossier" and not dossiers:
        raise CtgiError("--judge dossier weighs what pictures answered: name their dossiers with --dossiers")
    given = [name for name in FIELDS if hasattr(options, name)]
    given += ["mti_min_probability"] if options.mti_min_probability is not None else []
    if given and not live and not dossiers:
        flag = given[0].replace("_", "-")
        raise CtgiError(f"--{flag} is for MTI, which needs --server and --model, or --dossiers; leave it out")


def settings(
    options: argparse.Namespace, depth: int, release_mti: Mapping[str, Any] | None = None
) -> MTIConfig:
    """The configuration that the flags describe, over what the release chose for its judge on val.

    Raises CtgiError for a value out of its range, or a release that says something MTI does not know.
    """
    from ctgi.interaction.config import MTIConfig

    given = {RENAMED.get(name, name): getattr(options, name) for name in FIELDS if hasattr(options, name)}
    chosen = _chosen(release_mti or {}, str(given.get("judge", "hard")))
    return MTIConfig.of({**chosen, **given, "depth": depth})


def min_probability(options: argparse.Namespace, release_mti: Mapping[str, Any] | None = None) -> float:
    """Answers below it are left out: the flag's, else the release's."""
    if options.mti_min_probability is not None:
        return float(options.mti_min_probability)
    return float((release_mti or {}).get("min_probability", MIN_PROBABILITY))


def _chosen(release_mti: Mapping[str, Any], judge: str) -> dict[str, Any]:
    """What the release says for a judge."""
    plain = {name: release_mti[name] for name in _PLAIN if name in release_mti and judge == "hard"}
    tuned = release_mti.get("tuned", {})
    if not isinstance(tuned, Mapping) or not isinstance(tuned.get(judge, {}), Mapping):
        raise CtgiError("the release's mti.tuned is no mapping of judges; tune it again with `ctgi tune`")
    return {**plain, **tuned.get(judge, {}).get("settings", {})}


def calibration(release_mti: Mapping[str, Any]) -> Callable[[float], float] | None:
    """The similarity scale that a release carries, or None."""
    from ctgi.interaction.calibration import Calibration

    return Calibration.of(release_mti["calibration"]) if "calibration" in release_mti else None


def open_mti(
    options: argparse.Namespace,
    encode: Encode,
    index: Index,
    client: ChatClient | None,
    pictures: Pictures,
    writer: Reconstructor,
    *,
    depth: int,
    release_mti: Mapping[str, Any] | None = None,
    scale: Callable[[float], float] | None = None,
    dossiers: Dossiers | None = None,
    reader: ChatClient | None = None,
) -> MTI:
    """The interaction that the flags and the release describe; `scale` where the release is not given."""
    from ctgi.captioning.pair_filter import PairFilter
    from ctgi.captioning.pool import default_pool
    from ctgi.interaction.mti import MTI

    pool = default_pool()
    return MTI(
        encode,
        index,
        client,
        pictures,
        pool,
        writer,
        settings(options, depth, release_mti),
        scale=scale if release_mti is None else calibration(release_mti),
        pair_filter=PairFilter(pool, min_probability(options, release_mti)),
        dossiers=dossiers,
        reader=reader,
    )
