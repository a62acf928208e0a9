"""The six linear layers of a BERT-base block; pure torch, so that a peer's environment can import it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

HIDDEN = 768
INTERMEDIATE = 3072
SEQUENCES, TOKENS = 8, 128


class SixLinears(nn.Module):
    """The linears of one BERT block without attention, norms and activation.

    hidden [..., 768] goes through query, key, value, output and up; intermediate [..., 3072] through down.
    Weights are drawn as BERT initialises them (sd 0.02).
    """

    def __init__(self, hidden: int = HIDDEN, intermediate: int = INTERMEDIATE, seed: int = 0) -> None:
        super().__init__()
        self.query = nn.Linear(hidden, hidden)
        self.key = nn.Linear(hidden, hidden)
        self.value = nn.Linear(hidden, hidden)
        self.output = nn.Linear(hidden, hidden)
        self.up = nn.Linear(hidden, intermediate)
        self.down = nn.Linear(intermediate, hidden)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.normal_(0.0, 0.02, generator=generator)

    def forward(self, hidden: Tensor, intermediate: Tensor) -> tuple[Tensor, ...]:
        """The six products, none of them added to another."""
        return (
            self.query(hidden),
            self.key(hidden),
            self.value(hidden),
            self.output(hidden),
            self.up(hidden),
            self.down(intermediate),
        )


def inputs(model: SixLinears, sequences: int, tokens: int, seed: int = 1) -> tuple[Tensor, Tensor]:
    """What layer norm and GELU hand to the linears: standard normal, and GELU of standard normal."""
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(sequences, tokens, model.query.in_features, generator=generator)
    wide = torch.randn(sequences, tokens, model.down.in_features, generator=generator)
    return hidden, nn.functional.gelu(wide)
