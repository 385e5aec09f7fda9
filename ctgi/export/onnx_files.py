"""The two towers of a dual encoder as ONNX files with a free batch axis and, for text, a free length axis."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from ctgi.errors import CtgiError
from ctgi.export.release import IMAGE_ENCODER, TEXT_ENCODER

OPSET = 18


class _TextSide(nn.Module):
    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, ids: Tensor) -> Tensor:
        out: Tensor = self.encoder.encode_text(ids)
        return out


class _ImageSide(nn.Module):
    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, pixels: Tensor) -> Tensor:
        out: Tensor = self.encoder.encode_image(pixels)
        return out


def frozen(encoder: nn.Module) -> nn.Module:
    """A float32 copy on the CPU in evaluation mode; the encoder that is training stays as it is."""
    copied = copy.deepcopy(encoder).to(device="cpu", dtype=torch.float32).eval()
    for parameter in copied.parameters():
        parameter.requires_grad_(False)
    return copied


def write_onnx(encoder: Any, folder: Path, *, size: tuple[int, int]) -> None:
    """Write `text_encoder.onnx` (`ids` int64 [batch, length] -> `embedding` float32 [batch, D]) and
    `image_encoder.onnx` (`pixels` float32 [batch, 3, H, W] -> `embedding`) into `folder`.

    `encoder` comes from `frozen`. torch's exporter based on `torch.export` is used: the older one fixes
    the length.

    Args:
        size: height and width of the pictures in pixels.

    Raises:
        CtgiError: the exporter cannot follow the model.
    """
    batch, length = torch.export.Dim("batch"), torch.export.Dim("length", min=2, max=int(encoder.context))
    # Neither 1 nor equal to each other, nor, for RDE, so short that one token is selected: the exporter would
    # take such an axis for a constant.
    ids = torch.full((2, min(19, int(encoder.context) - 1)), 320, dtype=torch.int64)
    ids[:, -1] = 49407
    _export(_TextSide(encoder), ids, "ids", {0: batch, 1: length}, folder / TEXT_ENCODER)
    pixels = torch.zeros(2, 3, *size)
    _export(_ImageSide(encoder), pixels, "pixels", {0: batch}, folder / IMAGE_ENCODER)


def _export(model: nn.Module, example: Tensor, name: str, axes: Mapping[int, Any], path: Path) -> None:
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    try:
        logger.setLevel(logging.ERROR)
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                model.eval(),
                (example,),
                dynamo=True,
                opset_version=OPSET,
                input_names=[name],
                output_names=["unit_vector"],
                dynamic_shapes=(dict(axes),),
                verbose=False,
            )
    except Exception as error:  # whatever the exporter stumbles over comes out wrapped in its own classes
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CtgiError(f"{path.name}: the model cannot be exported to ONNX ({reason})") from error
    finally:
        logger.setLevel(level)
    assert program is not None
    _name_output(program.model.graph)
    proto = program.model_proto
    _strip(proto)
    onnx.checker.check_model(proto)
    path.write_bytes(proto.SerializeToString(deterministic=True))


def _name_output(graph: Any) -> None:
    """Call the output `embedding`, and whatever the exporter named so (the token lookup) something else.

    Given that name at once, the exporter writes a graph with the name twice, which is not valid ONNX.
    """
    for node in graph:
        for value in node.outputs:
            if value.name == "embedding":
                value.name = "token_vectors"
    [output] = graph.outputs
    output.name = "embedding"


def _strip(proto: onnx.ModelProto) -> None:
    """Drop stack traces and source paths of the machine that exported; they also made equal models differ."""
    graphs = [proto.graph, *proto.functions]
    proto.ClearField("metadata_props")
    proto.ClearField("doc_string")
    for graph in graphs:
        graph.ClearField("metadata_props")
        graph.ClearField("doc_string")
        values = (
            [] if isinstance(graph, onnx.FunctionProto) else [*graph.input, *graph.output, *graph.initializer]
        )
        for item in [*graph.node, *graph.value_info, *values]:
            item.ClearField("metadata_props")
            item.ClearField("doc_string")
