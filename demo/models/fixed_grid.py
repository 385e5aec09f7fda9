"""Pictures of one fixed size through Qwen2-VL's vision tower, a whole batch at once.

The stock tower packs pictures into one row of patches and then attends to them one by one in a loop, because
their sizes may differ. Here every picture has the same 18x6 grid, so the same modules with the same weights
run as plain batched matrices: `vision_tokens` equals the stock tower and is differentiable, for training and
serving alike.
"""

from __future__ import annotations

from functools import lru_cache
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from transformers import Qwen2VLForConditionalGeneration

from demo.models.architecture import GRID_H, GRID_W, HEIGHT, MERGE, PATCH, PATCHES, WIDTH

# OpenAI CLIP's channel statistics, as in transformers.image_utils.
_MEAN = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)
_STD = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)
_SCALE = (1 / (255 * _STD)).astype(np.float32)
_SHIFT = (-_MEAN / _STD).astype(np.float32)


def to_array(picture: Image.Image) -> NDArray[np.uint8]:
    """The picture as (252, 84, 3) uint8: resized without keeping its aspect, so that any size costs 27
    tokens."""
    if picture.mode != "RGB":
        picture = picture.convert("RGB")
    if picture.size != (WIDTH, HEIGHT):
        picture = picture.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
    return np.asarray(picture)


def to_pixels(picture: Image.Image) -> NDArray[np.float32]:
    """The picture as float32 patches (108, 1176), what Qwen2VLImageProcessor gives for a 252x84 picture."""
    return patchify(torch.from_numpy(to_array(picture).copy())[None])[0].numpy()


def patchify(pixels: Tensor) -> Tensor:
    """uint8 pixels (B, 252, 84, 3) to normalised float32 patches (B, 108, 1176).

    Patches run block by block over 2x2 merging blocks; inside a patch the order is channel, time, row,
    column, with the still picture given twice for Qwen2-VL's two time steps.
    """
    batch = pixels.shape[0]
    scale = torch.from_numpy(_SCALE).to(pixels.device)
    shift = torch.from_numpy(_SHIFT).to(pixels.device)
    normal = pixels.float() * scale + shift
    blocks = normal.view(batch, GRID_H // MERGE, MERGE, PATCH, GRID_W // MERGE, MERGE, PATCH, 3)
    blocks = blocks.permute(
        0, 1, 4, 2, 5, 7, 3, 6
    )  # B, rows, columns, row in block, column in block, C, 14, 14
    twice = blocks.unsqueeze(6).expand(-1, -1, -1, -1, -1, -1, 2, -1, -1)
    return twice.reshape(batch, PATCHES, 3 * 2 * PATCH * PATCH)


@lru_cache(maxsize=8)
def _grid(device: torch.device) -> Tensor:
    """Row and column of every patch, (108, 2), in the order `patchify` lists them."""
    rows, columns = torch.meshgrid(torch.arange(GRID_H), torch.arange(GRID_W), indexing="ij")
    grid = torch.stack([rows, columns], -1).view(GRID_H // MERGE, MERGE, GRID_W // MERGE, MERGE, 2)
    return grid.transpose(1, 2).reshape(PATCHES, 2).to(device)


def _rotate_half(x: Tensor) -> Tensor:
    first, second = x.chunk(2, -1)
    return torch.cat((-second, first), -1)


def vision_states(model: Qwen2VLForConditionalGeneration, patches: Tensor) -> Tensor:
    """The tower before merging: patches (B, 108, 1176) to (B, 108, vision width). For attribute heads in
    training."""
    tower = model.model.visual
    batch = patches.shape[0]
    embed = cast(nn.Conv3d, tower.patch_embed.proj)
    # A convolution whose kernel is as large as its input is a matrix product.
    x = F.linear(patches.to(embed.weight.dtype), embed.weight.flatten(1))
    cos, sin = tower.rotary_pos_emb(x, _grid(x.device))
    cos, sin = cos.to(x.dtype), sin.to(x.dtype)
    for block in tower.blocks:
        attention = block.attn
        heads = attention.num_heads
        qkv = attention.qkv(block.norm1(x)).view(batch, PATCHES, 3, heads, -1).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        q = q * cos + _rotate_half(q) * sin
        k = k * cos + _rotate_half(k) * sin
        mixed = F.scaled_dot_product_attention(q, k, v, scale=attention.scaling)
        x = x + attention.proj(mixed.transpose(1, 2).reshape(batch, PATCHES, -1))
        x = x + block.mlp(block.norm2(x))
    return x


def vision_tokens(model: Qwen2VLForConditionalGeneration, patches: Tensor) -> Tensor:
    """Image tokens for the language side: patches (B, 108, 1176) to (B, 27, text width). Equals the stock
    tower."""
    tower = model.model.visual
    merged: Tensor = tower.merger(vision_states(model, patches))
    return merged.view(patches.shape[0], PATCHES // MERGE**2, -1)
