"""How far the closed forms of the wires are from the exact network, in codes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ohmformer.devices import (
    branch_conductance,
    convert,
    effective_conductance,
    loaded_attenuation,
    loaded_conductance,
    wire_attenuation,
)
from ohmformer.specs import TileSpec
from ohmformer.studies.wires import closed_units, largest_states, random_states, random_units, seen

__all__ = ["FORMS", "FormError", "form_errors", "form_levels"]

FORMS = ("none", "typical", "bitline", "cell")


@dataclass(frozen=True, kw_only=True)
class FormError:
    """Levels of one form against those of the exact network, no noise and no mismatch, in codes.

    form:         ``none``: wires ignored; ``typical``: ``wire_attenuation``, by position for typical loading;
                  ``bitline``: ``loaded_attenuation``, by group and bitline for the switches as they are;
                  ``cell``: ``loaded_conductance``, by cell for the switches as they are
    largest, sd:  of random operands, sd about 0
    wrong:        share of their conversions that get another code than by the exact network
    all_closed:   of the largest sum with every switch closed, worst bitline
    conversions:  random ones that were looked at
    """

    form: str
    wordlines: int
    bitlines: int
    unit_resistance_ohm: float
    wire_resistance_ohm: float
    largest: float
    sd: float
    wrong: float
    all_closed: float
    conversions: int


def form_errors(tile: TileSpec, *, loadings: int = 2, rows: int = 500, seed: int = 0) -> list[FormError]:
    """Errors of each form for random operands and for every switch closed.

    The converter must resolve the tile's sums for ``wrong`` to say something: see ``wires.resized``.
    """
    quiet = replace(tile.adc, noise=0.0)
    by_form = form_levels(tile, loadings=loadings, rows=rows, seed=seed)
    closed = _levels(tile, closed_units(tile), *largest_states(tile))
    exact, right = by_form.pop("exact"), closed.pop("exact")
    codes = convert(exact, quiet)
    return [
        FormError(
            form=form,
            wordlines=tile.wordlines,
            bitlines=tile.bitlines,
            unit_resistance_ohm=tile.resistor.unit_resistance_ohm,
            wire_resistance_ohm=tile.resistor.wire_resistance_ohm,
            largest=float((sums - exact).abs().max()) / tile.adc.step,
            sd=float((sums - exact).square().mean().sqrt()) / tile.adc.step,
            wrong=float((convert(sums, quiet) != codes).double().mean()),
            all_closed=float((closed[form] - right).abs().max()) / tile.adc.step,
            conversions=codes.numel(),
        )
        for form, sums in by_form.items()
    ]


def form_levels(tile: TileSpec, *, loadings: int, rows: int, seed: int) -> dict[str, Tensor]:
    """Levels of random operands by each form, and by the exact network, [loading, row, conversion]."""
    generator = torch.Generator().manual_seed(seed)
    return _levels(tile, random_units(tile, loadings, generator), *random_states(tile, rows, generator))


def _levels(tile: TileSpec, units: Tensor, states: Tensor, driven: Tensor) -> dict[str, Tensor]:
    """What the converters see by each form and by the exact network, [loading, row, conversion].

    units:  [loading, wordline, bitline]
    states: [row, wordline] of the groups ``driven``, [row]
    """
    unit_S, wire_ohm = branch_conductance(1, tile.resistor), tile.resistor.wire_resistance_ohm
    cells_S = units.double() * unit_S
    sums = states @ units.double()
    of_bitline = loaded_attenuation(units, tile)[:, driven]  # [loading, row, bitline]
    levels = {
        "none": sums,
        "typical": sums * (1 - wire_attenuation(tile)),
        "bitline": sums * (1 - of_bitline),
        "cell": states @ loaded_conductance(cells_S, wire_ohm) / unit_S,
        "exact": states @ effective_conductance(cells_S, wire_ohm) / unit_S,
    }
    return {form: seen(level, tile) for form, level in levels.items()}
