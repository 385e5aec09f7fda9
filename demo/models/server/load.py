"""From a model directory to an engine."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from transformers import AutoTokenizer, Qwen2VLForConditionalGeneration

from demo.models.architecture import MERGE, PATCH
from demo.models.chat import ChatEncoder
from demo.models.server.engine import Engine
from demo.models.server.prefix_cache import BLOCK


def load(
    directory: Path, *, rows: int = 32, context: int | None = None, cache_mb: int = 192
) -> tuple[Engine, ChatEncoder, int]:
    """Engine, encoder and the number of parameters. ValueError in one line when the directory cannot be
    served."""
    try:
        kind = json.loads((directory / "config.json").read_text()).get("model_type")
    except ValueError as error:
        raise ValueError(f"--model {directory}: config.json is not JSON ({error})") from None
    if kind != "qwen2_vl":
        raise ValueError(f"--model {directory}: model_type is {kind!r}; this server serves 'qwen2_vl' only")
    try:
        tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True)
        model, report = Qwen2VLForConditionalGeneration.from_pretrained(
            directory, local_files_only=True, dtype=torch.float32, output_loading_info=True
        )
    except Exception as error:  # whatever a damaged file makes the loaders raise
        reason = " ".join(str(error).split())[:300]
        raise ValueError(
            f"--model {directory}: cannot be loaded ({type(error).__name__}: {reason})"
        ) from None
    wrong = [name for kind in ("missing_keys", "unexpected_keys", "mismatched_keys") for name in report[kind]]
    if wrong:
        raise ValueError(f"--model {directory}: weights do not fit config.json, first at {wrong[0]}")
    vision = model.config.vision_config
    if (vision.patch_size, vision.spatial_merge_size, vision.temporal_patch_size) != (PATCH, MERGE, 2):
        raise ValueError(
            f"--model {directory}: patches are not {PATCH} pixels, merged {MERGE}x{MERGE}, over 2 frames"
        )
    longest = model.config.text_config.max_position_embeddings
    context = min(context or 1024, longest)
    engine_rows = max(rows, 1)
    block_bytes = (
        2
        * model.config.text_config.num_hidden_layers
        * BLOCK
        * 4
        * (
            model.config.text_config.num_key_value_heads
            * (model.config.text_config.hidden_size // model.config.text_config.num_attention_heads)
        )
    )
    blocks = cache_mb * 2**20 // block_bytes
    engine = Engine(
        model,
        tokenizer,
        rows=engine_rows,
        context=context,
        prefix_blocks=blocks if blocks * BLOCK >= context else 0,
    )
    return engine, ChatEncoder(tokenizer), sum(p.numel() for p in model.parameters())
