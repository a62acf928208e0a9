"""The alternatives, one file each, all reported as a Baseline."""

from __future__ import annotations

from ohmformer.costs.baselines.a100 import a100, a100_peak
from ohmformer.costs.baselines.baseline import Baseline
from ohmformer.costs.baselines.digital_mac import digital_mac, digital_mac_dense, digital_mac_sram
from ohmformer.costs.baselines.isaac import isaac
from ohmformer.costs.baselines.multi_bit_crossbar import multi_bit_crossbar
from ohmformer.costs.baselines.pipelayer import pipelayer
from ohmformer.costs.baselines.prime import prime
from ohmformer.costs.baselines.single_bit_crossbar import single_bit_crossbar
from ohmformer.costs.baselines.tpu_v4 import tpu_v4, tpu_v4_peak
from ohmformer.costs.baselines.vesti import vesti

__all__ = [
    "Baseline",
    "a100",
    "a100_peak",
    "digital_mac",
    "digital_mac_dense",
    "digital_mac_sram",
    "isaac",
    "multi_bit_crossbar",
    "pipelayer",
    "prime",
    "single_bit_crossbar",
    "tpu_v4",
    "tpu_v4_peak",
    "vesti",
]
