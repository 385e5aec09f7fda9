"""A transformer in numpy float64, from the textbook formulas: what golden values are computed with."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def array(x: Any) -> Array:
    """A torch tensor as float64."""
    out: Array = x.detach().double().numpy()
    return out


def linear(x: Array, layer: Any) -> Array:
    return x @ array(layer.weight).T + array(layer.bias)


def layer_norm(x: Array, layer: Any) -> Array:
    centred = x - x.mean(-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + layer.eps)
    return scaled * array(layer.weight) + array(layer.bias)


def quick_gelu(x: Array) -> Array:
    return x / (1 + np.exp(-1.702 * x))


def softmax(x: Array) -> Array:
    exp = np.exp(x - x.max(-1, keepdims=True))
    return exp / exp.sum(-1, keepdims=True)


def attention(query: Array, key: Array, layer: Any, seen: NDArray[np.bool_]) -> tuple[Array, Array]:
    """nn.MultiheadAttention on query (L, width) and key = value (S, width), seen (L, S).

    Returns the output (L, width) and the map (heads, L, S).
    """
    width, heads = query.shape[1], layer.num_heads
    weight, bias = array(layer.in_proj_weight), array(layer.in_proj_bias)
    q, k, v = (
        (x @ weight[n * width : (n + 1) * width].T + bias[n * width : (n + 1) * width])
        .reshape(len(x), heads, width // heads)
        .transpose(1, 0, 2)
        for n, x in enumerate((query, key, key))
    )
    scores = q @ k.transpose(0, 2, 1) / np.sqrt(width // heads)
    maps = softmax(np.where(seen, scores, -np.inf))
    mixed = (maps @ v).transpose(1, 0, 2).reshape(len(query), width)
    return linear(mixed, layer.out_proj), maps


def block(x: Array, layer: Any, seen: NDArray[np.bool_], activation: Any) -> tuple[Array, Array]:
    """A pre-norm residual block on x (L, width): its output, and its attention map (heads, L, L)."""
    h = layer_norm(x, layer.ln_1)
    mixed, maps = attention(h, h, layer.attn, seen)
    x = x + mixed
    return x + linear(activation(linear(layer_norm(x, layer.ln_2), layer.mlp.c_fc)), layer.mlp.c_proj), maps
