"""What arXiv 2410.15977 claims, as data; nothing here enters a cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ohmformer.specs import Source

__all__ = ["CLAIMS", "Claim"]


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One published figure.

    kind:    ``area_delay`` (mm²·s), ``area_ratio`` and ``energy_ratio`` (other over chip), ``energy_saving``
             (1 − chip over other)
    subject: ``chip``, or the name of the baseline it is about
    upper:   stated as "up to"
    """

    name: str
    text: str
    kind: Literal["area_delay", "area_ratio", "energy_ratio", "energy_saving"]
    subject: str
    value: float
    upper: bool = False

    @property
    def source(self) -> Source:
        """Where it was read."""
        return Source("paper", f"arXiv 2410.15977: {self.text}")


CLAIMS = (
    Claim(
        name="adp_chip",
        text="area-delay product .03 mm²·s on BERT-Large",
        kind="area_delay",
        subject="chip",
        value=0.03,
    ),
    Claim(
        name="adp_tpu_v4",
        text="area-delay product of TPUv4 2.24 mm²·s on BERT-Large",
        kind="area_delay",
        subject="tpu_v4",
        value=2.24,
    ),
    Claim(
        name="adp_a100",
        text="area-delay product of A100 2.04 mm²·s on BERT-Large",
        kind="area_delay",
        subject="a100",
        value=2.04,
    ),
    Claim(
        name="area_single_bit",
        text="area up to 39x below single-bit crossbars",
        kind="area_ratio",
        subject="single_bit_crossbar",
        value=39.0,
        upper=True,
    ),
    Claim(
        name="area_multi_bit",
        text="area up to 6x below multi-bit crossbars",
        kind="area_ratio",
        subject="multi_bit_crossbar",
        value=6.0,
        upper=True,
    ),
    Claim(
        name="energy_multi_bit",
        text="energy up to 18x below multi-bit crossbars",
        kind="energy_ratio",
        subject="multi_bit_crossbar",
        value=18.0,
        upper=True,
    ),
    Claim(
        name="energy_single_bit",
        text="energy up to 3x below single-bit crossbars",
        kind="energy_ratio",
        subject="single_bit_crossbar",
        value=3.0,
        upper=True,
    ),
    Claim(
        name="energy_tpu_v4",
        text="energy 69 % below TPU/GPU",
        kind="energy_saving",
        subject="tpu_v4",
        value=0.69,
    ),
    Claim(
        name="energy_a100",
        text="energy 69 % below TPU/GPU",
        kind="energy_saving",
        subject="a100",
        value=0.69,
    ),
)
