"""Teachers of a vision tower: what a picture and each of its patches show, attribute by attribute.

They only exist during training. Naming what every patch shows is what makes shapes learnable in minutes
rather than days: a picture gives a hundred lessons instead of twenty.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from demo.models.corpus import NOT_ASKED
from demo.pedestrians.attributes import ATTRIBUTES
from demo.pedestrians.parts import PARTS

#: Parts on which an attribute shows; a patch with enough of them must name the attribute's value.
SHOWS_ON: dict[str, tuple[str, ...]] = {
    "hair_length": ("hair",),
    "hair_colour": ("hair",),
    "upper_type": ("upper",),
    "upper_colour": ("upper", "sleeve"),
    "pattern": ("upper",),
    "sleeves": ("sleeve",),
    "lower_type": ("lower",),
    "lower_colour": ("lower",),
    "shoe_type": ("shoe",),
    "shoe_colour": ("shoe",),
    "bag_type": ("bag",),
    "bag_colour": ("bag",),
    "hat_type": ("hat",),
    "hat_colour": ("hat",),
    "glasses": ("glasses",),
    "scarf": ("scarf",),
    "scarf_colour": ("scarf",),
    "held": ("held",),
    "gender": ("upper", "lower"),
    "action": ("lower", "skin", "sleeve"),
    "logo": (),
}
CLASSES = [len(values) + 1 for values in ATTRIBUTES.values()]  # the last one is "cannot tell"
_ENOUGH = 0.12
SHOWS_ON_ROWS = [(name, [PARTS.index(part) for part in SHOWS_ON[name]]) for name in ATTRIBUTES]


class AttributeHeads(nn.Module):
    """Image tokens (B, T, D) to one row of logits per attribute; patch states (B, P, V) to the same each."""

    def __init__(self, token_width: int, patch_width: int, tokens: int) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.randn(tokens, token_width) * 0.02)
        self.question = nn.Parameter(torch.randn(len(CLASSES), 64) * 0.05)
        self.key = nn.Linear(token_width, 64)
        self.value = nn.Linear(token_width, token_width)
        self.answers = nn.ModuleList(nn.Linear(token_width, count) for count in CLASSES)
        self.patch = nn.Sequential(
            nn.LayerNorm(patch_width), nn.Linear(patch_width, sum(CLASSES) + len(PARTS))
        )

    def image_logits(self, tokens: Tensor) -> list[Tensor]:
        weight = torch.einsum("ad,btd->bat", self.question, self.key(tokens + self.position)) / 8
        pooled = torch.einsum("bat,btd->bad", weight.softmax(-1), self.value(tokens))
        return [answer(pooled[:, index]) for index, answer in enumerate(self.answers)]


def patch_loss(logits: Tensor, labels: Tensor, coverage: Tensor) -> Tensor:
    """Mean over parts and attributes of what each patch should name. ``coverage`` (B, P, parts) in [0, 1]."""
    *per_attribute, parts = logits.split([*CLASSES, len(PARTS)], -1)
    losses = [F.binary_cross_entropy_with_logits(parts, coverage) * 8]
    for index, (_, places) in enumerate(SHOWS_ON_ROWS):
        if not places:
            continue
        covered = coverage[..., places].sum(-1) > _ENOUGH
        label = labels[:, index : index + 1].expand(-1, coverage.shape[1])
        known = covered & (label >= 0) & (label < CLASSES[index] - 1)
        if known.any():
            losses.append(F.cross_entropy(per_attribute[index][known], label[known]))
    return torch.stack(losses).mean()


def image_loss(logits: list[Tensor], labels: Tensor) -> Tensor:
    losses = []
    for index, row in enumerate(logits):
        asked = labels[:, index] != NOT_ASKED
        if asked.any():
            losses.append(F.cross_entropy(row[asked], labels[asked, index]))
    return torch.stack(losses).mean()
