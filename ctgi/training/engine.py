"""The training loop: fine-tune a dual encoder, validate each epoch, keep the best, continue when killed."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ctgi.datasets.annotations import Sample
from ctgi.datasets.pictures import read_picture
from ctgi.encoders.dual import DualEncoder
from ctgi.errors import CtgiError
from ctgi.training.best import BEST, keep, make_up_for
from ctgi.training.card import claim, run_card
from ctgi.training.checkpoint import RunState, read_state, restore, save_state
from ctgi.training.config import TrainConfig
from ctgi.training.device import half_precision, training_device
from ctgi.training.distributed import alone, process_group, rank, total, wait, world
from ctgi.training.loader import Batch, Loader, Pairs, load_pairs
from ctgi.training.model import Model, activations_recomputed, in_step
from ctgi.training.objectives.sdm import SDM
from ctgi.training.observe import observe
from ctgi.training.optimiser import make_optimiser
from ctgi.training.pictures import Read, clear
from ctgi.training.progress import Progress
from ctgi.training.run_log import RunLog
from ctgi.training.samplers import Indices, epoch_batches
from ctgi.training.schedule import default_warmup, lr_factor
from ctgi.training.sets import check_sets, check_shares, numbered
from ctgi.training.validation import Metrics, protocol_metrics, validate

LAST = "last.safetensors"


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
    trust: Sequence[float] | None = None,
    read: Read = read_picture,
    trained_on: str | None = None,
    progress: bool = True,
) -> TrainResult:
    """Fine-tune `encoder` on `samples`, choosing the epoch by `val`; everything is written under `out`.

    `out` holds run.json (what the run is), last.safetensors (all state), best/ (config.json and
    model.safetensors of the best epoch, its metrics in the header), best-….safetensors (the same weights, a
    name that is never written over), log.jsonl and steps.jsonl (a record per epoch and per step). Called
    again with the same arguments, it continues from the last checkpoint; on a CPU with the same numbers of
    threads and processes the weights are bit for bit those of an uninterrupted run. A finished run returns at
    once.

    `objective` is a module called as `objective(encoder, batch)` and returning named losses (default: SDM
    with config.sdm_scale); one that has `pair_losses` and `observe` is shown all pairs' losses before each
    epoch. `metrics` computes the validation metrics (default: ctgi.evaluation's). `trust` has a number from 0
    for every caption of `samples`, in order, which becomes `batch.weight`. `read` opens a sample's picture.
    `trained_on` names the set for whoever meets the weights later. `encoder` is trained in place and ends
    with the last epoch's weights, not the best.

    Started by torchrun, every process calls this with the same arguments and an `out` that all can read; they
    share each batch, and the first one writes.

    Raises CtgiError for an empty or captionless set, a bad picture, too few identities, a picture in both
    sets, an unusable device or precision, a batch that cannot be shared evenly, a folder of another run, a
    diverged loss.
    """
    out = Path(out)
    check_sets(samples, val, trust)
    device = training_device(config)
    half = half_precision(config, device)
    model = Model(encoder, SDM(config.sdm_scale) if objective is None else objective, config.accumulation)
    with process_group(device), activations_recomputed(encoder, config.recompute):
        check_shares(config, samples)
        if rank() == 0:
            claim(out, run_card(config, samples, val, model, trust), started=(out / LAST).exists())
        wait()
        state = read_state(out / LAST) or RunState()
        if rank() == 0:
            make_up_for(out / LAST, state, model, trained_on)
        if not _finished(config, state):
            run = _Run(config, state, model, out, device, half, trained_on)
            cache = config.cache_gb
            pairs = load_pairs(
                numbered(samples), encoder.context, cache, out / "train", read=read, trust=trust
            )
            val_pairs = load_pairs(val, encoder.context, cache, out / "val", read=read)
            run.go(pairs, val_pairs, metrics or protocol_metrics, progress and rank() == 0)
        clear(out / "train", out / "val")  # also what a kill after the last step left
    assert state.best is not None  # set by the first epoch
    best = state.best
    return TrainResult(out / BEST, best["epoch"], best["metrics"], tuple(state.history), state.seconds)


class _Run:
    """A run in progress: the model, its optimiser, and the state that checkpoints carry."""

    def __init__(
        self,
        config: TrainConfig,
        state: RunState,
        model: Model,
        out: Path,
        device: torch.device,
        half: torch.dtype | None,
        trained_on: str | None,
    ) -> None:
        self.config, self.state, self.out, self.device, self.half = config, state, out, device, half
        self.trained_on = trained_on
        self.model = model.to(device)
        self.optimiser = make_optimiser(model, config)
        self.scaler = torch.amp.GradScaler(device.type, enabled=half is torch.float16)
        if (out / LAST).exists():
            restore(out / LAST, model, self.optimiser)
            self.scaler.load_state_dict(state.scaler)
        self.losses = in_step(model)
        self.warmup = default_warmup(config.epochs) if config.warmup_epochs is None else config.warmup_epochs
        self.clock = time.monotonic()

    def go(self, pairs: Pairs, val: Pairs, metrics: Metrics, progress: bool) -> None:
        """Train epoch after epoch until the last, or until patience ends."""
        config, state = self.config, self.state
        steps = len(epoch_batches(config, pairs, 0))
        bar = Progress(config.epochs, steps, state.epoch * steps + state.step, progress)
        log = RunLog(self.out, state.epoch, state.step, steps, config.tensorboard) if rank() == 0 else None
        with bar, closing(log) if log else bar:
            while not _finished(config, state):
                batches = epoch_batches(config, pairs, state.epoch)
                if state.step == 0:
                    observe(self.model, pairs, config, state.epoch, self.device, self.half)
                facts = self.train_epoch(pairs, batches, bar, log)
                values = validate(self.model.encoder, val, metrics, config.select, self.device)
                record = self.close_epoch(sum(map(len, batches)), facts, values, log)
                bar.epoch(record, config.select)

    def train_epoch(
        self, pairs: Pairs, batches: Sequence[Indices], bar: Progress, log: RunLog | None
    ) -> dict[str, float]:
        """Take the epoch's remaining steps; returns the last learning rate and the time spent waiting."""
        config, state = self.config, self.state
        self.model.train()
        loader = Loader(
            pairs,
            batches,
            seed=config.seed,
            epoch=state.epoch,
            first=state.step,
            augment=config.augment,
            device=self.device,
        )
        seen = sum(map(len, batches[: state.step]))
        for batch in loader:
            moment = state.epoch + (state.step / len(batches) if config.lr_step == "step" else 0)
            factor = lr_factor(moment, config.epochs, self.warmup)
            for group in self.optimiser.param_groups:
                group["lr"] = group["full_lr"] * factor
            # What an objective draws (the masks of MLM, say) comes from torch's generator: a function of
            # place as well, and the same in every process.
            torch.manual_seed(_seed(config.seed, state.epoch, state.step))
            size = len(batches[state.step])
            with alone() if size < world() else nullcontext():  # too few to go round: see `share`
                values = self.learn(batch)
            if log:
                log.step(state.epoch, state.step, values, config.base_lr * factor)
            for name, value in values.items():
                state.sums[name] = state.sums.get(name, 0.0) + value * size
            state.step, seen = state.step + 1, seen + size
            bar.step(state.sums, seen)
            every = config.checkpoint_steps
            if every and state.step % every == 0 and state.step < len(batches):
                self.checkpoint()
        return {"lr": config.base_lr * factor, "loader_wait_seconds": round(loader.waited, 3)}

    def learn(self, batch: Batch) -> dict[str, float]:
        """One step of the optimiser; returns the losses of the whole batch."""
        self.optimiser.zero_grad(set_to_none=True)
        with torch.autocast(self.device.type, self.half, enabled=self.half is not None):
            losses: dict[str, Tensor] = self.losses(batch)
        each = torch.stack(list(losses.values()))
        values = dict(zip(losses, (total(each.detach()) / world()).tolist(), strict=True))
        if not all(math.isfinite(value) for value in values.values()):
            raise CtgiError(
                f"loss became {values} in epoch {self.state.epoch + 1}; lower base_lr and start again"
            )
        torch.autograd.backward(self.scaler.scale(each.sum()))
        self.scaler.step(self.optimiser)
        self.scaler.update()
        return values

    def close_epoch(
        self, pairs: int, facts: dict[str, float], metrics: dict[str, float], log: RunLog | None
    ) -> dict[str, Any]:
        """Record the epoch, keep its weights if they are the best so far, and move on to the next."""
        state = self.state
        record = {
            "epoch": state.epoch + 1,
            "losses": {name: total / pairs for name, total in state.sums.items()},
            **facts,
            "metrics": metrics,
            "selected_on": self.config.select_on,
            "seconds": round(state.seconds + time.monotonic() - self.clock, 3),
        }
        state.history.append(record)
        better = state.best is None or self.worth(metrics) > self.worth(state.best["metrics"])
        if better:
            state.best = record
        if log:  # before the state: after the last epoch nobody comes back to write it down
            log.epoch(state.history)
        state.epoch, state.step, state.sums = state.epoch + 1, 0, {}
        self.checkpoint()
        if better and rank() == 0:
            keep(self.model.encoder, self.out, record, self.trained_on)
        return record

    def checkpoint(self) -> None:
        """Save everything needed to go on from here."""
        state, now = self.state, time.monotonic()
        state.seconds, self.clock = state.seconds + now - self.clock, now
        state.scaler = self.scaler.state_dict()
        if rank() == 0:
            save_state(self.out / LAST, state, self.model, self.optimiser)

    def worth(self, metrics: dict[str, float]) -> tuple[float, float]:
        """What decides between epochs: the selected metric, then mAP."""
        return metrics[self.config.select], metrics.get("mAP", 0.0)


def _finished(config: TrainConfig, state: RunState) -> bool:
    """Whether the last epoch is over, or so many that none was better than the best for `patience`."""
    stopped = bool(config.patience and state.best and state.epoch - state.best["epoch"] >= config.patience)
    return stopped or state.epoch >= config.epochs


def _seed(seed: int, epoch: int, step: int) -> int:
    return int(np.random.SeedSequence([seed, epoch, step, 1]).generate_state(1, np.uint64)[0] >> np.uint64(1))
