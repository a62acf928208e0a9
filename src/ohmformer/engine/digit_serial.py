"""Lossy converters: every conversion of every digit, plane and group is computed, never stored.

Three ways, by the tile (``conversion_plan``): the native kernel; the same whole-number arithmetic in torch,
equal bit for bit; and floating point for tiles whose numbers do not fit 16 bits. The result of a row depends
on the seed, the stream and the key of the row, and on nothing that is computed beside it.

Error: dense noise has the law of ``deviate_law``, whole noise that of ``whole_thresholds``; in either the
mismatch of a conversion enters as noise with the mean variance over the columns (in floating point, and for
conversions that are drawn or looked at one by one, with its own variance); a pair of bitlines loses the mean
share of its two bitlines in the wires.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from ohmformer.engine.conversion_blocks import floating_product, whole_product
from ohmformer.engine.conversion_plan import conversion_plan
from ohmformer.engine.randomness import Draw
from ohmformer.engine.resident import ResidentCodes
from ohmformer.engine.switches import PackedSwitches, native_product, pack, refuse
from ohmformer.engine.wire_shares import wire_factors
from ohmformer.engine.wrong_conversions import draw_events
from ohmformer.numerals import HOST
from ohmformer.specs import TileSpec

EXACT_FLOAT32 = 1 << 24
BLOCK_CONVERSIONS = 1 << 18  # of the torch paths: the passes over a block stay in the cache
EVENTS = 1  # stream of the wrong conversions of an operation


def pack_switches(codes: Tensor, tile: TileSpec, bits: int) -> PackedSwitches:
    """Switches of stored numbers [column, inner]; they serve streamed operands of any width."""
    return pack(codes.transpose(0, 1), tile, bits)


def digit_serial_product(
    streamed: Tensor,
    resident: Tensor | PackedSwitches,
    tile: TileSpec,
    streamed_bits: int,
    resident_bits: int,
    draw: Draw | torch.Generator,
    stored: ResidentCodes | None = None,
) -> Tensor:
    """The product with every conversion computed (see ``ProductEngine.product``).

    y = Σ_groups Σ_i Σ_j radix^i·c_j·step·ADC(Σ_k d_ik·e_kj + noise)

    draw: one key for each row of the result, batch axes flattened in front; a generator stands for a seed
          drawn from it and the numbers of the rows as keys
    stored: the numbers of the switches as they are kept: conversions that provably change nothing may then be
          computed all at once, as an integer product, with the same result
    """
    rows, inner = streamed.shape[-2:]
    batch = streamed.shape[:-2]
    if isinstance(resident, PackedSwitches):
        if (resident.tile, resident.bits, resident.inner) != (tile, resident_bits, inner):
            raise ValueError("the switches were packed for another tile, width or inner axis")
        columns = resident.columns
    else:
        batch = torch.broadcast_shapes(batch, resident.shape[:-2])
        columns = resident.shape[-1]
    if isinstance(draw, torch.Generator):
        draw = _draw_of(draw, math.prod(batch) * rows)
    if isinstance(resident, PackedSwitches) or resident.ndim == 2:  # one resident operand for all rows
        left, entries = streamed.reshape(1, -1, inner), [resident]
    else:
        left = streamed.expand(*batch, rows, inner).reshape(-1, rows, inner)
        entries = list(resident.expand(*batch, inner, columns).reshape(-1, inner, columns))
    if len(draw.keys) != left.shape[0] * left.shape[1]:
        raise ValueError(f"{len(draw.keys)} keys were given for {left.shape[0] * left.shape[1]} rows")
    if left.numel() == 0 or columns == 0:
        return torch.zeros(*batch, rows, columns, device=streamed.device)
    keys = draw.keys.view(left.shape[0], left.shape[1])
    parts = [
        _entry(part, own, tile, streamed_bits, resident_bits, replace(draw, keys=key), stored)
        for part, own, key in zip(left, entries, keys, strict=True)
    ]
    result = parts[0] if len(parts) == 1 else torch.stack(parts)
    lowest, highest = torch.aminmax(result)
    fits = max(-int(lowest), int(highest)) < EXACT_FLOAT32
    return result.to(torch.float32 if fits else torch.float64).reshape(*batch, rows, columns)


def every_conversion(
    streamed: Tensor,
    resident: Tensor | ResidentCodes,
    tile: TileSpec,
    streamed_bits: int,
    resident_bits: int,
    draw: Draw,
) -> Tensor:
    """``digit_serial_product``; the switches of stored codes are packed once and kept with them.

    Codes that are others for a while (``ResidentCodes.patched``) are packed for this product alone.
    """
    if isinstance(resident, ResidentCodes):
        switches = None if resident.is_patched else resident.cache.get(tile)
        if switches is None:
            switches = pack_switches(resident.codes(), tile, resident_bits)
            if not resident.is_patched:
                resident.cache[tile] = switches
        return digit_serial_product(streamed, switches, tile, streamed_bits, resident_bits, draw, resident)
    return digit_serial_product(streamed, resident, tile, streamed_bits, resident_bits, draw)


def _draw_of(generator: torch.Generator, rows: int) -> Draw:
    seed = int(torch.randint(1 << 62, (), generator=generator, device=generator.device))
    return Draw(seed=seed, stream=0, keys=torch.arange(rows, device=HOST))


def _entry(
    streamed: Tensor,
    resident: Tensor | PackedSwitches,
    tile: TileSpec,
    streamed_bits: int,
    resident_bits: int,
    draw: Draw,
    stored: ResidentCodes | None,
) -> Tensor:
    """One matrix [row, inner] times one [inner, column]; whole numbers in any dtype."""
    plan = conversion_plan(tile, streamed_bits, resident_bits, streamed.shape[-1])
    if plan is None:
        numbers = resident.numbers() if isinstance(resident, PackedSwitches) else resident
        return floating_product(
            streamed, numbers, tile, streamed_bits, resident_bits, draw, BLOCK_CONVERSIONS
        )
    columns = resident.columns if isinstance(resident, PackedSwitches) else resident.shape[-1]
    wired = tile.resistor.wire_resistance_ohm > 0
    keep = wire_factors(tile, columns, resident_bits) if wired else None
    events = draw_events(plan, columns, draw.sub(EVENTS)) if plan.noise in ("sparse", "margins") else None
    switches = resident if isinstance(resident, PackedSwitches) else pack(resident, tile, resident_bits)
    found = native_product(plan, streamed, switches, keep, draw, events, stored)
    if found is not None:
        return found
    if not bool((streamed.amin() >= plan.lowest) & (streamed.amax() <= plan.highest)):
        refuse("streamed", streamed, plan.lowest, plan.highest)
    numbers = switches.numbers()
    return whole_product(plan, streamed, numbers, keep, draw, events, BLOCK_CONVERSIONS, tile, resident_bits)


__all__ = ["PackedSwitches", "digit_serial_product", "every_conversion", "pack_switches"]
