"""The training loop: fine-tune a dual encoder, validate each epoch, keep the best, continue when killed."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ctgi.datasets.annotations import Sample
from ctgi.encoders.dual import DualEncoder
from ctgi.encoders.loading import save_checkpoint
from ctgi.errors import CtgiError
from ctgi.storage.atomic import write_text
from ctgi.training.card import claim, run_card
from ctgi.training.checkpoint import RunState, read_state, restore, save_state
from ctgi.training.config import TrainConfig
from ctgi.training.loader import Batch, Pairs, batches, load_pairs, step_count
from ctgi.training.objective import SDM
from ctgi.training.optimiser import make_optimiser
from ctgi.training.progress import Progress
from ctgi.training.schedule import default_warmup, lr_factor
from ctgi.training.validation import Metrics, protocol_metrics, validate

LAST, BEST, LOG = "last.safetensors", "best", "log.jsonl"


@dataclass(frozen=True)
class TrainResult:
    """`best`: checkpoint folder of the epoch with the best validation metric, for `load_checkpoint`.
    `metrics`: that epoch's. `history`: one record per epoch, as in log.jsonl. `seconds`: time spent training
    and validating, over all sittings."""

    best: Path
    best_epoch: int
    metrics: dict[str, float]
    history: tuple[dict[str, Any], ...]
    seconds: float


def train(
    config: TrainConfig,
    samples: Sequence[Sample],
    val: Sequence[Sample],
    encoder: DualEncoder,
    out: Path | str,
    *,
    objective: nn.Module | None = None,
    metrics: Metrics | None = None,
    progress: bool = True,
) -> TrainResult:
    """Fine-tune `encoder` on `samples`, choosing the epoch by `val`; everything is written under `out`.

    `out` holds run.json (what the run is), last.safetensors (all state), best/ (config.json and
    model.safetensors of the best epoch, its metrics in the header) and log.jsonl (a record per epoch). Called
    again with the same arguments, it continues from the last checkpoint; on a CPU with the same number of
    threads the weights are bit for bit those of an uninterrupted run. A finished run returns at once.

    `objective` is a module called as `objective(encoder, batch)` and returning named losses (default: SDM
    with config.sdm_scale). `metrics` computes the validation metrics (default: ctgi.evaluation's).
    `encoder` is trained in place and ends with the last epoch's weights, not the best.

    Raises CtgiError for an empty or captionless set, a bad picture, too few identities, a picture in both
    sets, an unusable device or precision, a folder of another run, a diverged loss.
    """
    out = Path(out)
    _check_sets(samples, val)
    device = _device(config)
    half = _half(config, device)
    objective = SDM(config.sdm_scale) if objective is None else objective
    model = nn.ModuleDict({"encoder": encoder, "objective": objective})
    claim(out, run_card(config, samples, val, model), started=(out / LAST).exists())
    state = read_state(out / LAST) or RunState()
    if state.epoch < config.epochs:
        run = _Run(config, state, encoder, objective, model, out, device, half)
        pairs = load_pairs(samples, encoder.context, config.cache_gb, out / "train.pixels")
        val_pairs = load_pairs(val, encoder.context, config.cache_gb, out / "val.pixels")
        run.go(pairs, val_pairs, metrics or protocol_metrics, progress)
    assert state.best is not None  # set by the first epoch
    best = state.best
    return TrainResult(out / BEST, best["epoch"], best["metrics"], tuple(state.history), state.seconds)


class _Run:
    """A run in progress: the model, its optimiser, and the state that checkpoints carry."""

    def __init__(
        self,
        config: TrainConfig,
        state: RunState,
        encoder: DualEncoder,
        objective: nn.Module,
        model: nn.Module,
        out: Path,
        device: torch.device,
        half: torch.dtype | None,
    ) -> None:
        self.config, self.state, self.out, self.device, self.half = config, state, out, device, half
        self.encoder, self.objective, self.model = encoder, objective, model.to(device)
        self.optimiser = make_optimiser(model.named_parameters(), config)
        self.scaler = torch.amp.GradScaler(device.type, enabled=half is torch.float16)
        if (out / LAST).exists():
            restore(out / LAST, model, self.optimiser)
            self.scaler.load_state_dict(state.scaler)
        self.warmup = default_warmup(config.epochs) if config.warmup_epochs is None else config.warmup_epochs
        self.clock = time.monotonic()

    def go(self, pairs: Pairs, val: Pairs, metrics: Metrics, progress: bool) -> None:
        """Train epoch after epoch until the last."""
        config, state = self.config, self.state
        steps = step_count(len(pairs), config.batch_size)
        bar = Progress(config.epochs, steps, state.epoch * steps + state.step, progress)
        with bar:
            while state.epoch < config.epochs:
                rate = self.train_epoch(pairs, steps, bar)
                values = validate(self.encoder, val, metrics, config.select, self.device)
                record = self.close_epoch(len(pairs), rate, values)
                bar.epoch(record, config.select)

    def train_epoch(self, pairs: Pairs, steps: int, bar: Progress) -> float:
        """Take the epoch's remaining steps; returns the last learning rate."""
        config, state = self.config, self.state
        self.model.train()
        for batch in batches(
            pairs,
            seed=config.seed,
            epoch=state.epoch,
            first=state.step,
            size=config.batch_size,
            augment=config.augment,
            device=self.device,
        ):
            moment = state.epoch + (state.step / steps if config.lr_step == "step" else 0)
            factor = lr_factor(moment, config.epochs, self.warmup)
            for group in self.optimiser.param_groups:
                group["lr"] = group["full_lr"] * factor
            # Dropout, where a model has any, is drawn from torch's generator: a function of place as well.
            torch.manual_seed(_seed(config.seed, state.epoch, state.step))
            for name, value in self.learn(batch).items():
                state.sums[name] = state.sums.get(name, 0.0) + value * len(batch.pair)
            state.step += 1
            bar.step(state.sums, min(state.step * config.batch_size, len(pairs)))
            if config.checkpoint_steps and state.step % config.checkpoint_steps == 0 and state.step < steps:
                self.checkpoint()
        return config.base_lr * factor

    def learn(self, batch: Batch) -> dict[str, float]:
        """One step of the optimiser; returns the losses."""
        with torch.autocast(self.device.type, self.half, enabled=self.half is not None):
            losses: dict[str, Tensor] = self.objective(self.encoder, batch)
        values = {name: float(loss.detach()) for name, loss in losses.items()}
        if not all(math.isfinite(value) for value in values.values()):
            raise CtgiError(
                f"loss became {values} in epoch {self.state.epoch + 1}; lower base_lr and start again"
            )
        self.optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(self.scaler.scale(torch.stack(list(losses.values())).sum()))
        self.scaler.step(self.optimiser)
        self.scaler.update()
        return values

    def close_epoch(self, pairs: int, rate: float, metrics: dict[str, float]) -> dict[str, Any]:
        """Record the epoch, keep its weights if they are the best so far, and move on to the next."""
        state = self.state
        record = {
            "epoch": state.epoch + 1,
            "losses": {name: total / pairs for name, total in state.sums.items()},
            "lr": rate,
            "metrics": metrics,
            "seconds": round(state.seconds + time.monotonic() - self.clock, 3),
        }
        state.history.append(record)
        if state.best is None or self.worth(metrics) > self.worth(state.best["metrics"]):
            # Before the state that names it: killed in between, the epoch is done again and writes the same.
            state.best = record
            facts = {"epoch": str(record["epoch"]), "metrics": json.dumps(metrics)}
            save_checkpoint(self.encoder, self.out / BEST, facts)
        state.epoch, state.step, state.sums = state.epoch + 1, 0, {}
        self.checkpoint()
        write_text(self.out / LOG, "".join(json.dumps(line) + "\n" for line in state.history))
        return record

    def checkpoint(self) -> None:
        """Save everything needed to go on from here."""
        state, now = self.state, time.monotonic()
        state.seconds, self.clock = state.seconds + now - self.clock, now
        state.scaler = self.scaler.state_dict()
        save_state(self.out / LAST, state, self.model, self.optimiser)

    def worth(self, metrics: dict[str, float]) -> tuple[float, float]:
        """What decides between epochs: the selected metric, then mAP."""
        return metrics[self.config.select], metrics.get("mAP", 0.0)


def _check_sets(samples: Sequence[Sample], val: Sequence[Sample]) -> None:
    if not samples:
        raise CtgiError("the caption set is empty; caption some pictures first")
    if not val:
        raise CtgiError(
            "the validation set is empty; hold some training identities out for it, never the test set"
        )
    if len({sample.identity for sample in samples}) < 2:
        raise CtgiError("the caption set shows one identity only; a model can learn nothing from it")
    both = {sample.picture for sample in samples} & {sample.picture for sample in val}
    if both:
        raise CtgiError(f"{min(both)}: is in the caption set and in the validation set; keep it in one")


def _device(config: TrainConfig) -> torch.device:
    if config.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(config.device)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise CtgiError(
            f"device {config.device!r} cannot be used ({str(error).splitlines()[0]}); try auto"
        ) from error
    return device


def _half(config: TrainConfig, device: torch.device) -> torch.dtype | None:
    precision = config.precision
    if precision == "auto":
        precision = "bf16" if device.type == "cuda" else "fp32"
    if precision == "fp16" and device.type != "cuda":
        raise CtgiError(f"precision fp16 needs a GPU and the device is {device}; use fp32, bf16 or auto")
    return {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]


def _seed(seed: int, epoch: int, step: int) -> int:
    return int(np.random.SeedSequence([seed, epoch, step, 1]).generate_state(1, np.uint64)[0] >> np.uint64(1))
