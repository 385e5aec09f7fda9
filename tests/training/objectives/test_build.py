from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from ctgi.encoders.dual import DualEncoder
from ctgi.encoders.rde import RdeEncoder
from ctgi.errors import CtgiError
from ctgi.training.config import TrainConfig
from ctgi.training.objectives.build import build_encoder, build_objective
from ctgi.training.objectives.irra import IRRA
from ctgi.training.objectives.rde import RDE
from ctgi.training.objectives.sdm import SDM

Towers = Callable[..., DualEncoder]


def test_every_name_gets_its_encoder_and_objective(towers: Towers) -> None:
    config = TrainConfig(
        sdm_scale=20.0, irra_captions="clean", rde_selection="context", seed=4, augment=False
    )
    plain = towers()
    for name, kind in (("sdm", SDM), ("irra", IRRA)):
        assert build_encoder(name, plain, config) is plain
        objective = build_objective(name, plain, config, 5, 7)
        assert type(objective) is kind and objective.scale == 20.0
    assert isinstance(objective, IRRA) and objective.clean
    assert objective.identity.classifier.weight.shape == (5, 16)
    encoder = build_encoder("rde", plain, config)
    assert isinstance(encoder, RdeEncoder) and encoder.config["selection"]["of"] == "context"
    assert build_encoder("rde", encoder, TrainConfig()) is encoder
    objective = build_objective("rde", encoder, config, 5, 7)
    assert isinstance(objective, RDE) and objective.trust.shape == (7,)
    assert (objective.seed, objective.augment, objective.consensus) == (4, False, "monotone")


def test_new_layers_are_drawn_from_torchs_generator(towers: Towers) -> None:
    made = []
    for seed in (1, 1, 2):
        plain = towers()
        torch.manual_seed(seed)
        encoder = build_encoder("rde", plain, TrainConfig())
        made.append(torch.cat([p.detach().flatten() for p in encoder.parameters()]))
    assert torch.equal(made[0], made[1]) and not torch.equal(made[0], made[2])


def test_what_does_not_fit_is_one_line(towers: Towers) -> None:
    plain, rde = towers(), towers(rde=True)
    with pytest.raises(CtgiError, match="model 'clip' is unknown; choose one of sdm, irra, rde"):
        build_objective("clip", plain, TrainConfig(), 5, 7)
    with pytest.raises(CtgiError, match="this encoder is RDE's"):
        build_encoder("irra", rde, TrainConfig())
    with pytest.raises(CtgiError, match="has no token selection"):
        build_objective("rde", plain, TrainConfig(), 5, 7)
    for name, value in (
        ("irra_captions", "both"),
        ("irra_padding", True),
        ("rde_consensus", "on"),
        ("rde_selection", "all"),
        ("tal_tau", 0.0),
        ("tal_margin", float("inf")),
        ("sdm_scale", True),
    ):
        with pytest.raises(CtgiError, match=f"training option {name}="):
            TrainConfig(**{name: value})
