"""Objectives and the encoders they need, by name: `ctgi train --model sdm|irra|rde`."""

from __future__ import annotations

from torch import nn

from ctgi.encoders.dual import DualEncoder
from ctgi.encoders.rde import RdeEncoder
from ctgi.errors import CtgiError
from ctgi.training.config import TrainConfig
from ctgi.training.objectives.irra import IRRA
from ctgi.training.objectives.rde import RDE
from ctgi.training.objectives.sdm import SDM

MODELS = ("sdm", "irra", "rde")


def build_encoder(name: str, encoder: DualEncoder, config: TrainConfig) -> DualEncoder:
    """The encoder that model `name` trains, made of `encoder`: call it before `build_objective`.

    RDE gets selection layers, drawn from torch's generator, on the given towers, unless it has them. An RDE
    encoder stays one whatever it is trained with, so that nothing that was learnt gets lost.
    Raises CtgiError for an unknown name, or an RDE encoder under another objective.
    """
    _check(name)
    if name == "rde":
        return (
            encoder
            if isinstance(encoder, RdeEncoder)
            else RdeEncoder.on_top_of(encoder, config.rde_selection)
        )
    if isinstance(encoder, RdeEncoder):
        raise CtgiError(f"model {name}: this encoder is RDE's; train it as rde, or start from a CLIP encoder")
    return encoder


def build_objective(
    name: str, encoder: DualEncoder, config: TrainConfig, identities: int, pairs: int
) -> nn.Module:
    """The objective of model `name` for a training set of so many identities and caption-picture pairs.

    `encoder` comes from `build_encoder`. New layers are drawn from torch's generator.
    Raises CtgiError for an unknown name, or an encoder that is not of that model.
    """
    _check(name)
    if name == "sdm":
        return SDM(config.sdm_scale)
    if name == "irra":
        return IRRA(
            dim=encoder.config["embed_dim"],
            identities=identities,
            vocabulary=encoder.clip.vocab_size,
            scale=config.sdm_scale,
            captions=config.irra_captions,
            padding=config.irra_padding,
        )
    if not isinstance(encoder, RdeEncoder):
        raise CtgiError("model rde: the encoder has no token selection; start from an RDE or a CLIP encoder")
    return RDE(
        pairs=pairs,
        tau=config.tal_tau,
        margin=config.tal_margin,
        consensus=config.rde_consensus,
        augment=config.augment,
        seed=config.seed,
    )


def _check(name: str) -> None:
    if name not in MODELS:
        raise CtgiError(f"model {name!r} is unknown; choose one of {', '.join(MODELS)}")
