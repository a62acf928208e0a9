"""What an area-delay product of a processor says about how it was run: batch, length, utilisation, energy."""

from __future__ import annotations

from dataclasses import dataclass

from ohmformer.costs.baselines.a100 import AREA_M2 as A100_AREA_M2
from ohmformer.costs.baselines.a100 import LATENCY_SOURCE as A100_LATENCY_SOURCE
from ohmformer.costs.baselines.a100 import SINGLE_UTILISATION
from ohmformer.costs.baselines.tpu_v4 import AREA_M2 as TPU_AREA_M2
from ohmformer.costs.baselines.tpu_v4 import SHARE_SOURCE as TPU_LATENCY_SOURCE
from ohmformer.errors import UserError
from ohmformer.specs import Source
from ohmformer.units import MILLI, MM2, TERA

__all__ = ["PROCESSORS", "Implied", "Processor", "bert_large_macs", "implied"]

LAYERS, HIDDEN = 24, 1024


def bert_large_macs(tokens: float) -> float:
    """Multiply-accumulates of BERT-Large's layers: 24 · (12 · 1024² · S + 2 · 1024 · S²)."""
    return LAYERS * (12 * HIDDEN**2 * tokens + 2 * HIDDEN * tokens**2)


@dataclass(frozen=True, kw_only=True)
class Processor:
    """A processor with what is published about BERT-Large on it.

    peaks:      operations per second by arithmetic; powers: W by what they are
    latencies:  by arithmetic, (batch, tokens): s; empty where none is published
    share:      of the first peak that is taken where no latency is published
    """

    name: str
    title: str
    area_m2: float
    peaks: dict[str, float]
    powers: dict[str, float]
    latencies: dict[str, dict[tuple[int, int], float]]
    share: float
    source: Source


PROCESSORS = (
    Processor(
        name="tpu_v4",
        title="TPUv4",
        area_m2=TPU_AREA_M2,
        peaks={"int8 or bf16": 275 * TERA},
        powers={"least": 90.0, "mean": 170.0, "most": 192.0},
        latencies={},
        share=SINGLE_UTILISATION,
        source=TPU_LATENCY_SOURCE,
    ),
    Processor(
        name="a100",
        title="A100",
        area_m2=A100_AREA_M2,
        peaks={"int8": 624 * TERA, "bf16": 312 * TERA},
        powers={"most": 400.0},
        latencies={
            "int8": {
                (1, 128): 1.25 * MILLI,
                (1, 384): 2.81 * MILLI,
                (128, 128): 25.45 * MILLI,
                (128, 384): 89.0 * MILLI,
            },
            "fp16": {(1, 128): 1.64 * MILLI, (1, 384): 3.12 * MILLI},
        },
        share=SINGLE_UTILISATION,
        source=A100_LATENCY_SOURCE,
    ),
)


@dataclass(frozen=True, kw_only=True)
class Implied:
    """What ``area_delay_mm2_s`` on a die implies.

    latency_s:          area-delay product over die area
    tokens:             of one sequence that takes so long, by arithmetic: interpolated between published
                        latencies, or at the stated share of the peak where none is published; None outside
    batch_at:           sequences of 128 and 384 tokens that together take so long, interpolated between
                        batch 1 and 128; None where one alone takes longer or nothing is published
    tops_at, share_at:  operations per second, and share of each peak, of one sequence of 128, 384, 512 tokens
    energy_J:           at each stated power
    chip_energy_J:      of the chip, were it ``saving`` below each of these
    chip_power_density_W_per_mm2: that energy over ``chip_area_delay_mm2_s``
    """

    processor: str
    area_delay_mm2_s: float
    area_m2: float
    latency_s: float
    tokens: dict[str, float | None]
    batch_at: dict[int, float | None]
    tops_at: dict[int, float]
    share_at: dict[int, dict[str, float]]
    energy_J: dict[str, float]
    chip_energy_J: dict[str, float]
    chip_power_density_W_per_mm2: dict[str, float]


def _between(points: list[tuple[float, float]], target: float) -> float | None:
    """The x at which the line through the two ``points`` has y = target; None outside of them."""
    (x0, y0), (x1, y1) = points
    share = (target - y0) / (y1 - y0)
    return x0 + share * (x1 - x0) if 0 <= share <= 1 else None


def _tokens_at_share(latency_s: float, ops_per_s: float) -> float | None:
    """Tokens whose operations take ``latency_s``: the positive root of 2 · macs(S) = ops; None above 512."""
    budget = latency_s * ops_per_s / 2 / LAYERS / HIDDEN
    linear = 12 * HIDDEN
    tokens = (-linear + (linear**2 + 8 * budget) ** 0.5) / 4
    return tokens if tokens <= 512 else None


def implied(name: str, area_delay_mm2_s: float, *, chip_area_delay_mm2_s: float, saving: float) -> Implied:
    """What the area-delay product of the processor ``name`` on BERT-Large implies.

    Error: linear interpolation between two published points; the time of a sequence grows a little faster.
    """
    found = [processor for processor in PROCESSORS if processor.name == name]
    if not found:
        raise UserError(f"There is no processor {name!r}: known are tpu_v4 and a100.")
    (own,) = found
    latency = area_delay_mm2_s / (own.area_m2 / MM2)
    tokens: dict[str, float | None] = {}
    for arithmetic, points in own.latencies.items():
        tokens[arithmetic] = _between([(length, points[1, length]) for length in (128, 384)], latency)
    if not own.latencies:
        arithmetic, peak = next(iter(own.peaks.items()))
        tokens[f"{arithmetic} at {own.share:.0%} of the peak"] = _tokens_at_share(latency, peak * own.share)
    batches: dict[int, float | None] = {}
    for length in (128, 384):
        published = own.latencies.get("int8")
        batches[length] = (
            _between([(batch, published[batch, length]) for batch in (1, 128)], latency)
            if published
            else None
        )
    rates = {length: 2 * bert_large_macs(length) / latency for length in (128, 384, 512)}
    energy = {what: watts * latency for what, watts in own.powers.items()}
    saved = {what: (1 - saving) * joule for what, joule in energy.items()}
    return Implied(
        processor=own.title,
        area_delay_mm2_s=area_delay_mm2_s,
        area_m2=own.area_m2,
        latency_s=latency,
        tokens=tokens,
        batch_at=batches,
        tops_at={length: rate / TERA for length, rate in rates.items()},
        share_at={
            length: {arithmetic: rate / peak for arithmetic, peak in own.peaks.items()}
            for length, rate in rates.items()
        },
        energy_J=energy,
        chip_energy_J=saved,
        chip_power_density_W_per_mm2={what: joule / chip_area_delay_mm2_s for what, joule in saved.items()},
    )
