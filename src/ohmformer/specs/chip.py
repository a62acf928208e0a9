"""The whole chip: dense crossbar, computation crossbars, function units, buffer, precision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ohmformer.specs.checks import (
    SpecError,
    refuse,
    require_between,
    require_choice,
    require_count,
    require_positive,
)
from ohmformer.specs.dense import DenseSpec
from ohmformer.specs.tile import TileSpec

ActivationScale = Literal["per_token", "per_tensor"]
IntermediateHome = Literal["sram", "dense"]
LinkKind = Literal["package", "board"]


@dataclass(frozen=True, kw_only=True)
class PrecisionSpec:
    """Bits of the operands; both are quantised symmetrically.

    weight_bits:      one scale per output channel
    activation_bits:  streamed activations, and resident ones (one scale per stored vector)
    activation_scale: ``per_token`` (one scale per row, found on the fly) or ``per_tensor``
    vector_bits:      stored numbers that are no operand of a product: biases, norm weights, position tables
    outliers:         largest elements of a streamed row that are sent in a pass of their own, with a scale of
                      their own; 0: none. Needs ``per_token``.
    """

    weight_bits: int
    activation_bits: int
    activation_scale: ActivationScale
    vector_bits: int
    outliers: int = 0

    def __post_init__(self) -> None:
        require_count(self, 2, 16, "weight_bits", "activation_bits", "vector_bits")
        require_choice(self, ("per_token", "per_tensor"), "activation_scale")
        require_count(self, 0, 64, "outliers")
        if self.outliers and self.activation_scale != "per_token":
            refuse(self, "outliers", "they are split off rows that have scales of their own (per_token)")


@dataclass(frozen=True, kw_only=True)
class FunctionUnitSpec:
    """One function unit: fixed-point tables with linear interpolation, and comparators.

    segments:      table segments over the reduced range of a function (a power of two)
    fraction_bits: fraction bits of table entries and results
    clock_Hz:      one result per clock and lane
    lanes:         results per clock
    """

    segments: int
    fraction_bits: int
    clock_Hz: float
    lanes: int

    def __post_init__(self) -> None:
        require_count(self, 4, 65536, "segments")
        require_count(self, 4, 24, "fraction_bits")
        require_positive(self, "clock_Hz")
        require_count(self, 1, 4096, "lanes")
        if self.segments & (self.segments - 1):
            refuse(self, "segments", "it must be a power of two, so that the table index is a bit field")


@dataclass(frozen=True, kw_only=True)
class BufferSpec:
    """On-chip memory for intermediate results.

    capacity_bytes: SRAM of the chip
    word_bits:      width of an accumulator word (residual stream, function inputs)
    intermediates:  where encoded intermediates are kept: ``sram`` or ``dense`` (wears the cells)
    kv_cache:       where keys and values of earlier tokens are kept: ``sram`` (dense cells if they do not
                    fit) or ``dense``
    """

    capacity_bytes: int
    word_bits: int
    intermediates: IntermediateHome
    kv_cache: IntermediateHome = "sram"

    def __post_init__(self) -> None:
        require_count(self, 1024, 1 << 40, "capacity_bytes")
        require_count(self, 8, 64, "word_bits")
        require_choice(self, ("sram", "dense"), "intermediates", "kv_cache")


@dataclass(frozen=True, kw_only=True)
class PackageSpec:
    """Where one chip ends and the next begins.

    max_chips:         chips that a model may take, each with ``dense_bank_count`` dense banks; 0: one chip,
                       with as many banks as the model needs
    die_area_limit_m2: largest chip that can be made; 0: none
    link:              what joins the chips: traces in one ``package``, or on a ``board``
    links:             links from one chip to the next
    """

    max_chips: int = 0
    die_area_limit_m2: float = 0.0
    link: LinkKind = "package"
    links: int = 4

    def __post_init__(self) -> None:
        require_count(self, 0, 1 << 20, "max_chips")
        require_between(self, 0, 1, "die_area_limit_m2")
        require_choice(self, ("package", "board"), "link")
        require_count(self, 1, 1024, "links")


@dataclass(frozen=True, kw_only=True)
class ChipSpec:
    """A chip of the two-crossbar kind.

    node_nm:             process node
    clock_Hz:            clock of the digital blocks
    temperature_K:       for thermal noise
    tile_count:          computation crossbars on the chip
    function_unit_count: function units on the chip
    dense_bank_count:    dense banks that can be read at the same time; a model that needs more cells
                         than this gets more banks (reported), none of them active in addition, unless
                         ``package`` limits the chips
    """

    name: str
    node_nm: float
    clock_Hz: float
    temperature_K: float
    tile_count: int
    function_unit_count: int
    dense_bank_count: int
    precision: PrecisionSpec
    dense: DenseSpec
    tile: TileSpec
    function_unit: FunctionUnitSpec
    buffer: BufferSpec
    package: PackageSpec = PackageSpec()

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.strip() or not self.name.isprintable():
            refuse(self, "name", "a chip needs a name of printable characters")
        require_between(self, 5, 180, "node_nm")
        require_positive(self, "clock_Hz")
        require_between(self, 1, 1000, "temperature_K")
        require_count(self, 1, 1 << 26, "tile_count", "function_unit_count", "dense_bank_count")
        bits = max(self.precision.weight_bits, self.precision.activation_bits)
        if self.tile.outputs(bits) < 1:
            raise SpecError(
                f"TileSpec.bitlines is {self.tile.bitlines}: one {bits}-bit resident operand needs "
                f"{self.tile.bitlines_per_output(bits)} bitlines."
            )
