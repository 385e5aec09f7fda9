"""How Triton serves the two encoders: the text of `config.pbtxt` and of its variants.

Field names are those of Triton's `model_config.proto`; the accelerators' parameters those of its onnxruntime
backend.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ctgi.errors import CtgiError
from ctgi.export.pbtxt import Word, pbtxt
from ctgi.export.preprocess import Preprocess
from ctgi.export.release import Release
from ctgi.export.runtime import BUCKETS

TEXT, IMAGE = "text_encoder", "image_encoder"
CONFIG = "config.pbtxt"


@dataclass(frozen=True)
class TritonOptions:
    """How the encoders are served; the same for every version of a repository.

    Attributes:
        text_batch, image_batch: the most texts or pictures in one run.
        queue_delay: microseconds that a request waits for others to share its run.
        queue_size: requests that may wait; more are refused at once.
        timeout: microseconds after which a waiting request is refused; a request may ask for less.
        instances: copies of each model on every GPU, or on the CPU.
        half: whether TensorRT may compute in half precision (a parity check against the release is due).
        engine_cache: where TensorRT keeps its engines; on a volume, a restart does not build them again.
    """

    text_batch: int = 64
    image_batch: int = 32
    queue_delay: int = 2_000
    queue_size: int = 1_024
    timeout: int = 5_000_000
    instances: int = 1
    half: bool = True
    engine_cache: str = "/var/cache/tensorrt"

    def __post_init__(self) -> None:
        numbers = (self.text_batch, self.image_batch, self.queue_size, self.timeout, self.instances)
        if min(numbers) < 1 or self.queue_delay < 0:
            raise CtgiError(
                f"{self}: batches, queue, timeout and instances are at least 1, the delay at least 0"
            )
        if not self.engine_cache.isascii() or not self.engine_cache.isprintable():
            raise CtgiError(f"{self.engine_cache!r}: the engine cache is a path of printable ASCII")


@dataclass(frozen=True)
class Encoder:
    """What a configuration needs to know of a model.

    Attributes:
        shapes: of one text or picture, those that are served, for the warm-up.
        dims: what a request may bring; -1 is free.
    """

    name: str
    entry: str
    kind: str
    dims: tuple[int, ...]
    shapes: tuple[tuple[int, ...], ...]
    batch: int
    embedding: int


def encoders(release: Release, spec: Preprocess, options: TritonOptions) -> tuple[Encoder, Encoder]:
    """The two models of a release."""
    lengths = sorted({min(length, release.context) for length in BUCKETS})
    size = (3, spec.height, spec.width)
    return (
        Encoder(
            name=TEXT,
            entry="ids",
            kind="INT64",
            dims=(-1,),
            shapes=tuple((length,) for length in lengths),
            batch=options.text_batch,
            embedding=release.embedding_dim,
        ),
        Encoder(
            name=IMAGE,
            entry="pixels",
            kind="FP32",
            dims=size,
            shapes=(size,),
            batch=options.image_batch,
            embedding=release.embedding_dim,
        ),
    )


def configurations(encoder: Encoder, options: TritonOptions) -> dict[str, str]:
    """The text of `config.pbtxt` and of its variants, by file name."""
    return {
        CONFIG: pbtxt(_config(encoder, options)),
        "configs/cpu.pbtxt": pbtxt(_config(encoder, options, "KIND_CPU")),
        "configs/cuda.pbtxt": pbtxt(_config(encoder, options, "KIND_GPU", _cuda())),
        "configs/tensorrt.pbtxt": pbtxt(_config(encoder, options, "KIND_GPU", _tensorrt(encoder, options))),
    }


def _config(
    encoder: Encoder,
    options: TritonOptions,
    kind: str = "KIND_AUTO",
    accelerator: dict[str, Any] | None = None,
) -> dict[str, Any]:
    config: dict[str, Any] = {
        "name": encoder.name,
        "backend": "onnxruntime",
        "max_batch_size": encoder.batch,
        "input": [{"name": encoder.entry, "data_type": Word(f"TYPE_{encoder.kind}"), "dims": encoder.dims}],
        "output": [{"name": "embedding", "data_type": Word("TYPE_FP32"), "dims": [encoder.embedding]}],
        # What is in the repository is what is served; who asks names the version.
        "version_policy": {"all": {}},
        "dynamic_batching": {
            "max_queue_delay_microseconds": options.queue_delay,
            "default_queue_policy": {
                "timeout_action": Word("REJECT"),
                "default_timeout_microseconds": options.timeout,
                "allow_timeout_override": True,
                "max_queue_size": options.queue_size,
            },
        },
        "instance_group": [{"kind": Word(kind), "count": options.instances}],
        "model_warmup": [
            _warmup(encoder, shape, batch) for shape in encoder.shapes for batch in (1, encoder.batch)
        ],
    }
    if accelerator is not None:
        config["optimization"] = {"execution_accelerators": {"gpu_execution_accelerator": [accelerator]}}
    return config


def _warmup(encoder: Encoder, shape: Sequence[int], batch: int) -> dict[str, Any]:
    """One run before the model counts as ready. Zeros are valid ids; random numbers would not be."""
    entry = {"data_type": Word(f"TYPE_{encoder.kind}"), "dims": list(shape), "zero_data": True}
    return {
        "name": f"{batch} of {'x'.join(map(str, shape))}",
        "batch_size": batch,
        "inputs": [{"key": encoder.entry, "value": entry}],
    }


def _cuda() -> dict[str, Any]:
    # Lengths change from batch to batch: an exhaustive search for convolutions would run for each of them.
    return _accelerator(
        "cuda", {"cudnn_conv_algo_search": "HEURISTIC", "arena_extend_strategy": "kSameAsRequested"}
    )


def _tensorrt(encoder: Encoder, options: TritonOptions) -> dict[str, Any]:
    least, most = encoder.shapes[0], encoder.shapes[-1]
    if encoder.name == TEXT:
        least = (2,)  # start and end

    def profile(batch: int, shape: Sequence[int]) -> str:
        return f"{encoder.entry}:{'x'.join(map(str, (batch, *shape)))}"

    return _accelerator(
        "tensorrt",
        {
            "precision_mode": "FP16" if options.half else "FP32",
            # Overflow in the sums of squares of a layer norm is what half precision costs first.
            "trt_layer_norm_fp32_fallback": "true",
            "trt_engine_cache_enable": "true",
            "trt_engine_cache_path": options.engine_cache,
            "trt_timing_cache_enable": "true",
            "trt_timing_cache_path": options.engine_cache,
            "trt_profile_min_shapes": profile(1, least),
            "trt_profile_opt_shapes": profile(max(1, encoder.batch // 4), encoder.shapes[0]),
            "trt_profile_max_shapes": profile(encoder.batch, most),
        },
    )


def _accelerator(name: str, parameters: dict[str, str]) -> dict[str, Any]:
    return {"name": name, "parameters": [{"key": key, "value": value} for key, value in parameters.items()]}
