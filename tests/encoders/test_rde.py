from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from scipy.special import erf

from ctgi.encoders.loading import load_checkpoint, load_encoder, save_checkpoint
from ctgi.encoders.rde import RdeEncoder
from ctgi.encoders.stretch import stretch_positions
from ctgi.encoders.tokens import tokenize
from ctgi.errors import CtgiError
from tests.numpy_transformer import Array, array, block, layer_norm, linear

CONFIG: dict[str, Any] = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": [384, 128], "patch_size": 32, "width": 32, "layers": 2, "head_width": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2},
}
TEXTS = [
    "a man",
    "a woman in a red jacket and blue trousers, who carries a large bag over her shoulder",
    "",
    "<end_of_text> a man <start_of_text>",
    "jekyll",
    "word " * 100,
]


def make(of: str = "valid") -> RdeEncoder:
    torch.manual_seed(3)
    encoder = load_encoder(CONFIG, None)
    with torch.no_grad():
        encoder.clip.positional_embedding.mul_(30)
        encoder.clip.token_embedding.weight.mul_(30)
        for tower in (encoder.clip.visual.transformer, encoder.clip.transformer):
            for parameter in tower.parameters():
                parameter.add_(0.2 * torch.randn_like(parameter))  # attention that tells tokens apart
    rde = RdeEncoder.on_top_of(encoder, of)
    with torch.no_grad():
        for side in (rde.image_selection, rde.text_selection):
            side.norm.running_mean.normal_()
            side.norm.running_var.uniform_(0.5, 2)
            side.norm.weight.normal_()
    return rde.eval()


@pytest.fixture(scope="module")
def encoder() -> RdeEncoder:
    return make()


def gelu(x: Array) -> Array:
    out: Array = x * 0.5 * (1 + erf(x / math.sqrt(2)))
    return out


def golden_tse(tokens: Array, row: Array, allowed: list[int], k: int, side: Any) -> Array:
    """RDE's embedding layers (CrossEmbeddingLayer_tse.py) on one sequence in evaluation mode, in float64: the
    k allowed tokens with the highest attention, l2norm with 1e-8 added, MLP(x) + FC(x), maximum."""
    chosen = sorted(allowed, key=lambda n: -row[n])[:k]
    x = tokens[chosen]
    x = x / (np.sqrt((x**2).sum(1, keepdims=True)) + 1e-8)
    h = linear(x, side.first)
    norm = side.norm
    h = (h - array(norm.running_mean)) / np.sqrt(array(norm.running_var) + 1e-5)
    h = np.maximum(h * array(norm.weight) + array(norm.bias), 0)
    return (linear(h, side.second) + linear(x, side.short)).max(axis=0)


def joined(bge: Array, tse: Array) -> Array:
    return np.concatenate([bge / np.linalg.norm(bge), tse / np.linalg.norm(tse)]) / math.sqrt(2)


def tower(x: Array, transformer: Any, seen: NDArray[np.bool_]) -> tuple[Array, Array]:
    """All blocks, and the last one's attention averaged over its heads, (L, L)."""
    for layer in transformer.resblocks:
        x, maps = block(x, layer, seen, gelu)
    return x, maps.mean(axis=0)


@pytest.mark.parametrize("of", ["valid", "context"])
@torch.no_grad()
def test_texts_are_embedded_as_published(of: str) -> None:
    encoder = make(of)
    ids = tokenize(TEXTS, 77)
    got = encoder.encode_text(ids).numpy()
    clip = encoder.clip
    for number, row in enumerate(ids.tolist()):
        length = row.index(49407) + 1  # what stands behind the end is not computed at all here
        x = array(clip.token_embedding.weight)[row[:length]] + array(clip.positional_embedding)[:length]
        states, attention = tower(x, clip.transformer, np.tril(np.ones((length, length), bool)))
        tokens = layer_norm(states, clip.ln_final) @ array(clip.text_projection)
        own = list(range(1, length - 1)) or [1]
        k = max(1, math.floor(0.3 * len(own) + 1e-9)) if of == "valid" else min(len(own), 22)
        tse = golden_tse(tokens, attention[length - 1], own, k, encoder.text_selection)
        np.testing.assert_allclose(
            got[number], joined(tokens[length - 1], tse), atol=1e-5, err_msg=str(number)
        )


@torch.no_grad()
def test_pictures_are_embedded_as_published(encoder: RdeEncoder) -> None:
    pixels = torch.randn(3, 3, 384, 128, generator=torch.Generator().manual_seed(0))
    got = encoder.encode_image(pixels).numpy()
    visual: Any = encoder.clip.visual
    entered = array(visual._embeds(pixels))
    for number, x in enumerate(entered):
        states, attention = tower(x, visual.transformer, np.ones((49, 49), bool))
        tokens = layer_norm(states, visual.ln_post) @ array(visual.proj)
        tse = golden_tse(tokens, attention[0], list(range(1, 49)), int(48 * 0.3), encoder.image_selection)
        np.testing.assert_allclose(got[number], joined(tokens[0], tse), atol=1e-5)


@torch.no_grad()
def test_the_inner_product_is_the_mean_of_the_two_cosines(encoder: RdeEncoder) -> None:
    ids, pixels = tokenize(TEXTS, 77), torch.randn(4, 3, 384, 128)
    text, image = encoder.encode_text(ids), encoder.encode_image(pixels)
    assert text.shape == (6, encoder.dim) and encoder.dim == 16 + 32
    torch.testing.assert_close(text.norm(dim=1), torch.ones(6))
    parts = zip(encoder.text_parts(ids), encoder.image_parts(pixels), strict=True)
    bge, tse = (t @ v.T for t, v in parts)
    torch.testing.assert_close(text @ image.T, (bge + tse) / 2)


@torch.no_grad()
def test_a_text_means_the_same_alone_padded_and_in_company(encoder: RdeEncoder) -> None:
    ids = tokenize(TEXTS, 77)
    together = encoder.encode_text(ids)
    for number, text in enumerate(TEXTS):
        torch.testing.assert_close(
            encoder.encode_text(tokenize([text], 77))[0], together[number], rtol=0, atol=2e-6
        )


def test_an_empty_caption_spoils_nothing_in_training() -> None:
    encoder = make().train()
    ids = tokenize(["a man in red", "", "a woman", "a dog"], 77)
    bge, tse = encoder.text_parts(ids)
    assert bool(bge.isfinite().all()) and bool(tse.isfinite().all())
    (bge.sum() + tse.sum()).backward()
    assert all(bool(p.grad.isfinite().all()) for p in encoder.parameters() if p.grad is not None)


def test_how_many_tokens_are_chosen() -> None:
    encoder, of_context = make(), make("context")
    own = torch.arange(1, 247)
    expected = [max(1, int(n) * 3 // 10) for n in own]
    assert encoder._text_counts(own, 248)[0].tolist() == expected
    assert encoder._share(192) == 57
    assert of_context._text_counts(own, 77)[0].max() == 22
    of_context.context = 248
    assert of_context._text_counts(own, 248)[0].max() == 73


def test_fresh_layers_stand_on_the_same_towers() -> None:
    torch.manual_seed(0)
    plain = load_encoder(CONFIG, None)
    rde = RdeEncoder.on_top_of(plain)
    assert rde.clip is plain.clip and rde.config["kind"] == "rde" and "kind" not in plain.config
    assert rde.image_selection.lr_role == rde.text_selection.lr_role == "rde_new"
    with torch.no_grad():
        ids = tokenize(TEXTS, 77)
        torch.testing.assert_close(rde.text_parts(ids)[0], plain.encode_text(ids))


def test_a_checkpoint_comes_back_bit_for_bit_and_may_be_stretched(
    encoder: RdeEncoder, tmp_path: Path
) -> None:
    save_checkpoint(encoder, tmp_path)
    again = load_checkpoint(tmp_path)
    assert isinstance(again, RdeEncoder) and again.config == encoder.config and again.dim == encoder.dim
    for name, tensor in encoder.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name
    longer = load_checkpoint(tmp_path, context=248).eval()
    assert isinstance(longer, RdeEncoder) and longer.context == 248
    assert torch.equal(longer.clip.positional_embedding, stretch_positions(encoder.clip.positional_embedding))
    with torch.no_grad():
        assert longer.encode_text(tokenize(["word " * 400], 248)).isfinite().all()


def drop(name: str) -> Callable[[dict[str, torch.Tensor]], object]:
    return lambda state: state.pop(name)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (drop("text_selection.norm.running_var"), "lacks text_selection.norm.running_var"),
        (drop("ln_final.weight"), "lacks ln_final.weight"),
        (lambda s: s.update({"classifier.weight": torch.zeros(2)}), "has the unexpected classifier.weight"),
        (
            lambda s: s.update({"image_selection.short.weight": torch.zeros(3, 16)}),
            "has the wrong shape for image_selection.short.weight",
        ),
    ],
)
def test_every_key_is_accounted_for(encoder: RdeEncoder, tmp_path: Path, change: Any, line: str) -> None:
    save_checkpoint(encoder, tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    change(state)
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(CtgiError, match=line):
        load_checkpoint(tmp_path)


def test_kinds_are_not_mixed_up(encoder: RdeEncoder, tmp_path: Path) -> None:
    save_checkpoint(encoder, tmp_path)
    (tmp_path / "config.json").unlink()
    with pytest.raises(CtgiError, match="has the unexpected image_selection"):
        load_encoder(CONFIG, tmp_path / "model.safetensors")
    plain = load_encoder(CONFIG, None)
    save_checkpoint(plain, tmp_path / "plain")
    with pytest.raises(CtgiError, match="lacks image_selection"):
        load_encoder(encoder.config, tmp_path / "plain" / "model.safetensors")


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"kind": "irra"}, "kind 'irra' is unknown"),
        ({"kind": None}, "kind None is unknown"),
        ({"selection": None}, "selection is None"),
        ({"selection": {"ratio": 0.3, "of": "valid"}}, "needs a ratio"),
        ({"selection": {"ratio": 0.0, "of": "valid", "width": 32}}, "needs a ratio"),
        ({"selection": {"ratio": 0.3, "of": "all", "width": 32}}, "of .valid or context."),
        ({"selection": {"ratio": 0.3, "of": "valid", "width": "32"}}, "needs a ratio"),
    ],
)
def test_a_configuration_that_cannot_be_used_is_refused(
    encoder: RdeEncoder, change: dict[str, Any], line: str
) -> None:
    with pytest.raises(CtgiError, match=line):
        load_encoder({**encoder.config, **change}, None)
    with pytest.raises(CtgiError, match="selection is not supported"):
        load_encoder({name: value for name, value in encoder.config.items() if name != "kind"}, None)
