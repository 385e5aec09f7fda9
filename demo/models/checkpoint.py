"""Checkpoints of the small models' training: safetensors and JSON, replaced as one folder, never pickled."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn


def save_checkpoint(out: Path, modules: nn.Module, optimizer: torch.optim.Optimizer, step: int) -> None:
    """Write weights, optimiser moments and step under ``out/checkpoint``.

    An interrupted write leaves the checkpoint before it, as ``checkpoint`` or as ``checkpoint.old``.
    """
    fresh, kept, old = out / "checkpoint.new", out / "checkpoint", out / "checkpoint.old"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    save_file({k: v.contiguous() for k, v in modules.state_dict().items()}, fresh / "model.safetensors")
    moments = {}
    for index, state in optimizer.state_dict()["state"].items():
        for key, value in state.items():
            moments[f"{index}.{key}"] = torch.as_tensor(value).contiguous()
    save_file(moments, fresh / "optimizer.safetensors")
    (fresh / "state.json").write_text(json.dumps({"step": step}))
    if kept.exists():  # else a write was interrupted here, and the old one stays until the new one is there
        shutil.rmtree(old, ignore_errors=True)
        os.replace(kept, old)
    os.replace(fresh, kept)
    shutil.rmtree(old, ignore_errors=True)


def load_checkpoint(out: Path, modules: nn.Module, optimizer: torch.optim.Optimizer | None) -> int:
    """Fill ``modules`` (and ``optimizer``) from the last checkpoint; its step, 0 when there is none."""
    kept = out / "checkpoint"
    if not kept.exists() and (out / "checkpoint.old").exists():
        kept = out / "checkpoint.old"
    if not kept.exists():
        return 0
    modules.load_state_dict(load_file(kept / "model.safetensors"))
    if optimizer is not None:
        state: dict[int, dict[str, torch.Tensor]] = {}
        for name, value in load_file(kept / "optimizer.safetensors").items():
            index, key = name.split(".", 1)
            state.setdefault(int(index), {})[key] = value
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return int(json.loads((kept / "state.json").read_text())["step"])
