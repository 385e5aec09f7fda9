"""The small CLIP, pre-trained on rendered pictures with plain captions: who, a garment or two, seldom more.

Contrastive loss between pictures and captions, as CLIP. So that some ten thousand pictures do for what took
CLIP 400 million, the vision tower has a second teacher during this training, thrown away afterwards: heads
that name attributes, per picture and per patch, as for the small Qwen2-VL. Words for details enter the text
tower through captions only.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from ctgi.encoders.dual import DualEncoder
from ctgi.encoders.loading import save_checkpoint as save_encoder
from ctgi.encoders.tokens import tokenize
from demo.models.attribute_heads import AttributeHeads, image_loss, patch_loss
from demo.models.checkpoint import load_checkpoint, save_checkpoint
from demo.models.corpus import CHUNK, decode
from demo.pedestrians.language import plain_caption
from demo.pedestrians.parts import PARTS

CONFIG: dict[str, object] = {
    "embed_dim": 128,
    "vision_cfg": {"image_size": [384, 128], "layers": 4, "width": 192, "head_width": 32, "patch_size": 32},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 96, "heads": 4, "layers": 3},
}
_PATCH, _ROWS, _COLUMNS = 32, 12, 4
_MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(1, 3, 1, 1)
_STD = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(1, 3, 1, 1)


class Pictures:
    """Chunks of the corpus at full size in memory, with per-patch coverage for 32-pixel patches."""

    def __init__(self, folder: Path, first: int, last: int | None) -> None:
        self.folder = folder
        self.chunks: list[tuple[NDArray[np.uint8], NDArray[np.int8], NDArray[np.uint8]]] = []
        self.first, self.last = first, last
        self.refresh()

    def refresh(self) -> None:
        paths = sorted(self.folder.glob("chunk-????.npz"))[self.first : self.last]
        for path in paths[len(self.chunks) :]:
            with np.load(path) as stored:
                self.chunks.append((stored["pictures"], stored["labels"], _coverage(stored["parts"])))

    def __len__(self) -> int:
        return len(self.chunks) * CHUNK

    def take(self, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor, Tensor]:
        """Normalised pixels (B, 3, 384, 128), labels (B, attributes), coverage (B, 48, parts) in [0, 1]."""
        picked = [(self.chunks[row // CHUNK], row % CHUNK) for row in rows.tolist()]
        pixels = torch.from_numpy(np.stack([chunk[0][row] for chunk, row in picked])).permute(0, 3, 1, 2)
        labels = torch.from_numpy(np.stack([chunk[1][row] for chunk, row in picked])).long()
        coverage = torch.from_numpy(np.stack([chunk[2][row] for chunk, row in picked])).float() / 255
        return (pixels.float() / 255 - _MEAN) / _STD, labels, coverage


def _coverage(parts: NDArray[np.uint8]) -> NDArray[np.uint8]:
    blocks = parts.reshape(-1, _ROWS, _PATCH, _COLUMNS, _PATCH).transpose(0, 1, 3, 2, 4)
    blocks = blocks.reshape(len(parts), _ROWS * _COLUMNS, _PATCH * _PATCH)
    return np.stack([(blocks == part).mean(2) * 255 for part in range(len(PARTS))], 2).astype(np.uint8)


def towers(encoder: DualEncoder, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Unit-norm image vectors (B, D) and the patch states of the last block (B, 48, width)."""
    kept: list[Tensor] = []
    hook = encoder.clip.visual.transformer.register_forward_hook(lambda _m, _i, out: kept.append(out))
    vectors = encoder.encode_image(pixels)
    hook.remove()
    return vectors, kept[0][:, 1:]


@torch.inference_mode()
def recall(encoder: DualEncoder, data: Pictures, seed: int = 0) -> dict[str, float]:
    """R@1 and R@10 of plain captions among the pictures of 500 unseen people (one each)."""
    encoder.eval()
    rng = np.random.default_rng(seed)
    rows = np.arange(0, CHUNK, 2)
    captions = [plain_caption(decode(data.chunks[0][1][row]), rng) for row in rows]
    images = torch.cat([encoder.encode_image(data.take(part)[0]) for part in np.array_split(rows, 8)])
    texts = encoder.encode_text(tokenize(captions, 77))
    rank = (texts @ images.T).argsort(1, descending=True).argsort(1).diagonal()
    encoder.train()
    return {"R@1": (rank < 1).float().mean().item(), "R@10": (rank < 10).float().mean().item()}


def train(given: argparse.Namespace) -> None:
    torch.manual_seed(given.seed)
    encoder = DualEncoder(CONFIG)
    heads = AttributeHeads(192, 192, _ROWS * _COLUMNS)
    modules = nn.ModuleDict({"clip": encoder.clip, "heads": heads})
    optimizer = torch.optim.AdamW(modules.parameters(), lr=given.rate, weight_decay=0.05, betas=(0.9, 0.98))
    data, test = Pictures(given.corpus, 0, None), Pictures(given.heldout, 0, 1)
    start = load_checkpoint(given.out, modules, optimizer)
    order = torch.arange(_ROWS * _COLUMNS).view(_ROWS, _COLUMNS).flip(1).reshape(-1)
    clock = time.time()
    for step in range(start, given.steps):
        if step % 100 == 0:
            data.refresh()
        rng = np.random.default_rng([given.seed, step])
        people = rng.choice(len(data) // 2, given.batch, replace=False)
        rows = people * 2 + rng.integers(2, size=given.batch)
        pixels, labels, coverage = data.take(rows)
        if step % 2:
            pixels, coverage = pixels.flip(3), coverage[:, order]
        captions = [plain_caption(decode(label), rng) for label in labels.numpy()]
        rate = given.rate * min((step + 1) / 200, 0.5 * (1 + math.cos(math.pi * step / given.steps)) + 0.01)
        for group in optimizer.param_groups:
            group["lr"] = rate
        images, states = towers(encoder, pixels)
        ids = tokenize(captions, 77)
        ids = ids[:, : int((ids != 0).sum(1).max())]
        texts = encoder.encode_text(ids)
        logits = encoder.clip.logit_scale.exp().clamp(max=100) * texts @ images.T
        goal = torch.arange(len(logits))
        contrast = (F.cross_entropy(logits, goal) + F.cross_entropy(logits.T, goal)) / 2
        seeing = image_loss(heads.image_logits(states), labels)
        seeing = seeing + patch_loss(heads.patch(states), labels, coverage)
        optimizer.zero_grad(set_to_none=True)
        (contrast + given.seeing * seeing).backward()
        nn.utils.clip_grad_norm_(modules.parameters(), 1.0)
        optimizer.step()
        if (step + 1) % 200 == 0 or step + 1 == given.steps:
            row = {
                "step": step + 1,
                "pairs": (step + 1) * given.batch,
                "contrast": round(contrast.item(), 3),
                "seeing": round(seeing.item(), 3),
                **recall(encoder, test),
                "seconds": round(time.time() - clock),
            }
            print(json.dumps(row), flush=True)
            with (given.out / "clip.jsonl").open("a") as log:
                log.write(json.dumps(row) + "\n")
            save_checkpoint(given.out, modules, optimizer, step + 1)
            clock = time.time()
    save_encoder(encoder.half(), given.out / "model")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--heldout", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--batch", type=int, default=96)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--seeing", type=float, default=1.0, help="weight of the attribute heads")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    given.out.mkdir(parents=True, exist_ok=True)
    train(given)


if __name__ == "__main__":
    main()
