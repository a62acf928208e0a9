"""Checks of a chip's digital parts: their Verilog, and its gates, in a simulator against the model."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import replace

import torch

from ohmformer.crossbars import compute
from ohmformer.emit.rtl_chip import chip_layout, chip_module
from ohmformer.emit.rtl_dense import corrector
from ohmformer.emit.rtl_encoder import sign_lines
from ohmformer.emit.rtl_function import function_lane
from ohmformer.emit.rtl_function_model import FixedPointFunction, Result
from ohmformer.emit.rtl_play import play_product
from ohmformer.emit.rtl_text import RtlModule
from ohmformer.emit.simulators import icarus, yosys
from ohmformer.functions import evaluate
from ohmformer.numerals import BalancedNumeral, ResistorCode, digits_for_bits, secded
from ohmformer.specs import ChipSpec
from ohmformer.verbs.verify_rows import Check, Outcome, checked

__all__ = ["rtl_checks"]

LANES = ("exp", "reciprocal", "rsqrt", "gelu", "silu")
QUICK_WORDS = 2000
MAX_DOUBLES = 1000
WRONG = "wrong cases"


def rtl_checks(chip: ChipSpec, *, quick: bool = False, seed: int = 0) -> Iterator[Check]:
    """Checks of encoder, function lanes, tile control and error correction, one after the other."""
    simulator = icarus.version()
    gates = f"{yosys.version()}, {simulator}"
    bits, radix = chip.precision.activation_bits, chip.tile.numeral.radix
    encoder = chip_module(chip, "encoder")
    what = f"every number of {bits} bits to the switch lines of its digits of base {radix}"
    yield checked("RTL encoder", what, simulator, 0, WRONG, lambda: _encoder(chip, encoder))
    yield checked(
        "gates of the encoder",
        what,
        gates,
        0,
        WRONG,
        lambda: _encoder(chip, yosys.synthesise(encoder).netlist),
    )
    yield checked(
        "RTL function lanes",
        f"{', '.join(LANES)}: {QUICK_WORDS if quick else 'all'} 16-bit words against the integer function",
        simulator,
        0,
        WRONG,
        lambda: _lanes(chip, quick, seed),
    )
    yield checked(
        "integer functions",
        "the same against the model's, float64; one unit where the exact result is a tie",
        "Python integers",
        1,
        "last places",
        lambda: _models(chip, quick, seed),
    )
    tile = replace(chip.tile, environment_noise=0.0, adc=replace(chip.tile.adc, noise=0.0))
    quiet = replace(chip, tile=tile)
    control = chip_module(quiet, "tile_control")
    what = f"products on a whole tile of {tile.wordlines} x {tile.bitlines} without noise"
    rows = 1 if quick else 4
    yield checked("RTL tile", what, simulator, 0, WRONG, lambda: _tile(quiet, control, rows, seed))
    if not quick:
        yield checked(
            "gates of the tile",
            what,
            gates,
            0,
            WRONG,
            lambda: _tile(quiet, yosys.synthesise(control).netlist, 1, seed),
        )
    data_bits = chip.dense.secded_data_bits or 64
    yield checked(
        "RTL error correction",
        f"words of {data_bits} bits with every single error and with double ones",
        simulator,
        0,
        WRONG,
        lambda: _corrector(data_bits, seed),
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


def _lanes(chip: ChipSpec, quick: bool, seed: int) -> Outcome:
    """Words whose result, power or flag in RTL is another than the integer function's."""
    cases = wrong = 0
    for name in LANES:
        core = FixedPointFunction(name=name, unit=chip.function_unit)
        words = _words(core, quick, seed)
        seen = icarus.sweep(function_lane(core), {"word": words})
        nothing = [0] * len(words)
        powers, flags = seen.get("power", nothing), seen.get("infinite", nothing)
        for word, result, power, infinite in zip(words, seen["result"], powers, flags, strict=True):
            wrong += core.evaluate(word) != Result(word=result, power=power, infinite=bool(infinite))
        cases += len(words)
    return Outcome(cases=cases, worst=float(wrong))


def _models(chip: ChipSpec, quick: bool, seed: int) -> Outcome:
    """Largest distance of integer functions from ``functions.evaluate``, in units of the last place."""
    cases, worst = 0, 0.0
    for name in LANES:
        core = FixedPointFunction(name=name, unit=chip.function_unit)
        words = _words(core, quick, seed)
        results = [core.evaluate(word) for word in words]
        argument = torch.tensor(words, dtype=torch.float64) * 2.0**-core.input_fraction_bits
        places = torch.tensor([float(core.result_fraction_bits - result.power) for result in results])
        found = torch.tensor([math.inf if r.infinite else float(r.word) for r in results]).double()
        reference = evaluate(name, -argument if name == "exp" else argument, chip.function_unit)
        reference = reference * torch.exp2(places.double())
        distance = torch.where(found == reference, 0.0, (found - reference).abs())
        worst = max(worst, float(distance.max()))
        cases += len(words)
    return Outcome(cases=cases, worst=worst)


def _tile(chip: ChipSpec, module: RtlModule, rows: int, seed: int) -> Outcome:
    """Elements of random products that differ from the reference crossbar's; the first row is the largest."""
    layout, generator = chip_layout(chip), torch.Generator().manual_seed(seed)
    streamed_bits, resident_bits = layout.streamed_bits, layout.resident_bits
    ends = [(1 << bits - 1) - 1 for bits in (streamed_bits, resident_bits)]
    inner, columns = chip.tile.elements, layout.tile.outputs(resident_bits)
    streamed = torch.randint(-ends[0], ends[0] + 1, (rows, inner), generator=generator)
    resident = torch.randint(-ends[1], ends[1] + 1, (inner, columns), generator=generator)
    streamed[0], resident[:, 0] = ends[0], -ends[1]
    played = play_product(layout, streamed, resident, chip.clock_Hz, module=module)
    reference = compute(streamed, resident, chip.tile, streamed_bits, resident_bits).values
    return Outcome(cases=reference.numel(), worst=float((played.values != reference).sum()))


def _corrector(data_bits: int, seed: int) -> Outcome:
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
        corrector(data_bits), {"data": _packed(words[:, :data_bits]), "check": _packed(words[:, data_bits:])}
    )
    both = zip(seen["corrected"], seen["status"], _packed(corrected), status.tolist(), strict=True)
    wrong = sum((mine, code) != (its, reference) for mine, code, its, reference in both)
    return Outcome(cases=len(words), worst=float(wrong))


def _packed(bits: torch.Tensor) -> list[int]:
    return [int("".join(map(str, reversed(row))), 2) for row in bits.tolist()]
