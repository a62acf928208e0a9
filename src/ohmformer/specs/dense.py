"""The dense crossbar: memristor cells that hold weights and are read like memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ohmformer.specs.checks import (
    refuse,
    require_between,
    require_choice,
    require_count,
    require_flag,
    require_positive,
)

WeightCode = Literal["offset_binary", "twos_complement"]

MAX_CELL_BITS = 4
MAX_SECDED_DATA_BITS = 1024


@dataclass(frozen=True, kw_only=True)
class CellNoiseSpec:
    """What disturbs one dense cell.

    programming_noise:   sd of the conductance after a write, share of g_max - g_min (fixed until rewritten)
    telegraph_at_g_max:  ΔR/R of the two-state telegraph noise at the lowest resistance
    telegraph_at_g_min:  ΔR/R at the highest resistance; between the two ΔR/R = αR^β
    telegraph_limit:     largest ΔR/R before scaling
    telegraph_occupancy: probability that a read meets the trap filled (high resistance)
    telegraph_scale:     factor on ΔR/R; 1 is the published amplitude, 0 switches it off
    environment_noise:   sd per read, share of the cell's own current
    read_noise:          sd per read, share of the range g_max - g_min (sense path)
    drift_exponent:      ν of g(t) = g(t0)·(t/t0)^−ν
    drift_time_ratio:    t/t0 at which the chip is read; 1 is freshly programmed
    stuck_low_rate, stuck_high_rate: share of cells fixed at g_min, g_max
    """

    programming_noise: float
    telegraph_at_g_max: float
    telegraph_at_g_min: float
    telegraph_limit: float
    telegraph_occupancy: float
    telegraph_scale: float
    environment_noise: float
    read_noise: float
    drift_exponent: float
    drift_time_ratio: float
    stuck_low_rate: float
    stuck_high_rate: float

    def __post_init__(self) -> None:
        require_between(self, 0, 1, "programming_noise", "environment_noise", "read_noise")
        require_between(self, 0, 10, "telegraph_at_g_max", "telegraph_at_g_min", "telegraph_limit")
        require_between(self, 0, 1, "telegraph_occupancy", "stuck_low_rate", "stuck_high_rate")
        require_between(self, 0, 1000, "telegraph_scale")
        require_between(self, 0, 1, "drift_exponent")
        require_between(self, 1, 1e12, "drift_time_ratio")
        if (self.telegraph_at_g_max == 0) != (self.telegraph_at_g_min == 0):
            refuse(self, "telegraph_at_g_max", "both telegraph anchors must be above 0, or both 0")
        if self.stuck_low_rate + self.stuck_high_rate > 1:
            refuse(self, "stuck_low_rate", "the two stuck rates together must not exceed 1")


@dataclass(frozen=True, kw_only=True)
class DenseCellSpec:
    """One memristor cell with 2^bits levels, equally spaced in conductance from g_min_S to g_max_S."""

    bits: int
    g_min_S: float
    g_max_S: float
    area_F2: float
    endurance_writes: float
    write_energy_J: float
    write_time_s: float
    noise: CellNoiseSpec

    def __post_init__(self) -> None:
        require_count(self, 1, MAX_CELL_BITS, "bits")
        require_positive(self, "g_min_S", "g_max_S", "area_F2", "endurance_writes")
        require_positive(self, "write_energy_J", "write_time_s")
        if self.g_min_S >= self.g_max_S:
            refuse(self, "g_min_S", f"it must be below g_max_S = {self.g_max_S!r}")

    @property
    def levels(self) -> int:
        """Number of conductance levels, 2^bits."""
        return 1 << self.bits


@dataclass(frozen=True, kw_only=True)
class DenseSpec:
    """One bank of the dense crossbar: one wordline is read at a time, each bitline senses one cell.

    wordlines, bitlines: size of the bank
    adc_bits:            resolution of the read-out; must tell the cell's levels apart
    bitlines_per_adc:    bitlines that share one read-out converter
    adc_rate_Hz:         conversions per second of one converter
    read_voltage_V:      voltage on the selected wordline
    wordline_time_s:     time to select a wordline and let the bitlines settle
    weight_code:         how a signed weight becomes symbols; least significant symbol first
    gray:                levels are numbered in Gray code
    vector_cell_bits:    bits of a cell where vectors lie (biases, norm weights); at most those of the cell,
                         1 uses only the two outer levels
    secded_data_bits:    data bits of a word protected by an extended Hamming code (single errors corrected,
                         double ones detected; check cells lie beside the data); 0 stores no check bits
    """

    wordlines: int
    bitlines: int
    adc_bits: int
    bitlines_per_adc: int
    adc_rate_Hz: float
    read_voltage_V: float
    wordline_time_s: float
    weight_code: WeightCode
    gray: bool
    vector_cell_bits: int
    secded_data_bits: int
    cell: DenseCellSpec

    def __post_init__(self) -> None:
        require_count(self, 1, 1 << 20, "wordlines", "bitlines")
        require_count(self, 1, 12, "adc_bits")
        require_count(self, 1, self.bitlines, "bitlines_per_adc")
        require_positive(self, "adc_rate_Hz", "read_voltage_V", "wordline_time_s")
        require_between(self, 0, 5, "read_voltage_V")
        require_choice(self, ("offset_binary", "twos_complement"), "weight_code")
        require_flag(self, "gray")
        require_count(self, 1, MAX_CELL_BITS, "vector_cell_bits")
        require_count(self, 0, MAX_SECDED_DATA_BITS, "secded_data_bits")
        if self.adc_bits < self.cell.bits:
            refuse(
                self, "adc_bits", f"telling {self.cell.levels} levels apart needs at least {self.cell.bits}"
            )

    @property
    def cells(self) -> int:
        """Cells of one bank."""
        return self.wordlines * self.bitlines

    @property
    def vector_bits_per_cell(self) -> int:
        """Bits of a cell where vectors lie."""
        return min(self.vector_cell_bits, self.cell.bits)

    @property
    def adc_count(self) -> int:
        """Read-out converters of one bank."""
        return -(-self.bitlines // self.bitlines_per_adc)
