from __future__ import annotations

from typing import Any

import pytest

from ctgi.errors import CtgiError
from ctgi.training.config import TrainConfig


def test_the_defaults_are_the_published_run() -> None:
    config = TrainConfig()
    assert (config.epochs, config.batch_size, config.base_lr, config.weight_decay) == (60, 64, 1e-5, 4e-5)
    assert (config.adam_eps, config.sdm_scale, config.seed) == (1e-3, 50.0, 1)
    assert (config.bias_lr_factor, config.new_lr_factor, config.rde_new_lr) == (2, 5, 1e-3)
    assert (config.warmup_epochs, config.lr_step, config.sampler, config.augment) == (
        None,  # 5 of 60
        "epoch",
        "plain",
        True,
    )
    assert (config.tal_tau, config.tal_margin, config.irra_captions) == (0.015, 0.1, "masked")


def test_the_defaults_that_mend_the_published_code() -> None:
    config = TrainConfig()
    assert (config.irra_padding, config.rde_selection, config.rde_consensus) == (
        "ignored",
        "valid",
        "monotone",
    )
    assert (config.select, config.select_on, config.patience) == ("R@1", "val", 0)


@pytest.mark.parametrize(
    "values",
    [
        {"epochs": 0},
        {"epochs": 2.5},
        {"epochs": True},
        {"batch_size": "64"},
        {"base_lr": 0},
        {"base_lr": float("nan")},
        {"adam_eps": -1e-8},
        {"seed": -1},
        {"warmup_epochs": 60},
        {"warmup_epochs": -1},
        {"lr_step": "batch"},
        {"precision": "int8"},
        {"augment": "yes"},
        {"select": ""},
        {"weight_decay": -1e-9},
        {"sampler": "balanced"},
        {"accumulation": 0},
        {"rde_new_lr": 0},
        {"patience": -1},
        {"recompute": 1},
        {"select_on": "train"},
    ],
)
def test_a_bad_value_is_named(values: dict[str, Any]) -> None:
    (name,) = values
    with pytest.raises(CtgiError, match=f"^training option {name}="):
        TrainConfig.from_mapping(values)


def test_options_that_do_not_go_together() -> None:
    with pytest.raises(CtgiError, match="instances=5 is not a divisor of batch_size=64"):
        TrainConfig(sampler="identity", instances=5)
    with pytest.raises(CtgiError, match="shard_window=2 is not 0"):
        TrainConfig(sampler="identity", shard_window=2)
    assert TrainConfig(instances=5, shard_window=2)


def test_an_unknown_option_is_named() -> None:
    with pytest.raises(CtgiError, match="'learning_rate' is unknown; known: .*base_lr"):
        TrainConfig.from_mapping({"learning_rate": 1e-5})


def test_a_mapping_makes_a_config() -> None:
    assert TrainConfig.from_mapping({"epochs": 4, "warmup_epochs": None}) == TrainConfig(epochs=4)
