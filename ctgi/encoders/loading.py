"""Encoders from and to disk: open_clip configuration in JSON, safetensors, every key accounted for.

Other code of this family swallows shape mismatches and trains on with random positions. Here a missing, an
unexpected or a misshapen key stops with one line; only the two positional tables may change, by the named
rules in `grid` and `stretch`.

A configuration without "kind" is open_clip's own, and so are the names of its weights: plain CLIP towers,
which is also what IRRA leaves behind, since its other layers serve training only. "kind": "rde" adds RDE's
token selection, in the configuration under "selection" and among the weights as image_selection.* and
text_selection.*.
"""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ctgi.encoders.dual import DualEncoder
from ctgi.encoders.grid import resize_grid
from ctgi.encoders.pixels import HEIGHT, WIDTH
from ctgi.encoders.rde import KIND, OF, RdeEncoder
from ctgi.encoders.stretch import stretch_positions, stretched_length
from ctgi.errors import CtgiError

CONFIG, WEIGHTS = "config.json", "model.safetensors"
CLIP_KEYS = {"embed_dim", "vision_cfg", "text_cfg", "quick_gelu", "init_logit_scale"}


def load_checkpoint(folder: Path | str, context: int | None = None) -> DualEncoder:
    """Load the encoder in `folder` (config.json and model.safetensors). See `load_encoder`."""
    folder = Path(folder)
    if not (folder / CONFIG).is_file():
        what = "is not a folder" if folder.exists() else "does not exist"
        raise CtgiError(
            f"checkpoint {folder}: {f'has no {CONFIG}' if folder.is_dir() else what}; name a folder with "
            f"{CONFIG} and {WEIGHTS}, such as the best/ that ctgi train leaves in its --out"
        )
    return load_encoder(folder / CONFIG, folder / WEIGHTS, context)


def load_encoder(
    config: Mapping[str, Any] | Path | str,
    weights: Path | str | None,
    context: int | None = None,
) -> DualEncoder:
    """Build an encoder of the configuration's kind at 384x128 and fill it.

    `config`: an open_clip model configuration (with "kind" and "selection" for RDE's), the path of one
    (JSON), or the name of one that open_clip ships ("ViT-B-16-quickgelu"). `weights`: a safetensors file with
    the encoder's keys; "openai" for the published CLIP of that name, which needs the network once; None for
    random weights from torch's generator. `context`: number of text positions wanted, by default the
    configuration's own; the one change possible is stretching (77 -> 248). Half-precision files are widened
    to float32.

    Raises CtgiError for an unreadable or unsupported configuration, unreadable weights, a missing, unexpected
    or misshapen key, a context that cannot be reached, or a download that fails.
    """
    if weights == "openai" and isinstance(config, str) and not config.endswith("quickgelu"):
        config = f"{config}-quickgelu"  # OpenAI's weights were trained with that activation
    source = _config(config)
    target, stretch = _target(source, context)
    try:
        encoder = RdeEncoder(target) if target.get("kind") == KIND else DualEncoder(target)
    except (TypeError, ValueError, AttributeError, AssertionError, RuntimeError, KeyError) as error:
        raise CtgiError(
            f"encoder configuration {_name(config)}: open_clip cannot build it ({_line(error)})"
        ) from error
    _check_supported(encoder, _name(config))
    if weights is None:
        return encoder
    if weights == "openai":
        state, origin = _openai(config), f"openai weights of {config}"
    else:
        state, origin = _read_weights(Path(weights)), str(weights)
    _fill(encoder, _fitted(state, source, target, stretch, origin), origin)
    return encoder


def save_checkpoint(
    encoder: DualEncoder, folder: Path | str, metadata: Mapping[str, str] | None = None
) -> None:
    """Write config.json and model.safetensors to `folder`, each by atomic rename, the weights last.

    `metadata` (text to text) travels inside the safetensors file, so weights and their facts never part.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / f".{CONFIG}.tmp"
    config.write_text(json.dumps(encoder.config, indent=2) + "\n", encoding="utf-8")
    os.replace(config, folder / CONFIG)
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in _stored(encoder).items()}
    save_tensors(state, folder / WEIGHTS, metadata)


def save_tensors(
    tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str] | None = None
) -> None:
    """Write one safetensors file so that `path` is at every moment the old file or the new one, whole."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.touch()
    mode = temporary.stat().st_mode  # what this user's files usually get; save_file would make it private
    save_file(dict(tensors), temporary, metadata=dict(metadata) if metadata else None)
    temporary.chmod(mode)
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(temporary, path)


def _config(config: Mapping[str, Any] | Path | str) -> dict[str, Any]:
    if isinstance(config, Mapping):
        raw: Any = copy.deepcopy(dict(config))
    elif isinstance(config, Path) or config.endswith(".json"):
        try:
            raw = json.loads(Path(config).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
            raise CtgiError(f"{config}: not a readable encoder configuration ({_line(error)})") from error
    else:
        import open_clip

        raw = open_clip.get_model_config(config)
        if raw is None:
            raise CtgiError(
                f"encoder {config!r}: open_clip has no such model; ViT-B-16-quickgelu is the paper's"
            )
    if not isinstance(raw, dict) or not all(
        isinstance(raw.get(key), kind)
        for key, kind in (("embed_dim", int), ("vision_cfg", dict), ("text_cfg", dict))
    ):
        raise CtgiError(f"encoder configuration {_name(config)}: needs embed_dim, vision_cfg and text_cfg")
    if "kind" in raw:
        _check_kind(raw, _name(config))
    unknown = sorted(set(raw) - CLIP_KEYS - ({"kind", "selection"} if "kind" in raw else set()))
    if unknown:
        raise CtgiError(f"encoder configuration {_name(config)}: {', '.join(unknown)} is not supported here")
    return raw


def _check_kind(raw: dict[str, Any], name: str) -> None:
    if raw["kind"] != KIND:
        raise CtgiError(
            f"encoder configuration {name}: kind {raw['kind']!r} is unknown; {KIND}, or none for CLIP"
        )
    selection = raw.get("selection")
    fine = (
        isinstance(selection, dict)
        and selection.keys() == {"ratio", "of", "width"}
        and isinstance(selection["ratio"], float)
        and 0.001 <= selection["ratio"] <= 1
        and selection["of"] in OF
        and isinstance(selection["width"], int)
        and selection["width"] >= 2
    )
    if not fine:
        raise CtgiError(
            f"encoder configuration {name}: selection is {selection!r}; it needs a ratio from 0.001 to 1, "
            f"of ({' or '.join(OF)}) and a width"
        )


def _target(source: dict[str, Any], context: int | None) -> tuple[dict[str, Any], bool]:
    target = copy.deepcopy(source)
    target["vision_cfg"]["image_size"] = [HEIGHT, WIDTH]
    own = source["text_cfg"].get("context_length", 77)
    wanted = own if context is None else context
    stretch = wanted != own
    if stretch and wanted != stretched_length(own):
        raise CtgiError(
            f"context {wanted}: an encoder with {own} positions keeps them or gets {stretched_length(own)}"
        )
    target["text_cfg"]["context_length"] = wanted
    return target, stretch


def _check_supported(encoder: DualEncoder, name: str) -> None:
    clip = encoder.clip
    vision = encoder.config["vision_cfg"]
    plain = (
        hasattr(clip.visual, "positional_embedding")
        and clip.text_pool_type == "argmax"
        and isinstance(clip.text_projection, torch.nn.Parameter)
        and clip.attn_mask is not None
        and clip.visual.attn_pool is None
        and clip.visual.pool_type == "tok"
        and not vision.get("output_tokens")
        and not encoder.config["text_cfg"].get("output_tokens")
    )
    if not plain:
        raise CtgiError(
            f"encoder configuration {name}: only CLIP's own ViT and causal text tower are supported"
        )


def _read_weights(path: Path) -> dict[str, Tensor]:
    try:
        state = load_file(path)
    except (OSError, SafetensorError) as error:
        raise CtgiError(f"{path}: not a readable safetensors file ({_line(error)})") from error
    return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in state.items()}


def _openai(config: Mapping[str, Any] | Path | str) -> dict[str, Tensor]:
    import open_clip

    if not isinstance(config, str):
        raise CtgiError(
            "openai weights belong to a named model; give ViT-B-16-quickgelu instead of a configuration"
        )
    try:
        model = open_clip.create_model(config, pretrained="openai", precision="fp32")
    except Exception as error:  # network, proxy, disk and hub errors share no base class
        raise CtgiError(
            f"openai weights of {config} could not be fetched ({_line(error)}); "
            "connect to the network once, or give a safetensors file"
        ) from error
    return dict(model.state_dict())


def _fitted(
    state: dict[str, Tensor], source: dict[str, Any], target: dict[str, Any], stretch: bool, origin: str
) -> dict[str, Tensor]:
    state = dict(state)
    visual, text = "visual.positional_embedding", "positional_embedding"
    try:
        if visual in state:
            state[visual] = resize_grid(state[visual], _grid(source), _grid(target))
        own = source["text_cfg"].get("context_length", 77)
        if stretch and text in state and state[text].shape[0] == own:
            state[text] = stretch_positions(state[text])
    except ValueError as error:
        raise CtgiError(f"{origin}: {error}; configuration and weights are not of the same model") from error
    return state


def _grid(config: dict[str, Any]) -> tuple[int, int]:
    vision = config["vision_cfg"]
    size, patch = vision.get("image_size", 224), vision.get("patch_size", 16)
    height, width = (size, size) if isinstance(size, int) else size
    return height // patch, width // patch


def _fill(encoder: DualEncoder, state: dict[str, Tensor], origin: str) -> None:
    wanted = _stored(encoder)
    faults = (
        ("lacks", [name for name in wanted if name not in state]),
        ("has the unexpected", [name for name in state if name not in wanted]),
        ("has the wrong shape for", [n for n in wanted if n in state and state[n].shape != wanted[n].shape]),
    )
    for verb, names in faults:
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise CtgiError(
                f"{origin}: {verb} {names[0]}{more}; configuration and weights are not of the same model"
            )
    with torch.no_grad():
        for name, tensor in wanted.items():
            tensor.copy_(state[name])


def _stored(encoder: DualEncoder) -> dict[str, Tensor]:
    """Weights and buffers by the names they have in a file: open_clip's for the towers."""
    return {name.removeprefix("clip."): tensor for name, tensor in encoder.state_dict().items()}


def _name(config: Mapping[str, Any] | Path | str) -> str:
    return "given as data" if isinstance(config, Mapping) else str(config)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
