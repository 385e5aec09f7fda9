"""The shape of the small Qwen2-VL: configuration, tokenizer, chat template, and how a directory of it is
written.

It is transformers' own `Qwen2VLForConditionalGeneration` with small numbers, so whatever serves the large one
(vLLM, transformers) can serve this one. Every picture is 252x84 pixels (height x width), which is 18x6
patches of 14 pixels and, after 2x2 merging, 27 image tokens.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import (
    GenerationConfig,
    PreTrainedTokenizerFast,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
)

PATCH = 14
MERGE = 2
HEIGHT, WIDTH = 252, 84
GRID_H, GRID_W = HEIGHT // PATCH, WIDTH // PATCH  # 18 x 6 patches
PATCHES = GRID_H * GRID_W  # 108
IMAGE_TOKENS = PATCHES // MERGE**2  # 27

END_OF_TEXT = "<|endoftext|>"
TURN_START, TURN_END = "<|im_start|>", "<|im_end|>"
VISION_START, VISION_END = "<|vision_start|>", "<|vision_end|>"
IMAGE_PAD, VIDEO_PAD = "<|image_pad|>", "<|video_pad|>"
SPECIAL_TOKENS = (END_OF_TEXT, TURN_START, TURN_END, VISION_START, VISION_END, IMAGE_PAD, VIDEO_PAD)

# How Qwen2's own tokenizer splits text before byte-level BPE. It is repeated here so that transformers'
# automatic classes, which rebuild the splitting from the model type, and the plain tokenizer.json agree token
# by token.
QWEN2_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

# Qwen2-VL's ChatML, without its default system message: a conversation says exactly what its author wrote.
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' or 'image' in part or 'image_url' in part %}"
    "<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif 'text' in part %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def build_config(
    vocab_size: int,
    *,
    text_width: int = 192,
    text_layers: int = 4,
    text_heads: int = 6,
    text_kv_heads: int = 2,
    text_mlp: int = 512,
    vision_width: int = 192,
    vision_depth: int = 4,
    vision_heads: int = 6,
    context: int = 1024,
) -> Qwen2VLConfig:
    """Configuration whose special-token ids are those `build_tokenizer` gives (0, 1, 2, ...).

    The M-RoPE sections keep Qwen2-VL's proportions (1/4 time, 3/8 height, 3/8 width of half a head's width);
    theta is 10,000, as positions stay below a few hundred.
    """
    half = text_width // text_heads // 2
    spatial = half * 3 // 8
    ids = {token: number for number, token in enumerate(SPECIAL_TOKENS)}
    return Qwen2VLConfig(
        text_config={
            "vocab_size": vocab_size,
            "hidden_size": text_width,
            "intermediate_size": text_mlp,
            "num_hidden_layers": text_layers,
            "num_attention_heads": text_heads,
            "num_key_value_heads": text_kv_heads,
            "max_position_embeddings": context,
            "rms_norm_eps": 1e-6,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10_000.0,
                "mrope_section": [half - 2 * spatial, spatial, spatial],
            },
            "bos_token_id": None,
            "eos_token_id": ids[TURN_END],
            "pad_token_id": ids[END_OF_TEXT],
            "tie_word_embeddings": True,
        },
        vision_config={
            "depth": vision_depth,
            "embed_dim": vision_width,
            "hidden_size": text_width,
            "num_heads": vision_heads,
            "mlp_ratio": 4,
            "patch_size": PATCH,
            "spatial_merge_size": MERGE,
            "temporal_patch_size": 2,
        },
        tie_word_embeddings=True,
        image_token_id=ids[IMAGE_PAD],
        video_token_id=ids[VIDEO_PAD],
        vision_start_token_id=ids[VISION_START],
        vision_end_token_id=ids[VISION_END],
        bos_token_id=None,
        eos_token_id=ids[TURN_END],
        pad_token_id=ids[END_OF_TEXT],
    )


def build_tokenizer(texts: Iterable[str], vocab_size: int = 1024) -> PreTrainedTokenizerFast:
    """Byte-level BPE learnt from `texts`; any text can be written with it, since all 256 bytes are in.

    Special tokens take the first ids, in the order of `SPECIAL_TOKENS`. The vocabulary may end up smaller
    than `vocab_size` when `texts` hold too little to merge: size the model by `len(tokenizer)`.
    """
    tokenizer = Tokenizer(models.BPE(unk_token=None, fuse_unk=False, byte_fallback=False))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN2_SPLIT), behavior="isolated", invert=False),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=TURN_END,
        pad_token=END_OF_TEXT,
        additional_special_tokens=[TURN_START, VISION_START, VISION_END, IMAGE_PAD, VIDEO_PAD],
        clean_up_tokenization_spaces=False,
    )
    wrapped.chat_template = CHAT_TEMPLATE
    return wrapped


def build_model(vocab_size: int, *, seed: int | None = None, **sizes: int) -> Qwen2VLForConditionalGeneration:
    """The model with random weights, float32; `sizes` as `build_config` takes them."""
    import torch

    if seed is not None:
        torch.manual_seed(seed)
    model: Qwen2VLForConditionalGeneration = Qwen2VLForConditionalGeneration(
        build_config(vocab_size, **sizes)
    )
    return model


def preprocessor_config() -> dict[str, Any]:
    """What transformers' image processor needs to make the same 108 patches of a 384x128 picture.

    With equal bounds its arithmetic gives 252x84 for any picture of the aspect 3:1; pictures of other aspects
    would get other grids there, while `fixed_grid.to_pixels` brings every picture to 252x84.
    """
    from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

    return {
        "image_processor_type": "Qwen2VLImageProcessor",
        "processor_class": "Qwen2VLProcessor",
        "size": {"shortest_edge": HEIGHT * WIDTH, "longest_edge": HEIGHT * WIDTH},
        "min_pixels": HEIGHT * WIDTH,
        "max_pixels": HEIGHT * WIDTH,
        "patch_size": PATCH,
        "temporal_patch_size": 2,
        "merge_size": MERGE,
        "image_mean": list(OPENAI_CLIP_MEAN),
        "image_std": list(OPENAI_CLIP_STD),
        "rescale_factor": 1 / 255,
        "do_resize": True,
        "do_rescale": True,
        "do_normalize": True,
        "do_convert_rgb": True,
        "resample": 3,
    }


def save(
    directory: Path | str, model: Qwen2VLForConditionalGeneration, tokenizer: PreTrainedTokenizerFast
) -> None:
    """Write the directory that servers load: weights, configuration, tokenizer, template, preprocessor."""
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    model.generation_config = GenerationConfig(
        eos_token_id=tokenizer.convert_tokens_to_ids(TURN_END),
        pad_token_id=tokenizer.convert_tokens_to_ids(END_OF_TEXT),
        do_sample=False,
    )
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    (directory / "preprocessor_config.json").write_text(json.dumps(preprocessor_config(), indent=2) + "\n")
