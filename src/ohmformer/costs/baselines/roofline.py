"""Latency of a processor from its peak rate and its memory bandwidth."""

from __future__ import annotations

from ohmformer.errors import UserError
from ohmformer.ir import Program

__all__ = ["BERT_LARGE_GMAC", "is_bert_large", "roofline_s"]

# multiply-accumulates of one sequence: 24 layers of hidden 1024, feed-forward 4096, 16 heads
BERT_LARGE_GMAC = {128: 39.46, 384: 123.21, 512: 167.50}


def is_bert_large(program: Program, tokens: int) -> bool:
    """Whether ``program`` does the work of BERT-Large at ``tokens`` tokens, within 2 %."""
    if program.tokens != tokens:
        return False
    return abs(program.macs / program.batch / (BERT_LARGE_GMAC[tokens] * 1e9) - 1) < 0.02


def roofline_s(program: Program, peak_ops_per_s: float, bytes_per_s: float, utilisation: float) -> float:
    """The longer of 2 · macs / (peak · utilisation) and weight bytes / bandwidth (one byte a weight)."""
    if not 0 < utilisation <= 1:
        raise UserError(f"The utilisation is {utilisation!r}: it must be above 0 and at most 1.")
    weights = sum(p.resident_elements for p in program.products() if p.resident == "weight")
    return max(2 * program.macs / (peak_ops_per_s * utilisation), weights / bytes_per_s)
