"""Which device a process trains on, and in which precision."""

from __future__ import annotations

import os

import torch

from ctgi.errors import CtgiError
from ctgi.training.config import TrainConfig
from ctgi.training.distributed import local_rank


def training_device(config: TrainConfig) -> torch.device:
    """ "auto": the GPU if there is one; under torchrun every process has a GPU of its own.

    Raises CtgiError when the device cannot be used, or there are more processes than GPUs.
    """
    name = config.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        if device.type == "cuda" and int(os.environ.get("WORLD_SIZE", "1")) > 1:
            if local_rank() >= torch.cuda.device_count():
                raise CtgiError(
                    f"process {local_rank()} of this machine has no GPU, there are "
                    f"{torch.cuda.device_count()}; give torchrun --nproc-per-node no more than that"
                )
            device = torch.device("cuda", local_rank())
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise CtgiError(
            f"device {config.device!r} cannot be used ({str(error).splitlines()[0]}); try auto"
        ) from error
    return device


def half_precision(config: TrainConfig, device: torch.device) -> torch.dtype | None:
    """What the towers compute in where that is not float32. Raises CtgiError for fp16 without a GPU."""
    precision = config.precision
    if precision == "auto":
        precision = "bf16" if device.type == "cuda" else "fp32"
    if precision == "fp16" and device.type != "cuda":
        raise CtgiError(f"precision fp16 needs a GPU and the device is {device}; use fp32, bf16 or auto")
    return {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
