"""The teacher of single claims: what a text claims, what the picture shows there, and whether both agree.

A verdict on a whole description is one bit about up to eight claims; from that alone a model hardly learns
which of them failed. So every claim is supervised where it ends, in the order in which it must be worked out:
after the first layer what the words claim, after the second what the picture shows of that attribute, after
the third whether both agree. It only exists during training.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from demo.models.attribute_heads import CLASSES

_CLAIMED, _SHOWN, _AGREES = 0, 1, 2  # layers
_ATTRIBUTE = torch.arange(len(CLASSES)).repeat_interleave(torch.tensor(CLASSES))


class ClaimProbe(nn.Module):
    """Linear readings of the language side's states at the tokens in which claims end."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.claimed = nn.Linear(width, sum(CLASSES))
        self.shown = nn.Linear(width, sum(CLASSES))
        self.agrees = nn.Linear(width, 1)

    def forward(self, states: list[Tensor], claims: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Mean cross-entropies of agreement, of what is claimed and of what is shown.

        ``states`` (B, L, D) of every layer; ``claims`` int64 (C, 3): row, place, truth; ``values`` int64
        (V, 4): row, place, and the numbers of the value claimed and of the one shown, over all attributes'
        values. What is shown is chosen among the values of the claimed attribute.
        """
        row, place, holds = claims.unbind(1)
        agrees = self.agrees(states[_AGREES][row, place]).squeeze(-1).float()
        row, place, claimed, shown = values.unbind(1)
        other = _ATTRIBUTE != _ATTRIBUTE[claimed].unsqueeze(1)
        logits = self.shown(states[_SHOWN][row, place]).float().masked_fill(other, -torch.inf)
        return (
            F.binary_cross_entropy_with_logits(agrees, holds.float()),
            F.cross_entropy(self.claimed(states[_CLAIMED][row, place]).float(), claimed),
            F.cross_entropy(logits, shown),
        )
