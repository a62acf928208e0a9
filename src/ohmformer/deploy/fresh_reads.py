"""Reads of numbers from freshly programmed dense cells, by the level-confusion matrix alone."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ohmformer.devices import confusion_matrix
from ohmformer.numerals import from_symbols, symbols_per_value, to_symbols
from ohmformer.specs import DenseSpec

__all__ = ["FreshReads"]

GROUP_BITS = 8  # symbols are drawn together up to so many bits
FINENESS = 1 << 24  # a float32 uniform deviate is a multiple of 1/FINENESS
BELOW_ONE = 1 - 2.0**-40  # keeps (row + deviate) inside its row in float64


@dataclass(frozen=True, kw_only=True)
class _Group:
    """Neighbouring symbols of a number, drawn as one.

    level_of: [code + 2^(bits-1)], which combination of levels the group of a code holds, int64
    wrong:    [level], probability that any of its symbols is read wrong, float64
    limit:    [code + 2^(bits-1)], ``wrong`` of the code, raised to a multiple of 1/FINENESS, float32
    keep:     [level], wrong / limit: what thinning the raised probability leaves
    rungs:    [level * level], level + cumulative probability of what is read instead, ascending, float64
    value:    [level], contribution to the number, float32
    """

    level_of: Tensor
    wrong: Tensor
    limit: Tensor
    keep: Tensor
    rungs: Tensor
    value: Tensor


class FreshReads:
    """How numbers of ``bits`` bits come back from cells that are programmed anew for every read.

    P(read r | stored v) of each symbol is ``devices.confusion_matrix``; symbols err independently. It is the
    law of one read of one cell over chips; a chip that is kept reads its own badly written cells
    wrong again and again, which is what a model trained on this must bear but must not learn.

    cell_bits: bits of a cell here, if fewer than the spec's (vectors)
    Error:     deviates are rounded to 2^-40, so a probability is off by at most that share.
    """

    def __init__(self, bits: int, dense: DenseSpec, cell_bits: int | None = None) -> None:
        cell = replace(dense.cell, bits=cell_bits or dense.cell.bits)
        self.bits = bits
        self.offset = 1 << (bits - 1)
        confusion = confusion_matrix(cell).clamp_min(0.0)
        codes = torch.arange(-self.offset, self.offset)
        symbols = to_symbols(codes, bits, cell.bits, dense.weight_code, dense.gray).long()
        count, per_group = symbols_per_value(bits, cell.bits), max(1, GROUP_BITS // cell.bits)
        self._groups: list[_Group] = []
        for first in range(0, count, per_group):
            places = range(first, min(first + per_group, count))
            joint, level, value = torch.ones(1, 1, dtype=torch.float64), torch.zeros_like(codes), None
            for order, index in enumerate(places):
                joint = torch.kron(confusion, joint)
                level = level + symbols[:, index] * cell.levels**order
                words = torch.zeros(cell.levels, count, dtype=torch.uint8)
                words[:, index] = torch.arange(cell.levels)
                own = from_symbols(words, bits, cell.bits, dense.weight_code, dense.gray).double()
                own = own - own[0]
                value = own if value is None else (own[:, None] + value[None, :]).reshape(-1)
            assert value is not None  # a number has at least one symbol
            self._groups.append(_group(joint, level, value))

    def read(self, codes: Tensor, generator: torch.Generator) -> Tensor:
        """One read of each number from cells of its own.

        codes:   [...], whole numbers of ``bits`` bits in a floating dtype
        returns: [...], the same dtype; ``codes`` itself where nothing was read wrong
        """
        flat = codes.reshape(-1)
        index: Tensor | None = None
        read: Tensor | None = None
        for group in self._groups:
            if float(group.limit.max()) == 0:
                continue
            if index is None:
                index = (flat + self.offset).to(torch.int32)
            toss = torch.rand(flat.shape, generator=generator)
            hit = (toss < group.limit.index_select(0, index)).nonzero().squeeze(-1)
            level = group.level_of[index[hit].long()]
            thin = torch.rand(hit.shape, generator=generator, dtype=torch.float64)
            kept = thin < group.keep[level]
            hit, level = hit[kept], level[kept]
            if not len(hit):
                continue
            toss = torch.rand(hit.shape, generator=generator, dtype=torch.float64).clamp_max_(BELOW_ONE)
            instead = torch.searchsorted(group.rungs, level + toss, right=True) - level * len(group.wrong)
            read = flat.clone() if read is None else read
            read[hit] += (group.value[instead] - group.value[level]).to(read.dtype)
        return codes if read is None else read.reshape(codes.shape)


def _group(joint: Tensor, level_of: Tensor, value: Tensor) -> _Group:
    """joint: [level, level], stored by read; level_of: [code]; value: [level]."""
    instead = joint - torch.diag(joint.diagonal())
    wrong = instead.sum(-1)
    raised = torch.ceil(wrong * FINENESS) / FINENESS
    rungs = instead.cumsum(-1)
    rungs = rungs / torch.where(wrong > 0, rungs[:, -1], 1.0).unsqueeze(-1)
    return _Group(
        level_of=level_of,
        wrong=wrong,
        limit=raised.float()[level_of],
        keep=wrong / torch.where(raised > 0, raised, 1.0),
        rungs=(rungs + torch.arange(len(wrong), dtype=torch.float64).unsqueeze(-1)).reshape(-1),
        value=value.float(),
    )
