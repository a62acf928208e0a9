"""What a converter with too few codes does to a product."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["DEVIATIONS_IN_RANGE", "SAMPLES", "Loss", "loss"]

SAMPLES = 2048
DEVIATIONS_IN_RANGE = 4.0
Loss = tuple[int, float]


def _balanced_digits(values: NDArray[np.int64], radix: int, digits: int) -> NDArray[np.int64]:
    """[..., digit], least significant first."""
    rest, half = values.copy(), (radix - 1) // 2
    found = np.empty((*values.shape, digits), dtype=np.int64)
    for index in range(digits):
        found[..., index] = (rest + half) % radix - half
        rest = (rest - found[..., index]) // radix
    return found


def _bits(values: NDArray[np.int64], bits: int) -> NDArray[np.int64]:
    """Two's complement bits, [..., bit], least significant first."""
    return np.stack([(values >> index) & 1 for index in range(bits)], axis=-1)


@lru_cache(maxsize=256)
def _sums(
    radix: int, digits: int, group: int, streamed_bits: int, resident_bits: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Bitline sums of one group, [sample, digit, bit], and their weights in the product, [digit, bit]."""
    generator = np.random.default_rng((radix, group, streamed_bits, resident_bits))

    def operands(bits: int) -> NDArray[np.int64]:
        most = (1 << (bits - 1)) - 1
        drawn = np.rint(generator.normal(0.0, most / DEVIATIONS_IN_RANGE, (SAMPLES, group)))
        return np.clip(drawn, -most, most).astype(np.int64)

    streamed = _balanced_digits(operands(streamed_bits), radix, digits)
    resident = _bits(operands(resident_bits), resident_bits)
    sums = np.einsum("skd,skb->sdb", streamed, resident)
    columns = 2.0 ** np.arange(resident_bits)
    columns[-1] = -columns[-1]
    weights = float(radix) ** np.arange(digits)[:, None] * columns[None, :]
    return sums, weights


def loss(
    *, radix: int, digits: int, group: int, adc_bits: int, streamed_bits: int = 8, resident_bits: int = 8
) -> Loss:
    """The best step of a converter of ``adc_bits`` for a group, and the error that is left.

    a = clip(round(s / step), ±(2^bits − 1)) · step;  error = rms(Σ bⁱ c_j (a − s)) / rms(Σ bⁱ c_j s)
    returns: (step in unit currents, relative rms error of the product; (1, 0) where nothing is lost)
    Error:   of the estimate: about 1 / √(2 · 2048) = 1.6 % of itself. Operands are normal, four standard
             deviations in the range, independent; groups add errors and products alike, so the ratio holds
             for any inner length.
    """
    most = (1 << adc_bits) - 1
    reach = group * (radix - 1) // 2
    if reach <= most:
        return 1, 0.0
    sums, weights = _sums(radix, digits, group, streamed_bits, resident_bits)
    exact = np.sqrt(np.mean(np.einsum("sdb,db->s", sums, weights) ** 2))
    steps = sorted({max(1, round(-(-reach // most) * share / 16)) for share in range(1, 17)})
    best: Loss = (1, float("inf"))
    for step in steps:
        codes = np.clip(np.rint(sums / step), -most, most) * step
        wrong = np.sqrt(np.mean(np.einsum("sdb,db->s", codes - sums, weights) ** 2))
        if wrong / exact < best[1]:
            best = (step, float(wrong / exact))
    return best
