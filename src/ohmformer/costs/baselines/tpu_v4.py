"""Google TPUv4: no published single-chip latency of BERT-Large; a roofline."""

from __future__ import annotations

from ohmformer.costs.baselines.a100 import BATCH_128_UTILISATION, SINGLE_UTILISATION
from ohmformer.costs.baselines.baseline import Baseline
from ohmformer.costs.baselines.roofline import roofline_s
from ohmformer.ir import Program
from ohmformer.specs import Source
from ohmformer.units import GIGA, MM2, TERA

__all__ = ["tpu_v4", "tpu_v4_peak"]

AREA_M2 = 600 * MM2
POWER_W = 170.0
PEAK_OPS = 275 * TERA
BANDWIDTH = 1200 * GIGA
DIE_SOURCE = Source(
    "other work",
    "TPUv4: 7 nm, below 600 mm² (Jouppi et al., ISCA 2023), mean 170 W, 275 int8 TOPS, 1200 GB/s (vendor)",
)
SHARE_SOURCE = Source(
    "ours",
    "no single-chip BERT-Large latency is published: the utilisation of the A100's published runs is taken",
)


def tpu_v4(program: Program) -> Baseline:
    """Roofline at the utilisation that published A100 runs of BERT-Large reach; energy at the mean power."""
    share = BATCH_128_UTILISATION if program.batch >= 128 else SINGLE_UTILISATION
    latency = roofline_s(program, PEAK_OPS, BANDWIDTH, share)
    return Baseline(
        name="tpu_v4",
        title="Google TPUv4",
        basis="model",
        area_m2=AREA_M2,
        latency_s=latency,
        energy_J=POWER_W * latency,
        notes=(
            f"Roofline at {share:.0%} of the peak, the A100's published utilisation: TPUv4 has none.",
            "Energy: 170 W (mean). 7 nm, die taken as 600 mm² (published: below), memory dies not counted.",
        ),
        sources=(DIE_SOURCE, SHARE_SOURCE),
    )


def tpu_v4_peak(program: Program) -> Baseline:
    """The peak rate, which no run reaches: a lower bound of the latency."""
    latency = roofline_s(program, PEAK_OPS, BANDWIDTH, 1.0)
    return Baseline(
        name="tpu_v4_peak",
        title="Google TPUv4, peak",
        basis="peak",
        area_m2=AREA_M2,
        latency_s=latency,
        energy_J=POWER_W * latency,
        notes=("Peak rate or memory bandwidth, whichever is slower, at 170 W.",),
        sources=(DIE_SOURCE,),
    )
