"""Second lesson of the small Qwen2-VL: its language side learns to say what the vision tower sees.

The tower from ``train_vision`` is frozen, so every picture's 27 image tokens are computed once. Beside the
words to say, the claims of a description that is being judged are supervised one by one (``claim_probe``).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast, Qwen2VLForConditionalGeneration

from demo.models.architecture import build_model, build_tokenizer, save
from demo.models.chat import ChatEncoder
from demo.models.checkpoint import load_checkpoint, save_checkpoint
from demo.models.claim_probe import ClaimProbe
from demo.models.conversations import Lesson, Script, Teacher
from demo.models.corpus import decode
from demo.models.fixed_grid import patchify, vision_tokens
from demo.models.prepared import Prepared
from demo.models.text_states import branch_mask, text_states

LOSSES = ("answer", "judge", "claim", "claimed", "shown")


def load_tower(model: Qwen2VLForConditionalGeneration, vision: Path) -> None:
    """Fill the vision tower from the last checkpoint of ``train_vision``."""
    stored = load_file(vision / "checkpoint" / "model.safetensors")
    tower = {k.removeprefix("visual."): v for k, v in stored.items() if k.startswith("visual.")}
    model.model.visual.load_state_dict(tower)


def looked(model: Qwen2VLForConditionalGeneration, data: Prepared, kept: Path) -> Tensor:
    """``look``, kept in ``kept`` under the tower's digest, so that a continued run need not look again."""
    digest = hashlib.sha256()
    for tensor in model.model.visual.state_dict().values():
        digest.update(tensor.numpy().tobytes())
    path = kept / f"images-{digest.hexdigest()[:16]}-{len(data)}.safetensors"
    if not path.exists():
        for old in kept.glob("images-*.safetensors"):
            old.unlink()
        temporary = path.with_suffix(".tmp")
        save_file({"images": look(model, data)}, temporary)
        os.replace(temporary, path)
    return load_file(path)["images"]


@torch.inference_mode()
def look(model: Qwen2VLForConditionalGeneration, data: Prepared, batch: int = 64) -> Tensor:
    """The image tokens of all pictures, float16 (N, 27, D)."""
    rows = []
    for start in range(0, len(data), batch):
        pixels, _, _ = data.take(torch.arange(start, min(start + batch, len(data))))
        rows.append(vision_tokens(model, patchify(pixels)).half())
    return torch.cat(rows)


class Classroom:
    """Draws lessons about random pictures; picture 2i and 2i+1 of the corpus show the same person."""

    def __init__(self, teacher: Teacher, labels: NDArray[np.int64]) -> None:
        self.teacher = teacher
        self.labels = labels

    def lesson(self, picture: int, rng: np.random.Generator) -> Lesson:
        other = int(rng.integers(len(self.labels)))
        visible, also, stranger = (decode(self.labels[row]) for row in (picture, picture ^ 1, other))
        return self.teacher.lesson(visible, also, stranger, rng)


def collate(lessons: list[Lesson], pad: int) -> dict[str, Tensor]:
    """Right-padded tensors of a batch of lessons."""
    longest = max(len(lesson.ids) for lesson in lessons)
    size = (len(lessons), longest)
    ids, target = torch.full(size, pad), torch.full(size, -100)
    branch, verdict = torch.zeros(size, dtype=torch.long), torch.zeros(size, dtype=torch.bool)
    positions = torch.zeros(3, *size, dtype=torch.long)
    claims, values = [], []
    for row, lesson in enumerate(lessons):
        length = len(lesson.ids)
        ids[row, :length] = torch.tensor(lesson.ids)
        target[row, :length] = torch.tensor(lesson.target)
        branch[row, :length] = torch.tensor(lesson.branch)
        verdict[row, :length] = torch.tensor(lesson.verdict)
        positions[:, row, :length] = torch.from_numpy(np.concatenate(lesson.positions, 1))
        claims += [(row, *claim) for claim in lesson.claims]
        values += [(row, *value) for value in lesson.values]
    lengths = torch.tensor([len(lesson.ids) for lesson in lessons])
    return {"ids": ids, "target": target, "branch": branch, "verdict": verdict, "positions": positions,
            "lengths": lengths, "claims": torch.tensor(claims), "values": torch.tensor(values)}  # fmt: skip


def losses(
    model: Qwen2VLForConditionalGeneration, probe: ClaimProbe, batch: dict[str, Tensor], images: Tensor
) -> tuple[Tensor, ...]:
    """Mean cross-entropies in the order of ``LOSSES``. ``images`` (B, 27, D)."""
    x = model.model.language_model.embed_tokens(batch["ids"])
    pads = batch["ids"] == model.config.image_token_id
    x = x.masked_scatter(pads.unsqueeze(-1), images.float())
    states = text_states(model, x, batch["positions"], branch_mask(batch["branch"], batch["lengths"]))
    said = batch["target"] != -100
    logits = model.lm_head(states[-1][said]).float()
    loss = F.cross_entropy(logits, batch["target"][said], reduction="none")
    verdict = batch["verdict"][said]
    return loss[~verdict].mean(), loss[verdict].mean(), *probe(states, batch["claims"], batch["values"])


def train(given: argparse.Namespace) -> None:
    torch.manual_seed(given.seed)
    data = Prepared(given.corpus)
    labels = data.labels()
    tokenizer = _tokenizer(given.out, labels)
    model = build_model(len(tokenizer))
    load_tower(model, given.vision)
    images = looked(model, data, given.out)
    print(json.dumps({"pictures": len(images), "vocabulary": len(tokenizer)}), flush=True)
    teacher = Teacher(ChatEncoder(tokenizer))
    classroom = Classroom(teacher, labels)
    width = model.config.text_config.hidden_size
    probe = ClaimProbe(width)
    modules = nn.ModuleDict({"text": model.model.language_model, "probe": probe})
    optimizer = torch.optim.AdamW(modules.parameters(), lr=given.rate, weight_decay=0.02, betas=(0.9, 0.98))
    start = load_checkpoint(given.out, modules, optimizer)
    pad = int(tokenizer.pad_token_id)
    clock = time.time()
    kept: list[list[float]] = []
    for step in range(start, given.steps):
        rng = np.random.default_rng([given.seed, step])
        rows = rng.integers(len(images), size=given.batch)
        batch = collate([classroom.lesson(int(row), rng) for row in rows], pad)
        rate = given.rate * min((step + 1) / 60, 0.5 * (1 + math.cos(math.pi * step / given.steps)) + 0.01)
        for group in optimizer.param_groups:
            group["lr"] = rate
        with torch.autocast("cpu", torch.bfloat16, enabled=given.bf16):
            each = torch.stack(losses(model, probe, batch, images[rows]))
        optimizer.zero_grad(set_to_none=True)
        each.sum().backward()
        nn.utils.clip_grad_norm_(modules.parameters(), 1.0)
        optimizer.step()
        kept.append(each.tolist())
        if (step + 1) % 100 == 0 or step + 1 == given.steps:
            means = np.mean(kept, 0).round(4).tolist()
            row = dict(zip(LOSSES, means, strict=True))
            row |= {
                "step": step + 1,
                "lessons": (step + 1) * given.batch,
                "seconds": round(time.time() - clock, 1),
            }
            print(json.dumps(row), flush=True)
            with (given.out / "language.jsonl").open("a") as log:
                log.write(json.dumps(row) + "\n")
            save_checkpoint(given.out, modules, optimizer, step + 1)
            kept, clock = [], time.time()
    save(given.out / "model", model.half(), tokenizer)


def _tokenizer(out: Path, labels: NDArray[np.int64]) -> PreTrainedTokenizerFast:
    """The tokenizer, learnt once from the texts of lessons and kept beside the checkpoint."""
    kept = out / "tokenizer"
    if kept.exists():
        return PreTrainedTokenizerFast.from_pretrained(kept)
    rng = np.random.default_rng(0)
    script = Script()
    texts = [text for row in labels[:4000] for text in script.texts(decode(row), rng)]
    tokenizer = build_tokenizer(texts, 1024)
    tokenizer.save_pretrained(kept)
    return tokenizer


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--vision", type=Path, required=True, help="folder that train_vision wrote")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--batch", type=int, default=12)
    parser.add_argument("--rate", type=float, default=1.5e-3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--bf16", action="store_true", help="compute in bfloat16: faster on CPUs that have AVX512-BF16"
    )
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    given.out.mkdir(parents=True, exist_ok=True)
    train(given)


if __name__ == "__main__":
    main()
