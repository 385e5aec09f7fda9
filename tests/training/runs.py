"""What the processes of the tests do: importable, so that it can be sent to them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ctgi.datasets.annotations import Sample
from ctgi.encoders.dual import DualEncoder
from ctgi.encoders.loading import load_encoder
from ctgi.training import engine
from ctgi.training.config import TrainConfig
from ctgi.training.distributed import gather, process_group, rank, total, world
from ctgi.training.loader import Batch, Loader, load_pairs
from ctgi.training.model import Model, in_step
from ctgi.training.objectives.build import build_encoder, build_objective
from ctgi.training.samplers import epoch_batches
from ctgi.training.sets import numbered

TINY: dict[str, Any] = {
    "embed_dim": 64,
    "vision_cfg": {"image_size": [384, 128], "patch_size": 32, "width": 16, "layers": 1, "head_width": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}
CPU = torch.device("cpu")


def made(pictures: Path) -> tuple[tuple[Sample, ...], tuple[Sample, ...]]:
    """24 training and 8 validation pictures of two each; every third has two captions."""
    paths = sorted(pictures.glob("*.png"))
    samples = [
        Sample(p, n // 2, (f"person {n // 2} in colour {n // 8}", f"person {n // 2}!")[: 1 + (n % 3 == 0)])
        for n, p in enumerate(paths)
    ]
    return tuple(samples[:24]), tuple(samples[24:])


def model_of(name: str, config: TrainConfig, samples: tuple[Sample, ...]) -> tuple[DualEncoder, nn.Module]:
    torch.manual_seed(5)
    encoder = build_encoder(name, load_encoder(TINY, None), config)
    pairs = sum(len(sample.captions) for sample in samples)
    return encoder, build_objective(name, encoder, config, len({s.identity for s in samples}), pairs)


def collectives(out: Path) -> None:
    """gather and total, forwards and backwards, each process with its own numbers."""
    with process_group(CPU):
        x = torch.arange(4.0).view(2, 2).add(10 * rank()).requires_grad_()
        every = gather(x)
        # A loss of its own in each process: gradients come back summed over all of them.
        (every.square().sum() * (1 + rank())).backward()
        y = torch.tensor([1.0 + rank()], requires_grad=True)
        summed = total(y)
        (summed.square() * (1 + rank())).sum().backward()
        flags = gather(torch.tensor([rank() == 0, True]))
        torch.save([every, x.grad, summed, y.grad, flags], out / f"{rank()}.pt")


def gradients(name: str, pictures: Path, out: Path, changes: dict[str, Any]) -> None:
    """Losses and gradients of the first and the last batch of an epoch."""
    config = TrainConfig(batch_size=12, device="cpu", **changes)
    with process_group(CPU):
        samples, _ = made(pictures)
        encoder, objective = model_of(name, config, samples)
        model = Model(encoder, objective, config.accumulation)
        step = in_step(model)
        pairs = load_pairs(numbered(samples), encoder.context, 1.0, out / "spill")
        batches = epoch_batches(config, pairs, 0)
        found: dict[str, Tensor] = {}
        for number in (0, len(batches) - 1):
            loader = Loader(
                pairs, batches[: number + 1], seed=1, epoch=0, first=number, augment=True, device=CPU
            )
            [batch] = loader
            torch.manual_seed(number)
            step.zero_grad()
            losses = step(batch)
            torch.stack(list(losses.values())).sum().backward()
            found |= {f"{number} {k}": total(v.detach()) / world() for k, v in losses.items()}
            found |= {
                f"{number} d {k}": p.grad.clone() for k, p in model.named_parameters() if p.grad is not None
            }
        found |= {f"buffer {k}": x for k, x in model.named_buffers()}
        if rank() == 0:
            torch.save(found, out / f"{world()}.pt")


def train(name: str, pictures: Path, out: Path, changes: dict[str, Any]) -> None:
    """A whole run, through the engine's front door."""
    settings = {"epochs": 2, "batch_size": 8, "base_lr": 1e-3, "adam_eps": 1e-8, "checkpoint_steps": 1}
    config = TrainConfig(**{**settings, "device": "cpu", **changes})
    samples, val = made(pictures)
    encoder, objective = model_of(name, config, samples)
    engine.train(config, samples, val, encoder, out, objective=objective, progress=False)


def train_up_to(checkpoint: int, name: str, pictures: Path, out: Path, changes: dict[str, Any]) -> None:
    """The same, ending with its checkpoint of that number as if it had been killed."""
    save, saved = engine.save_state, 0

    def last(*given: Any) -> None:
        nonlocal saved
        save(*given)
        saved += 1
        if saved == checkpoint:
            os._exit(0)

    engine.save_state = last
    train(name, pictures, out, changes)


class Observing(nn.Module):
    """Says of every pair its number, what it looks like and who is beside it, and keeps what it is shown."""

    seen: Tensor

    def __init__(self, pairs: int) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(pairs, 3))
        self.register_buffer("times", torch.zeros(1, dtype=torch.int64))

    def forward(self, encoder: DualEncoder, batch: Batch) -> dict[str, Tensor]:
        text, image = gather(encoder.encode_text(batch.ids)), gather(encoder.encode_image(batch.pixels))
        return {"apart": (text - image).square().sum(dim=1).mean()}

    def pair_losses(self, encoder: DualEncoder, batch: Batch) -> Tensor:
        assert not encoder.training and not torch.is_grad_enabled()
        assert world() == 1 and len(gather(batch.pair)) == len(batch.pair)
        beside = torch.full((len(batch.pair),), float(batch.pair.sum()))
        return torch.stack([batch.pair.float(), batch.pixels.mean(dim=(1, 2, 3)), beside], dim=1)

    def observe(self, losses: Tensor, epoch: int) -> None:
        assert not dist.is_initialized() or dist.get_world_size() == 2
        self.seen.copy_(losses)
        self.times += 1 + 10 * epoch


def observe(pictures: Path, out: Path, batch_size: int) -> None:
    """A run of two epochs whose objective wants to see all pairs."""
    samples, val = made(pictures)
    encoder = load_encoder(TINY, None)
    objective = Observing(sum(len(sample.captions) for sample in samples))
    config = TrainConfig(epochs=2, batch_size=batch_size, device="cpu")
    engine.train(config, samples, val, encoder, out, objective=objective, progress=False)
