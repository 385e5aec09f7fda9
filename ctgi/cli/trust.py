"""`ctgi train --trust`: signals about uncertain captions, for the captions of a run."""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ctgi.errors import CtgiError

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

    from ctgi.cli.samples import Source
    from ctgi.datasets.annotations import Sample
    from ctgi.encoders.dual import DualEncoder
    from ctgi.training.config import TrainConfig
    from ctgi.training.trust.join import Signal

SIGNALS = ("answers", "similarity", "loss")
FILE = "trust.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """--trust and --trust-least."""
    group = parser.add_argument_group("uncertain captions (docs/uncertain-captions.md)")
    group.add_argument(
        "--trust",
        type=_signals,
        default=(),
        metavar="SIGNALS",
        help="weight each caption by the probability that it is right. One or more of: answers (how sure "
        "the model was in the interview; needs a pseudo-caption Parquet; sees wrong details), similarity "
        "(whether the encoder to start from finds the picture nearer than strangers' pictures; sees captions "
        "of somebody else), loss (what stays hard in training, judged before each epoch; takes the place of "
        "RDE's own consensus). Several are joined as independent evidence: --trust answers,similarity,loss",
    )
    group.add_argument(
        "--trust-least",
        type=float,
        default=0.1,
        metavar="P",
        help="leave captions out that are right with less than this probability; 0 keeps all, down-weighted "
        "(default: %(default)s)",
    )


def settled(options: argparse.Namespace, settings: TrainConfig) -> TrainConfig:
    """The settings with these signals. Raises CtgiError for what does not go together."""
    if not 0 <= options.trust_least < 1:
        raise CtgiError(f"--trust-least {options.trust_least:g}: give a probability from 0 to below 1")
    if "answers" in options.trust and options.text != "caption":
        raise CtgiError(
            "--trust answers: T_s was not made of answers; train on --text caption or leave it out"
        )
    if "loss" not in options.trust:
        return settings
    if getattr(options, "rde_consensus", "off") != "off":
        raise CtgiError(
            f"--trust loss takes the place of --rde-consensus {options.rde_consensus}; give one of the two"
        )
    return dataclasses.replace(settings, rde_consensus="off")


def fixed_signals(
    options: argparse.Namespace,
    settings: TrainConfig,
    source: Source,
    train: Sequence[Sample],
    encoder: DualEncoder,
) -> list[Signal]:
    """The signals that stay as they are, for the captions of `train` in their order."""
    signals = []
    if "answers" in options.trust:
        signals.append(_answers(options, train))
    if "similarity" in options.trust:
        signals.append(_similarity(options.out, settings, source, train, encoder))
    return signals


def trusting(
    options: argparse.Namespace, signals: Sequence[Signal], objective: nn.Module, pairs: int
) -> tuple[nn.Module, Sequence[float] | None]:
    """The objective to train with, and the trust to give to the engine."""
    from ctgi.training.trust.join import joined, weights
    from ctgi.training.trust.weighed import Weighed

    if "loss" in options.trust:
        return Weighed(objective, pairs, signals, options.trust_least), None
    if not options.trust:
        return objective, None
    trust: np.ndarray = weights(joined(signals, pairs), options.trust_least)
    return objective, trust.tolist()


def tell(signals: Sequence[Signal], trust: Sequence[float] | None) -> None:
    """A line on what the signals found."""
    parts = [
        f"{signal.name} finds {signal.base:.0%} right (silent about {int((~signal.known).sum())})"
        for signal in signals
    ]
    if trust is not None:
        parts.append(f"{sum(x == 0 for x in trust)} of {len(trust)} captions are left out")
    if parts:
        print(f"trust: {'; '.join(parts)}")


def _answers(options: argparse.Namespace, train: Sequence[Sample]) -> Signal:
    from ctgi.datasets.pseudo import read_pseudo_captions
    from ctgi.training.trust.answers import answers_signal

    if options.pictures is None:
        raise CtgiError(
            f"--trust answers: {options.captions} holds no interviews; give a pseudo-caption Parquet, or "
            "leave it out"
        )
    rows = {options.pictures / row.path: row for row in read_pseudo_captions(options.captions)}
    return answers_signal([rows[sample.picture] for sample in train])


def _similarity(
    out: Path, settings: TrainConfig, source: Source, train: Sequence[Sample], encoder: DualEncoder
) -> Signal:
    """From OUT/trust.json where it was found before: on a GPU a second look could differ in the last bit, and
    a run is only continued with the very same trust."""
    import numpy as np

    from ctgi.storage.atomic import write_json
    from ctgi.training.distributed import rank, wait
    from ctgi.training.trust.encoded import encoded_signal
    from ctgi.training.trust.join import Signal

    key = _key(settings, train, encoder)
    try:
        found = json.loads((out / FILE).read_text(encoding="utf-8"))
        known = found["similarity"] if found["made_of"] == key else None
    except (OSError, ValueError, LookupError, TypeError):
        known = None
    wait()  # until all have looked
    if known is not None:
        return Signal("similarity", np.array(known, float))
    signal = encoded_signal(settings, train, encoder, out / "train", source.read)
    if rank() == 0:
        values = [
            p if known else None for p, known in zip(signal.probability.tolist(), signal.known, strict=True)
        ]
        write_json(out / FILE, {"made_of": key, "similarity": values})
    return signal


def _key(settings: TrainConfig, train: Sequence[Sample], encoder: DualEncoder) -> str:
    digest = hashlib.sha256(json.dumps([settings.seed, encoder.context]).encode())
    for sample in train:
        digest.update(json.dumps([sample.picture.name, sample.identity, sample.captions]).encode())
    for name, tensor in encoder.state_dict().items():
        digest.update(name.encode())
        digest.update(memoryview(tensor.detach().cpu().contiguous().numpy()).cast("B"))
    return digest.hexdigest()


def _signals(text: str) -> tuple[str, ...]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in SIGNALS]
    if unknown or not names:
        raise argparse.ArgumentTypeError(
            f"{text!r}: name one or more of {', '.join(SIGNALS)}, with commas between them"
        )
    return tuple(name for name in SIGNALS if name in names)
