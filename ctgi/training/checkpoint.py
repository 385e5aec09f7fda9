"""The whole state of a run in one safetensors file, replaced by one rename.

Weights, optimiser moments and the run's own facts (as JSON in the file's header) share the file, so there is
no moment at which they disagree, whenever the process dies.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.optim import Optimizer

from ctgi.encoders.loading import save_tensors
from ctgi.errors import CtgiError


@dataclass
class RunState:
    """Where a run stands: the next step to take, and what has been seen so far.

    `sums` are the current epoch's losses times batch sizes, `history` one record per finished epoch, `best`
    the record whose weights are in best/, `scaler` the fp16 gradient scaler's own state.
    """

    epoch: int = 0
    step: int = 0
    seconds: float = 0.0
    sums: dict[str, float] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, Any] | None = None
    scaler: dict[str, Any] = field(default_factory=dict)


def save_state(path: Path, state: RunState, model: nn.Module, optimiser: Optimizer) -> None:
    """Write `model`'s and `optimiser`'s tensors and `state` to `path` by atomic rename."""
    tensors = {f"model.{name}": _plain(tensor) for name, tensor in model.state_dict().items()}
    for name, parameter in model.named_parameters():
        for key, tensor in optimiser.state.get(parameter, {}).items():
            tensors[f"adam.{key}.{name}"] = _plain(tensor)
    save_tensors(tensors, path, {"state": json.dumps(dataclasses.asdict(state))})


def read_state(path: Path) -> RunState | None:
    """The facts in the header of `path`, without its tensors; None when there is no such file.

    Raises CtgiError when the file is damaged.
    """
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            return RunState(**json.loads(file.metadata()["state"]))
    except (OSError, SafetensorError, RuntimeError, KeyError, TypeError, ValueError) as error:
        raise CtgiError(
            f"{path}: damaged checkpoint ({error}); delete the run's folder and train again"
        ) from error


def restore(path: Path, model: nn.Module, optimiser: Optimizer | None = None) -> None:
    """Put the tensors in `path` into `model` and, where it is given, `optimiser`, every one accounted for.

    Raises CtgiError when names or shapes do not match.
    """
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}
        model.load_state_dict(
            {name.removeprefix("model."): t for name, t in tensors.items() if name.startswith("model.")}
        )
        if optimiser is None:
            return
        parameters = dict(model.named_parameters())
        for name, tensor in tensors.items():
            if name.startswith("adam."):
                _, key, owner = name.split(".", 2)
                parameter = parameters[owner]
                # The step counter may live on another device than the moments; both follow the parameter,
                # which is what the fused optimiser wants.
                optimiser.state[parameter][key] = tensor.to(parameter.device)
    except (OSError, SafetensorError, RuntimeError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CtgiError(f"{path}: does not fit this model ({reason}); use another output folder") from error


def _plain(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().contiguous()
