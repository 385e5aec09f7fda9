"""Token selection embedding (TSE): the tokens that the global token looks at, as one vector."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ctgi.encoders.dual import rows
from ctgi.encoders.token_norm import TokenNorm

EPSILON = 1e-8


class TokenSelection(nn.Module):
    """TSE for one side: choose, normalise, y = MLP(x) + FC(x), maximum over the chosen tokens.

    Source: RDE (Qin et al., CVPR 2024), Sec. 3.2, with the layers of the published code: MLP = Linear,
    batch norm, ReLU, Linear. Without the layers that its code creates and never uses.
    """

    lr_role = "rde_new"

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.first = nn.Linear(dim, width // 2)
        self.norm = TokenNorm(width // 2)
        self.second = nn.Linear(width // 2, width)
        self.short = nn.Linear(dim, width)

    def forward(self, tokens: Tensor, attention: Tensor, count: Tensor, most: int) -> Tensor:
        """tokens (B, N, dim), attention float32 (B, N), to float32 (B, width), not of unit norm.

        Of row b the count[b] >= 1 tokens with the highest attention are taken, int64 (B,), at most `most`.
        Tokens that must not be chosen have attention -1 and are not counted.
        """
        order = attention.argsort(dim=1, descending=True)[:, :most]
        valid = torch.arange(order.shape[1], device=order.device) < count.unsqueeze(1)
        x = tokens[rows(tokens).unsqueeze(1), order].float()
        x = x / (x.norm(dim=-1, keepdim=True) + EPSILON)
        y: Tensor = self.second(self.norm(self.first(x), valid).relu()) + self.short(x)
        y = y.float().masked_fill(~valid.unsqueeze(-1), -torch.inf)
        return y.amax(dim=1)
