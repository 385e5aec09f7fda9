"""Flags of MTI for the commands that search, and the interaction that they describe."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ctgi.captioning.reconstructor import Reconstructor
    from ctgi.interaction.config import MTIConfig
    from ctgi.interaction.mti import MTI, Encode, Index, Pictures
    from ctgi.mllm.client import ChatClient


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Every field of MTIConfig but the depth; only what is given is passed on."""
    group = parser.add_argument_group("MTI (Sec. 3.3; with --server and --model)")
    absent = argparse.SUPPRESS
    group.add_argument("--k", type=int, default=absent, help="candidates that may be judged (20)")
    group.add_argument("--xi", type=float, default=absent, help="early stop above it, on --scale (0.85)")
    group.add_argument(
        "--scale",
        choices=("calibrated", "cosine"),
        default=absent,
        help="scale of xi (calibrated, where the release has a calibration)",
    )
    group.add_argument("--lam", type=float, default=absent, help="weight of the query as given, Eq. 7 (0.8)")
    group.add_argument("--wave", type=int, default=absent, help="candidates judged at the same time (8)")
    group.add_argument("--mti-rounds", type=int, default=absent, help="waves of questions to the anchor (1)")
    group.add_argument("--max-questions", type=int, default=absent, help="questions in a round at most (13)")
    group.add_argument(
        "--mti-min-probability",
        type=float,
        default=0.1,
        metavar="P",
        help="answers that the model itself gives less are left out (default: %(default)s)",
    )
    group.add_argument(
        "--deadline", type=float, default=absent, metavar="S", help="seconds a search may take"
    )
    group.add_argument("--max-calls", type=int, default=absent, metavar="N", help="calls a search may make")


# Flags whose names would be unclear beside those of a command.
RENAMED = {"mti_rounds": "rounds", "max_questions": "questions"}
FIELDS = (
    "k",
    "xi",
    "scale",
    "lam",
    "wave",
    "mti_rounds",
    "max_questions",
    "deadline",
    "max_calls",
)


def settings(options: argparse.Namespace, depth: int) -> MTIConfig:
    """The configuration that the flags describe."""
    from ctgi.interaction.config import MTIConfig

    given = {RENAMED.get(name, name): getattr(options, name) for name in FIELDS if hasattr(options, name)}
    return MTIConfig.of({**given, "depth": depth})


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
    scale: Callable[[float], float] | None,
) -> MTI:
    """The interaction that the flags describe."""
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
        settings(options, depth),
        scale=scale,
        pair_filter=PairFilter(pool, options.mti_min_probability),
    )
