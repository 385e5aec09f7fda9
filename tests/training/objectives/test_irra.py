from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ctgi.encoders.dual import DualEncoder
from ctgi.training.loader import Batch
from ctgi.training.objectives.draws import draw_key
from ctgi.training.objectives.irra import IRRA
from ctgi.training.objectives.masking import mask_captions
from ctgi.training.objectives.sdm import sdm_loss
from tests.numpy_transformer import Array, array, layer_norm, linear, quick_gelu

CAPTIONS = ["a man in a red jacket", "a woman with a large black bag over her shoulder", "a man", "a dog"]
Towers, MakeBatch = Callable[..., DualEncoder], Callable[..., Batch]


def irra(**options: Any) -> IRRA:
    torch.manual_seed(1)
    return IRRA(dim=16, identities=9, vocabulary=49408, **options)


def losses(objective: IRRA, encoder: DualEncoder, batch: Batch, seed: int = 0) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    out: dict[str, Tensor] = objective(encoder, batch)
    return out


@torch.no_grad()
def test_sdm_reads_the_masked_caption_as_the_code_or_the_clean_one_as_the_paper(
    towers: Towers, make_batch: MakeBatch
) -> None:
    encoder, batch = towers(), make_batch(CAPTIONS)
    torch.manual_seed(0)
    masked = mask_captions(batch.ids, batch.pair, draw_key()).ids
    assert not torch.equal(masked, batch.ids)
    image = encoder.encode_image(batch.pixels)
    for captions, read in (("masked", masked), ("clean", batch.ids)):
        got = losses(irra(captions=captions), encoder, batch)
        expected = sdm_loss(encoder.encode_text(read), image, batch.identity)
        torch.testing.assert_close(got["sdm"], expected, rtol=1e-4, atol=1e-4)
    both = [losses(irra(captions=c), encoder, batch)["mlm"] for c in ("masked", "clean")]
    torch.testing.assert_close(*both)  # MLM reads the masked one either way


def cross_entropies(scores: Array, truth: Array) -> Array:
    highest = scores.max(axis=1, keepdims=True)
    log = scores - highest - np.log(np.exp(scores - highest).sum(axis=1, keepdims=True))
    chosen: Array = -log[np.arange(len(truth)), truth]
    return chosen


@pytest.mark.parametrize("captions", ["masked", "clean"])
@torch.no_grad()
def test_id_and_mlm_are_put_together_as_published(
    towers: Towers, make_batch: MakeBatch, captions: str
) -> None:
    """IRRA's compute_id and compute_mlm, each with weight 1, in numpy float64: ID on the features before they
    are made unit-norm, MLM from the masked caption to the words that stood there, a mean over all of them."""
    encoder, batch, objective = towers(), make_batch(CAPTIONS, [0, 1, 0, 2]), irra(captions=captions)
    for parameter in objective.parameters():
        parameter.add_(0.3 * torch.randn_like(parameter))
    got = losses(objective, encoder, batch)
    torch.manual_seed(0)
    masked = mask_captions(batch.ids, batch.pair, draw_key())
    picked = masked.picked
    assert (masked.ids != batch.ids).sum() > 1 and len(set(picked.sum(dim=1).tolist())) > 1

    text, image = encoder.text_tokens(masked.ids), encoder.image_tokens(batch.pixels)
    end = batch.ids.argmax(dim=1)
    read = text if captions == "masked" else encoder.text_tokens(batch.ids)
    sides = [array(read[torch.arange(4), end]), array(image[:, 0])]
    assert all(abs(np.linalg.norm(side, axis=1) - 1).min() > 0.1 for side in sides)
    who = batch.identity.numpy()
    identity = [cross_entropies(linear(side, objective.identity.classifier), who).mean() for side in sides]
    assert got["id"].item() == pytest.approx(sum(identity) / 2, rel=1e-5)

    head = objective.words.mlm_head
    padding = torch.arange(batch.ids.shape[1]) > end.unsqueeze(1)
    state = array(objective.words.relation(text, image, padding))[picked.numpy()]
    scores = linear(layer_norm(quick_gelu(linear(state, head[0])), head[2]), head[3])
    words = cross_entropies(scores, batch.ids[picked].numpy())
    assert got["mlm"].item() == pytest.approx(words.mean(), rel=1e-5)
    assert set(got) == {"sdm", "id", "mlm"}


@torch.no_grad()
def test_the_text_tower_runs_once_where_its_two_texts_are_one(towers: Towers, make_batch: MakeBatch) -> None:
    encoder, batch = towers(), make_batch(CAPTIONS)
    runs: list[Any] = []
    encoder.clip.transformer.resblocks[0].register_forward_pre_hook(lambda *given: runs.append(given))
    losses(irra(), encoder, batch)
    assert len(runs) == 1
    losses(irra(captions="clean"), encoder, batch)
    assert len(runs) == 3


@torch.no_grad()
def test_padding_to_the_whole_context_changes_nothing(towers: Towers, make_batch: MakeBatch) -> None:
    encoder, batch = towers(), make_batch(CAPTIONS)
    padded = dataclasses.replace(batch, ids=torch.nn.functional.pad(batch.ids, (0, 77 - batch.ids.shape[1])))
    for captions in ("masked", "clean"):
        cut = losses(irra(captions=captions), encoder, batch)
        whole = losses(irra(captions=captions), encoder, padded)
        for name in cut:
            torch.testing.assert_close(cut[name], whole[name], rtol=1e-5, atol=1e-6)


@torch.no_grad()
def test_published_padding_is_attended_to(towers: Towers, make_batch: MakeBatch) -> None:
    encoder, batch = towers(), make_batch(CAPTIONS)
    attended, ignored = irra(padding="attended"), irra()
    first, second = losses(attended, encoder, batch), losses(ignored, encoder, batch)
    torch.testing.assert_close(first["sdm"], second["sdm"])
    assert abs(first["mlm"] - second["mlm"]) > 1e-6
    padded = dataclasses.replace(batch, ids=torch.nn.functional.pad(batch.ids, (0, 5)))
    torch.testing.assert_close(losses(attended, encoder, padded)["mlm"], first["mlm"])


@torch.no_grad()
def test_the_order_of_the_batch_does_not_matter(towers: Towers, make_batch: MakeBatch) -> None:
    encoder, batch = towers(), make_batch(CAPTIONS, [0, 1, 0, 2])
    order = torch.tensor([2, 0, 3, 1])
    shuffled = Batch(**{f.name: getattr(batch, f.name)[order] for f in dataclasses.fields(batch)})
    first, second = losses(irra(), encoder, batch), losses(irra(), encoder, shuffled)
    for name in first:
        torch.testing.assert_close(first[name], second[name], rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_trust_scales_each_pairs_part(towers: Towers, make_batch: MakeBatch) -> None:
    encoder, batch = towers(), make_batch(CAPTIONS, [0, 1, 0, 2])
    whole = losses(irra(), encoder, batch)
    single = [
        losses(irra(), encoder, dataclasses.replace(batch, weight=torch.eye(4)[row])) for row in range(4)
    ]
    weight = torch.tensor([1.0, 0.0, 0.5, 2.0])
    weighted = losses(irra(), encoder, dataclasses.replace(batch, weight=weight))
    for name, value in whole.items():
        each = torch.stack([part[name] for part in single])
        torch.testing.assert_close(each.sum(), value)
        torch.testing.assert_close((weight * each).sum(), weighted[name])
    nothing = losses(irra(), encoder, dataclasses.replace(batch, weight=torch.zeros(4)))
    assert not any(nothing.values())


@pytest.mark.parametrize("people", ["all alike", "all different"])
@pytest.mark.parametrize("captions", ["masked", "clean"])
def test_gradients_are_finite(
    towers: Towers, make_batch: MakeBatch, degenerate: list[str], people: str, captions: str
) -> None:
    encoder, objective = towers(), irra(captions=captions)
    who = [0] * len(degenerate) if people == "all alike" else None
    got = losses(objective, encoder, make_batch(degenerate, who))
    torch.stack(list(got.values())).sum().backward()
    assert set(got) == {"sdm", "id", "mlm"} and all(bool(value.isfinite()) for value in got.values())
    for module in (encoder, objective):
        for name, parameter in module.named_parameters():
            assert name == "clip.logit_scale" or parameter.grad is not None, name
            assert parameter.grad is None or bool(parameter.grad.isfinite().all()), name


def test_without_a_word_to_guess_mlm_is_nought(towers: Towers, make_batch: MakeBatch) -> None:
    assert losses(irra(), towers(), make_batch(["", ""]))["mlm"].item() == 0
