"""NVIDIA A100: published BERT-Large latencies, else a roofline at the utilisation they imply."""

from __future__ import annotations

from ohmformer.costs.baselines.baseline import Baseline
from ohmformer.costs.baselines.roofline import BERT_LARGE_GMAC, is_bert_large, roofline_s
from ohmformer.ir import Program
from ohmformer.specs import Source
from ohmformer.units import GIGA, MILLI, MM2, TERA

__all__ = ["BATCH_128_UTILISATION", "SINGLE_UTILISATION", "a100", "a100_peak"]

AREA_M2 = 826 * MM2
POWER_W = 400.0
PEAK_OPS = 624 * TERA
BANDWIDTH = 1555 * GIGA
DIE_SOURCE = Source("other work", "A100-SXM: 7 nm, 826 mm², 400 W, 624 int8 TOPS, 1555 GB/s (vendor)")
LATENCY_SOURCE = Source(
    "other work",
    "NVIDIA TensorRT demo/BERT README, A100-40G, BERT-Large INT8: batch 1 1.25 ms at 128 tokens, "
    "2.81 ms at 384; batch 128 25.45 and 89.0 ms",
)
# (batch, tokens): seconds
_PUBLISHED = {
    (1, 128): 1.25 * MILLI,
    (1, 384): 2.81 * MILLI,
    (128, 128): 25.45 * MILLI,
    (128, 384): 89.0 * MILLI,
}


def _utilisation(batch: int, tokens: int) -> float:
    return 2 * BERT_LARGE_GMAC[tokens] * GIGA * batch / _PUBLISHED[batch, tokens] / PEAK_OPS


SINGLE_UTILISATION = _utilisation(1, 384)
BATCH_128_UTILISATION = _utilisation(128, 384)


def a100(program: Program) -> Baseline:
    """The published latency of BERT-Large (128 or 384 tokens, batch 1 or 128), else a roofline.

    The roofline's utilisation is that published at 384 tokens: 14 % below batch 128, 57 % from there.
    Energy: the board's 400 W for the whole latency, an upper bound.
    """
    key = (program.batch, program.tokens)
    if key in _PUBLISHED and is_bert_large(program, program.tokens):
        latency, basis = _PUBLISHED[key], "published"
        note = f"Published latency of BERT-Large at batch {key[0]}, {key[1]} tokens."
    else:
        share = BATCH_128_UTILISATION if program.batch >= 128 else SINGLE_UTILISATION
        latency, basis = roofline_s(program, PEAK_OPS, BANDWIDTH, share), "model"
        note = f"Roofline at {share:.0%} of the int8 peak, the utilisation of the published BERT-Large runs."
    return Baseline(
        name="a100",
        title="NVIDIA A100",
        basis="published" if basis == "published" else "model",
        area_m2=AREA_M2,
        latency_s=latency,
        energy_J=POWER_W * latency,
        notes=(note, "Energy: 400 W (maximum) for the whole latency. 7 nm, memory dies not counted."),
        sources=(DIE_SOURCE, LATENCY_SOURCE),
    )


def a100_peak(program: Program) -> Baseline:
    """The peak rate, which no run reaches: a lower bound of the latency."""
    latency = roofline_s(program, PEAK_OPS, BANDWIDTH, 1.0)
    return Baseline(
        name="a100_peak",
        title="NVIDIA A100, peak",
        basis="peak",
        area_m2=AREA_M2,
        latency_s=latency,
        energy_J=POWER_W * latency,
        notes=("Peak int8 rate or memory bandwidth, whichever is slower, at 400 W.",),
        sources=(DIE_SOURCE,),
    )
