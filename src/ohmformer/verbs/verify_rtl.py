"""Checks of a chip's digital parts: their Verilog, and its gates, in a simulator against the model."""

from __future__ import annotations

import math
import os
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from ohmformer.crossbars import DenseCrossbar, compute
from ohmformer.devices import read, settling_time_s
from ohmformer.emit.rtl_chip import chip_layout, chip_module, chip_product
from ohmformer.emit.rtl_dense import corrector
from ohmformer.emit.rtl_encoder import sign_lines
from ohmformer.emit.rtl_function import function_lane
from ohmformer.emit.rtl_function_model import FixedPointFunction, Result
from ohmformer.emit.rtl_play import play_matrix, play_product, play_softmax
from ohmformer.emit.rtl_product import ProductLayout, product_control
from ohmformer.emit.rtl_reads import play_reads
from ohmformer.emit.rtl_shift_add import TileLayout
from ohmformer.emit.rtl_softmax import SoftmaxRow, softmax_row
from ohmformer.emit.rtl_text import RtlModule
from ohmformer.emit.simulators import icarus, yosys
from ohmformer.functions import LinearSubOps, evaluate, softmax
from ohmformer.numerals import BalancedNumeral, ResistorCode, digits_for_bits, quantise_per_row, secded
from ohmformer.specs import ChipSpec, PrecisionSpec, TileSpec
from ohmformer.verbs.hardware import what_it_takes
from ohmformer.verbs.verify_rows import Check, Outcome, checked

__all__ = ["QUICK_ROWS", "RTL_ROWS", "rtl_checks"]

QUICK_ROWS, RTL_ROWS = 10, 15
LANES = ("exp", "reciprocal", "rsqrt", "gelu", "silu")
QUICK_WORDS = 2000
MAX_DOUBLES = 1000
PART_ELEMENTS, PART_OUTPUTS = 4, 2  # of the tiles of a product over several
SOFTMAX_ROWS = 4
BANK_SHAPE = (4, 8)  # of the numbers that are read
STUCK = 0.02  # of the cells, at least: some words are put right, some are beyond that
MOST_WAIT = 64  # clocks that a sequence is let wait: it does nothing meanwhile
WRONG = "wrong cases"


def rtl_checks(
    chip: ChipSpec,
    *,
    quick: bool = False,
    seed: int = 0,
    liberty: str | os.PathLike[str] | None = None,
) -> Iterator[Check]:
    """Checks of encoder, function lanes, products, softmax and error correction, one after the other.

    liberty: cells to which the gates are mapped; None: generic gates
    """
    simulator = icarus.version()
    gates = f"{yosys.version()}, {simulator}"

    def gates_of(name: str, module: RtlModule, check: Callable[[RtlModule], Outcome]) -> Check:
        made = yosys.synthesise(module, liberty=liberty)
        what = f"the same as {what_it_takes(made)}"
        return checked(f"gates of the {name}", what, gates, 0, WRONG, lambda: check(made.netlist))

    bits, radix = chip.precision.activation_bits, chip.tile.numeral.radix
    encoder = chip_module(chip, "encoder")
    what = f"every number of {bits} bits to the switch lines of its digits of base {radix}"
    yield checked("RTL encoder", what, simulator, 0, WRONG, lambda: _encoder(chip, encoder))
    yield gates_of("encoder", encoder, lambda module: _encoder(chip, module))
    yield checked(
        "RTL function lanes",
        f"{', '.join(LANES)}: {QUICK_WORDS if quick else 'all'} 16-bit words against the integer function",
        simulator,
        0,
        WRONG,
        lambda: _lanes(chip, quick, seed),
    )
    if not quick:
        yield _lane_gates(chip, gates, seed, liberty)
    yield checked(
        "integer functions",
        "the same words against the model's functions, float64 and float32",
        "Python integers",
        0,
        WRONG,
        lambda: _models(chip, quick, seed),
    )
    tile = replace(chip.tile, environment_noise=0.0, adc=replace(chip.tile.adc, noise=0.0))
    quiet, cut = _short_waits(replace(chip, tile=tile), max(tile.settling_time_s, settling_time_s(tile)))
    clock_Hz = quiet.clock_Hz
    control = chip_module(quiet, "tile_control")
    what = f"products on a whole tile of {tile.wordlines} x {tile.bitlines} without noise and wires{cut}"
    rows = 1 if quick else 4
    yield checked("RTL tile", what, simulator, 0, WRONG, lambda: _tile(quiet, control, rows, seed))
    if not quick:
        yield gates_of("tile", control, lambda module: _tile(quiet, module, 1, seed))
    part = replace(quiet, tile=_part(tile, chip.precision))
    product = chip_product(part, 2 * part.tile.elements + 1, chip_product(part).block_columns + 1)
    walk = product_control(product, clock_Hz)
    what = (
        f"{product.inner} x {product.columns} over {product.tiles} tiles of {part.tile.wordlines} x "
        f"{part.tile.bitlines}, their sums added"
    )
    yield checked(
        "RTL product", what, simulator, 0, WRONG, lambda: _matrix(product, walk, rows, clock_Hz, seed)
    )
    if not quick:
        yield gates_of("product", walk, lambda module: _matrix(product, module, rows, clock_Hz, seed))
    row = SoftmaxRow(unit=chip.function_unit, layout=chip_layout(part))
    whole_row = softmax_row(row, clock_Hz)
    what = f"rows of {row.layout.tile.elements} scores, their sums on a tile, against the model's, float32"
    yield checked("RTL softmax", what, simulator, 0, WRONG, lambda: _softmax(row, whole_row, clock_Hz, seed))
    if not quick:
        yield gates_of("softmax", whole_row, lambda module: _softmax(row, module, clock_Hz, seed))
    bank, cut = _short_waits(chip, chip.dense.wordline_time_s)
    reader = chip_module(bank, "dense_control")
    what = (
        f"{math.prod(BANK_SHAPE)} numbers of a bank with stuck cells, as the dense crossbar reads them{cut}"
    )
    yield checked("RTL read controller", what, simulator, 0, WRONG, lambda: _reads(bank, reader, seed))
    if not quick:
        yield gates_of("read controller", reader, lambda module: _reads(bank, module, seed))
    data_bits = chip.dense.secded_data_bits or 64
    decoder = corrector(data_bits)
    unused = "" if chip.dense.secded_data_bits else " (this chip protects none)"
    what = f"words of {data_bits} bits{unused} with every single error and with double ones"
    yield checked(
        "RTL error correction", what, simulator, 0, WRONG, lambda: _corrector(data_bits, decoder, seed)
    )
    yield gates_of("error correction", decoder, lambda module: _corrector(data_bits, module, seed))


def _short_waits(chip: ChipSpec, wait_s: float) -> tuple[ChipSpec, str]:
    """The chip with a clock so slow that a wait takes at most ``MOST_WAIT`` of it, and a text to say so."""
    clocks = math.ceil(wait_s * chip.clock_Hz)
    if clocks <= MOST_WAIT:
        return chip, ""
    return replace(chip, clock_Hz=MOST_WAIT / wait_s), f", waits of {clocks} clocks cut to {MOST_WAIT}"


def _part(tile: TileSpec, precision: PrecisionSpec) -> TileSpec:
    """A tile of a few elements and outputs, with converters as the whole one has them.

    Activations reside too, in attention: one of them must fit, however few bits weights have.
    """
    resistors = tile.numeral.resistors_per_digit
    wordlines = min(tile.wordlines, PART_ELEMENTS * resistors)
    needed = PART_OUTPUTS * tile.bitlines_per_output(precision.weight_bits)
    bitlines = min(tile.bitlines, max(needed, tile.bitlines_per_output(precision.activation_bits)))
    return replace(
        tile,
        wordlines=wordlines,
        bitlines=bitlines,
        active_wordlines=min(tile.active_wordlines, max(resistors, wordlines // 2)),
        adc=replace(tile.adc, bitlines_per_adc=min(tile.adc.bitlines_per_adc, bitlines)),
    )


def _encoder(chip: ChipSpec, module: RtlModule) -> Outcome:
    """Lines of every number that has a numeral against its switch states."""
    numeral, bits = chip.tile.numeral, chip.precision.activation_bits
    whole = BalancedNumeral(numeral.radix, digits_for_bits(numeral.radix, bits))
    half = 1 << (bits - 1)
    values = [value for value in range(-half, half) if abs(value) <= whole.max_value]
    seen = icarus.sweep(module, {"value": values})
    code = ResistorCode(numeral.radix, numeral.polarity)
    states = code.switch_states(whole.encode(torch.tensor(values))).flatten(1)
    line = torch.arange(states.shape[1])
    on = torch.tensor(seen["on"])[:, None] >> line & 1
    share = numeral.resistors_per_digit // sign_lines(numeral)
    minus = torch.tensor(seen["sign"])[:, None] >> line // share & 1
    wrong = (on * (1 - 2 * minus) != states).any(-1) | torch.tensor(seen["out_of_range"]).bool()
    return Outcome(cases=len(values), worst=float(wrong.sum()))


def _words(core: FixedPointFunction, quick: bool, seed: int) -> list[int]:
    half = 1 << (core.input_bits - 1)
    every = range(-half, half) if core.kind == "magnitude" else range(2 * half)
    return random.Random(seed).sample(every, QUICK_WORDS) if quick else list(every)


def _lane_gates(chip: ChipSpec, tool: str, seed: int, liberty: str | os.PathLike[str] | None) -> Check:
    """Some words through the gates of every lane."""
    made = {name: yosys.synthesise(function_lane(_core(chip, name)), liberty=liberty) for name in LANES}
    netlists = {name: synthesis.netlist for name, synthesis in made.items()}
    takes = "; ".join(f"{name} {what_it_takes(synthesis)}" for name, synthesis in made.items())
    what = f"{QUICK_WORDS} words of each: {takes}"
    return checked(
        "gates of the function lanes", what, tool, 0, WRONG, lambda: _lanes(chip, True, seed, netlists)
    )


def _core(chip: ChipSpec, name: str) -> FixedPointFunction:
    return FixedPointFunction(name=name, unit=chip.function_unit)


def _lanes(
    chip: ChipSpec, quick: bool, seed: int, netlists: Mapping[str, RtlModule] | None = None
) -> Outcome:
    """Words whose result, power or flag in RTL, or in netlists, is another than the integer function's."""
    cases = wrong = 0
    for name in LANES:
        core = _core(chip, name)
        words = _words(core, quick, seed)
        module = function_lane(core) if netlists is None else netlists[name]
        seen = icarus.sweep(module, {"word": words})
        nothing = [0] * len(words)
        powers, flags = seen.get("power", nothing), seen.get("infinite", nothing)
        for word, result, power, infinite in zip(words, seen["result"], powers, flags, strict=True):
            wrong += core.evaluate(word) != Result(word=result, power=power, infinite=bool(infinite))
        cases += len(words)
    return Outcome(cases=cases, worst=float(wrong))


def _models(chip: ChipSpec, quick: bool, seed: int) -> Outcome:
    """Results of integer functions that are not those of ``functions.evaluate``."""
    cases, wrong = 0, 0
    for name in LANES:
        core = _core(chip, name)
        words = _words(core, quick, seed)
        results = [core.evaluate(word) for word in words]
        argument = torch.tensor(words, dtype=torch.float64) * 2.0**-core.input_fraction_bits
        places = [result.power - core.result_fraction_bits for result in results]
        found = torch.tensor(
            [
                math.inf if result.infinite else math.ldexp(result.word, place)
                for result, place in zip(results, places, strict=True)
            ],
            dtype=torch.float64,
        )
        argument = -argument if name == "exp" else argument
        wrong += int((evaluate(name, argument, chip.function_unit) != found).sum())
        wrong += int((evaluate(name, argument.float(), chip.function_unit) != found.float()).sum())
        cases += 2 * len(words)
    return Outcome(cases=cases, worst=float(wrong))


def _operands(layout: TileLayout, rows: int, inner: int, columns: int, seed: int) -> tuple[Tensor, Tensor]:
    """Random integers; the first row and the first column are the largest."""
    generator = torch.Generator().manual_seed(seed)
    ends = [(1 << bits - 1) - 1 for bits in (layout.streamed_bits, layout.resident_bits)]
    streamed = torch.randint(-ends[0], ends[0] + 1, (rows, inner), generator=generator)
    resident = torch.randint(-ends[1], ends[1] + 1, (inner, columns), generator=generator)
    streamed[0], resident[:, 0] = ends[0], -ends[1]
    return streamed, resident


def _tile(chip: ChipSpec, module: RtlModule, rows: int, seed: int) -> Outcome:
    """Elements of random products that differ from the reference crossbar's."""
    layout = chip_layout(chip)
    columns = layout.tile.outputs(layout.resident_bits)
    streamed, resident = _operands(layout, rows, chip.tile.elements, columns, seed)
    found = play_product(layout, streamed, resident, chip.clock_Hz, module=module).values
    return _against_the_crossbar(layout, streamed, resident, found)


def _matrix(product: ProductLayout, module: RtlModule, rows: int, clock_Hz: float, seed: int) -> Outcome:
    """The same over several tiles."""
    streamed, resident = _operands(product.layout, rows, product.inner, product.columns, seed)
    found = play_matrix(product, streamed, resident, clock_Hz, module=module).values
    return _against_the_crossbar(product.layout, streamed, resident, found)


def _without_wires(tile: TileSpec) -> TileSpec:
    """What hardware is played on: codes of whole sums. Its sequence still waits for the chip's wires."""
    return replace(tile, resistor=replace(tile.resistor, wire_resistance_ohm=0.0))


def _against_the_crossbar(layout: TileLayout, streamed: Tensor, resident: Tensor, found: Tensor) -> Outcome:
    tile = _without_wires(layout.tile)
    reference = compute(streamed, resident, tile, layout.streamed_bits, layout.resident_bits).values
    return Outcome(cases=reference.numel(), worst=float((found != reference).sum()))


def _softmax(row: SoftmaxRow, module: RtlModule, clock_Hz: float, seed: int) -> Outcome:
    """Probabilities of random rows that differ from ``functions.softmax`` with the chip's sum of a row."""
    generator = torch.Generator().manual_seed(seed)
    layout, bits = row.layout, row.layout.streamed_bits
    tile = _without_wires(layout.tile)
    scores = torch.randn(SOFTMAX_ROWS, layout.tile.elements, generator=generator) * 3
    words = (scores * (1 << row.score_fraction_bits)).round().long()
    words = words.clamp(-(1 << row.score_bits - 1), (1 << row.score_bits - 1) - 1)

    def product(x: Tensor) -> Tensor:
        streamed = quantise_per_row(x, bits)
        ones = torch.ones(x.shape[-1], 1, dtype=torch.int64)
        sums = compute(streamed.codes, ones, tile, bits, layout.resident_bits).values
        return (sums * streamed.scale).squeeze(-1)

    argument = words.float() * 2.0**-row.score_fraction_bits
    linear = LinearSubOps(row_sum=product, row_dot=product)
    reference = softmax(argument, row.unit, linear)
    found = play_softmax(row, words.tolist(), clock_Hz, module=module).values.float()
    return Outcome(cases=reference.numel(), worst=float((found != reference).sum()))


def _reads(chip: ChipSpec, module: RtlModule, seed: int) -> Outcome:
    """Numbers, and status of protected words, other than those of ``DenseCrossbar.read_words``."""
    bits, noise = chip.precision.weight_bits, chip.dense.cell.noise
    cell = replace(chip.dense.cell, noise=replace(noise, stuck_low_rate=max(noise.stuck_low_rate, STUCK)))
    dense = replace(chip.dense, cell=cell)
    generator = torch.Generator().manual_seed(seed)
    half = 1 << bits - 1
    crossbar = DenseCrossbar.program(
        torch.randint(-half, half, BANK_SHAPE, generator=generator), dense, bits, generator
    )
    state = generator.get_state()
    values, status = crossbar.read_words(0, BANK_SHAPE[0], generator)
    generator.set_state(state)
    levels = read(crossbar.conductance_S.flatten(0, 1), cell, generator).flatten().tolist()
    check_base = len(levels)
    if dense.secded_data_bits:
        levels += read(crossbar.check_conductance_S, cell, generator).flatten().tolist()
    numbers, codes = play_reads(dense, bits, chip.clock_Hz, module, levels, values.numel(), check_base)
    wrong = sum(mine != its for mine, its in zip(numbers, values.flatten().long().tolist(), strict=True))
    if dense.secded_data_bits:
        wrong += sum(mine != its for mine, its in zip(codes, status.tolist(), strict=True))
    return Outcome(cases=len(numbers) + len(codes), worst=float(wrong))


def _corrector(data_bits: int, module: RtlModule, seed: int) -> Outcome:
    """Words that the decoder in RTL treats otherwise than ``secded.correct``."""
    source = random.Random(seed)
    data = torch.tensor([source.getrandbits(1) for _ in range(data_bits)])
    whole = torch.cat([data, secded.encode(data).long()])
    count = len(whole)
    pairs = [[k, j] for k in range(count) for j in range(k)]
    errors = [[k] for k in range(count)] + source.sample(pairs, min(MAX_DOUBLES, len(pairs)))
    words = whole.repeat(1 + len(errors), 1)
    for place, flipped in enumerate(errors):
        words[place + 1, flipped] ^= 1
    corrected, status = secded.correct(words[:, :data_bits], words[:, data_bits:])
    seen = icarus.sweep(
        module, {"data": _packed(words[:, :data_bits]), "check": _packed(words[:, data_bits:])}
    )
    both = zip(seen["corrected"], seen["status"], _packed(corrected), status.tolist(), strict=True)
    wrong = sum((mine, code) != (its, reference) for mine, code, its, reference in both)
    return Outcome(cases=len(words), worst=float(wrong))


def _packed(bits: torch.Tensor) -> list[int]:
    return [int("".join(map(str, reversed(row))), 2) for row in bits.tolist()]
