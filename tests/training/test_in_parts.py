"""Encoding part by part: the same loss, the same gradients, the same running statistics, less memory kept."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from ctgi.encoders.dual import DualEncoder
from ctgi.encoders.loading import load_encoder
from ctgi.encoders.rde import RdeEncoder
from ctgi.training.in_parts import InParts
from ctgi.training.loader import Batch
from ctgi.training.model import Model, activations_recomputed
from ctgi.training.objectives.sdm import SDM
from tests.training.runs import TINY


def batch(size: int = 7) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(1)
    ids = torch.randint(1, 400, (size, 9))
    ids[:, 0], ids[:, -1] = 49406, 49407
    return torch.randn(size, 3, 384, 128), ids, torch.arange(size) // 2


def learnt(encoder: DualEncoder, parts: int, recompute: bool = False) -> tuple[float, dict[str, Tensor]]:
    pixels, ids, identity = batch()
    encoder.train().zero_grad()
    with activations_recomputed(encoder, recompute):
        [loss] = Model(encoder, SDM(50.0), parts)(of(pixels, ids, identity)).values()
        loss.backward()
    return loss.item(), {n: p.grad.clone() for n, p in encoder.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(("parts", "recompute"), [(2, False), (3, True), (7, False), (50, False), (1, True)])
def test_the_batch_stays_whole(parts: int, recompute: bool, make_encoder: Callable[[], DualEncoder]) -> None:
    encoder = make_encoder()
    loss, gradients = learnt(encoder, 1)
    other, same = learnt(encoder, parts, recompute)
    assert other == pytest.approx(loss, rel=1e-6) and same.keys() == gradients.keys()
    for name, expected in gradients.items():
        atol = 1e-5 * max(1.0, float(expected.abs().max()))
        torch.testing.assert_close(same[name], expected, rtol=1e-5, atol=atol, msg=name)
    # The sum over small batches, which this is not, has another loss altogether.
    pixels, ids, identity = batch()
    small = [
        SDM(50.0)(encoder, of(pixels[a:b], ids[a:b], identity[a:b]))["sdm"].item()
        for a, b in ((0, 4), (4, 7))
    ]
    assert abs(sum(small) / 2 - loss) > 0.1


def of(pixels: Tensor, ids: Tensor, identity: Tensor) -> Batch:
    return Batch(pixels, ids, identity, identity, torch.ones(len(identity)))


def test_only_one_part_is_kept_for_the_way_back(make_encoder: Callable[[], DualEncoder]) -> None:
    pixels, encoder = batch(8)[0], make_encoder()

    def kept(encode: Callable[[Tensor], Tensor]) -> int:
        sizes: dict[int, int] = {}

        def pack(x: Tensor) -> Tensor:
            if x.untyped_storage().data_ptr() != pixels.untyped_storage().data_ptr():
                sizes[x.data_ptr()] = x.numel()
            return x

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
            encode(pixels)
        return sum(sizes.values())

    assert kept(InParts(encoder, 4).encode_image) < kept(encoder.encode_image) / 10


def test_running_statistics_see_every_part_once() -> None:
    torch.manual_seed(0)
    encoder = RdeEncoder.on_top_of(load_encoder(TINY, None)).train()
    buffers = {n: x for n, x in encoder.named_buffers() if "running" in n}
    before = {n: x.clone() for n, x in buffers.items()}
    pixels = batch(6)[0]
    bge, tse = InParts(encoder, 2).image_parts(pixels)
    after = {n: x.clone() for n, x in buffers.items()}
    (bge.sum() + tse.sum()).backward()
    assert any(not torch.equal(after[n], before[n]) for n in buffers)
    assert all(torch.equal(after[n], x) for n, x in buffers.items())


def test_without_gradients_it_is_the_encoder(make_encoder: Callable[[], DualEncoder]) -> None:
    encoder = make_encoder()
    stand_in = InParts(encoder, 3)
    assert stand_in.context == encoder.context and stand_in.clip is encoder.clip
    with torch.no_grad():
        assert torch.equal(stand_in.encode_text(batch()[1]), encoder.encode_text(batch()[1]))
