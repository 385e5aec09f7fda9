from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from ctgi.encoders.grid import resize_grid
from ctgi.encoders.loading import load_checkpoint, load_encoder, save_checkpoint
from ctgi.encoders.stretch import stretch_positions
from ctgi.encoders.tokens import tokenize
from ctgi.errors import CtgiError

TINY: dict[str, Any] = {
    "embed_dim": 8,
    "vision_cfg": {"image_size": 224, "patch_size": 16, "width": 16, "layers": 1, "head_width": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 8, "heads": 2, "layers": 1},
}


@pytest.fixture
def square(tmp_path: Path) -> tuple[Path, dict[str, torch.Tensor]]:
    """Weights as open_clip would hold them at 224x224 and 77 positions."""
    torch.manual_seed(1)
    state = {
        name: t.detach().clone()
        for name, t in open_clip.model.CLIP(**copy.deepcopy(TINY)).state_dict().items()
    }
    save_file(state, tmp_path / "square.safetensors")
    return tmp_path / "square.safetensors", state


def test_only_the_two_positional_tables_change(square: tuple[Path, dict[str, torch.Tensor]]) -> None:
    file, state = square
    encoder = load_encoder(TINY, file, context=248)
    got = encoder.clip.state_dict()
    visual, text = "visual.positional_embedding", "positional_embedding"
    assert torch.equal(got[visual], resize_grid(state[visual], (14, 14), (24, 8)))
    assert torch.equal(got[text], stretch_positions(state[text]))
    for name in state:
        if name not in (visual, text):
            assert torch.equal(got[name], state[name]), name
    assert encoder.context == 248
    assert encoder.config["text_cfg"]["context_length"] == 248
    assert encoder.config["vision_cfg"]["image_size"] == [384, 128]
    assert TINY["text_cfg"]["context_length"] == 77  # the caller's configuration is left alone
    assert encoder.encode_text(tokenize(["word " * 400], 248)).shape == (1, 8)


def test_a_checkpoint_comes_back_bit_for_bit(
    square: tuple[Path, dict[str, torch.Tensor]], tmp_path: Path
) -> None:
    encoder = load_encoder(TINY, square[0], context=248)
    save_checkpoint(encoder, tmp_path / "saved", {"epoch": "3"})
    again = load_checkpoint(tmp_path / "saved")
    assert again.context == 248 and again.config == encoder.config
    for name, tensor in encoder.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name
    with safe_open(tmp_path / "saved" / "model.safetensors", "pt") as file:
        assert file.metadata() == {"epoch": "3"}
    assert sorted(path.name for path in (tmp_path / "saved").iterdir()) == [
        "config.json",
        "model.safetensors",
    ]
    # Nothing in it is of our own make: open_clip builds and fills the same model.
    plain = open_clip.model.CLIP(**json.loads((tmp_path / "saved" / "config.json").read_text()))
    plain.load_state_dict(load_file(tmp_path / "saved" / "model.safetensors"), strict=True)


def test_weights_are_readable_by_others_of_this_machine(tmp_path: Path) -> None:
    (tmp_path / "usual").touch()
    save_checkpoint(load_encoder(TINY, None), tmp_path / "saved")
    weights = tmp_path / "saved" / "model.safetensors"
    assert weights.stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_a_half_precision_file_is_widened(square: tuple[Path, dict[str, torch.Tensor]]) -> None:
    file, state = square
    save_file({name: tensor.half() for name, tensor in state.items()}, file)
    encoder = load_encoder(TINY, file)
    assert {tensor.dtype for tensor in encoder.state_dict().values()} == {torch.float32}
    assert torch.equal(encoder.clip.ln_final.weight, state["ln_final.weight"].half().float())


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda s: s.pop("ln_final.weight"), "lacks ln_final.weight"),
        (lambda s: s.pop("positional_embedding"), "lacks positional_embedding"),
        (lambda s: s.update(extra=torch.zeros(1)), "has the unexpected extra"),
        (
            lambda s: s.update({"text_projection": torch.zeros(8, 9)}),
            "has the wrong shape for text_projection",
        ),
        (lambda s: s.update({"visual.positional_embedding": torch.zeros(50, 16)}), "50 positions are not"),
        (
            lambda s: s.update({"positional_embedding": torch.zeros(168, 8)}),
            "has the wrong shape for positional_embedding",
        ),
    ],
)
@pytest.mark.parametrize("context", [None, 248])
def test_every_key_is_accounted_for(
    square: tuple[Path, dict[str, torch.Tensor]], change: Any, line: str, context: int | None
) -> None:
    file, state = square
    change(state)
    save_file(state, file)
    with pytest.raises(CtgiError, match=line) as caught:
        load_encoder(TINY, file, context)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("config", "line"),
    [
        ("ViT-Z-1", "no such model"),
        (Path("/nowhere/config.json"), "not a readable encoder configuration"),
        ({"embed_dim": 8}, "needs embed_dim, vision_cfg and text_cfg"),
        ({**TINY, "custom_text": True}, "custom_text is not supported"),
        ({**TINY, "vision_cfg": {**TINY["vision_cfg"], "depth": 3}}, "open_clip cannot build it"),
        ({**TINY, "text_cfg": {**TINY["text_cfg"], "pool_type": "last"}}, "causal text tower"),
        ({**TINY, "text_cfg": {**TINY["text_cfg"], "no_causal_mask": True}}, "causal text tower"),
    ],
)
def test_a_configuration_that_cannot_be_used_is_refused(config: Any, line: str) -> None:
    with pytest.raises(CtgiError, match=line):
        load_encoder(config, None)


def test_a_context_that_stretching_does_not_reach_is_refused() -> None:
    with pytest.raises(CtgiError, match="context 168: an encoder with 77 positions keeps them or gets 248"):
        load_encoder(TINY, None, context=168)


def test_a_folder_without_a_checkpoint_says_what_to_name(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place, reason in (
        (".", "has no config.json"),
        ("absent", "does not exist"),
        ("file", "is not a folder"),
    ):
        with pytest.raises(CtgiError, match=f"{reason}; name a folder with config.json and") as caught:
            load_checkpoint(tmp_path / place)
        assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)


def test_unreadable_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CtgiError, match="not a readable safetensors file"):
        load_encoder(TINY, tmp_path / "absent.safetensors")
    (tmp_path / "model.safetensors").write_bytes(b"PK" * 100)
    with pytest.raises(CtgiError, match="not a readable safetensors file"):
        load_encoder(TINY, tmp_path / "model.safetensors")


def test_openai_weights_go_through_the_same_door(monkeypatch: pytest.MonkeyPatch) -> None:
    """The download stands apart: here it answers with a tiny model, asked for by its QuickGELU name."""
    torch.manual_seed(2)
    published = open_clip.model.CLIP(**copy.deepcopy(TINY), quick_gelu=True)
    asked: list[tuple[str, str]] = []

    def create(name: str, pretrained: str, precision: str) -> torch.nn.Module:
        asked.append((name, pretrained))
        return published

    monkeypatch.setattr(
        open_clip, "get_model_config", lambda name: {**copy.deepcopy(TINY), "quick_gelu": True}
    )
    monkeypatch.setattr(open_clip, "create_model", create)
    encoder = load_encoder("ViT-B-16", "openai", context=248)
    assert asked == [("ViT-B-16-quickgelu", "openai")]
    assert encoder.config["quick_gelu"] is True
    assert torch.equal(encoder.clip.positional_embedding, stretch_positions(published.positional_embedding))


def test_without_a_network_openai_weights_are_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def create(*_: Any, **__: Any) -> torch.nn.Module:
        raise OSError("connection\nrefused")

    monkeypatch.setattr(open_clip, "get_model_config", lambda name: copy.deepcopy(TINY))
    monkeypatch.setattr(open_clip, "create_model", create)
    with pytest.raises(CtgiError, match=r"could not be fetched \(connection refused\)") as caught:
        load_encoder("ViT-B-16-quickgelu", "openai")
    assert "\n" not in str(caught.value)
    with pytest.raises(CtgiError, match="belong to a named model"):
        load_encoder(TINY, "openai")
