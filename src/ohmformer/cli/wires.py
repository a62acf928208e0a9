"""``wires``: the largest tile and the smallest unit resistor that wires of a given resistance allow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ohmformer.cli.options import Debug, Json, Seed, Settings, Threads
from ohmformer.cli.outputs import open_output
from ohmformer.cli.setups import one_chip
from ohmformer.errors import UserError

if TYPE_CHECKING:
    from ohmformer.studies.wires import Limits

__all__ = ["wires"]


def wires(
    wire_ohm: Annotated[
        list[float] | None,
        typer.Option(
            "--wire", metavar="OHM", help="Resistance of a segment; repeatable. Default: 0.5, 1, 5."
        ),
    ] = None,
    chip: Annotated[
        str | None,
        typer.Option(
            "--chip", metavar="NAME|FILE.yaml", help="A named chip or a chip file. Default: wang2024."
        ),
    ] = None,
    settings: Settings = None,
    size: Annotated[
        list[int] | None, typer.Option("--size", min=8, max=1024, help="Lines of a square tile; repeatable.")
    ] = None,
    compensation: Annotated[
        list[str] | None,
        typer.Option(
            "--compensation", metavar="NAME", help="none, driver, gain or both; repeatable. Default: all."
        ),
    ] = None,
    rows: Annotated[
        int, typer.Option("--rows", min=1, max=100_000, help="Rows of random digits for each tile.")
    ] = 500,
    loadings: Annotated[
        int, typer.Option("--loadings", min=1, max=1000, help="Random tiles of each size.")
    ] = 2,
    json: Json = None,
    seed: Seed = 0,
    threads: Threads = None,
    debug: Debug = False,
) -> None:
    """Find the largest tile and the smallest unit resistor with no wrong code, for wires of OHM a segment.

    Random operands, and the largest sum with every switch closed, through the exact network, without noise
    and mismatch, converters that resolve every sum. driver scales each wordline's voltage, gain each
    bitline's sum, by fixed factors for typical loading. Then the errors of the closed forms of the wires on
    the chip's own tile.
    """
    output = open_output(json, threads=threads)
    hardware = one_chip(chip, settings)
    from dataclasses import replace

    from ohmformer.cli.grids import print_rows
    from ohmformer.cli.progress import progress
    from ohmformer.devices.wire_compensation import COMPENSATIONS
    from ohmformer.studies.wire_forms import form_errors
    from ohmformer.studies.wires import SIZES, largest_tile, wire_limits, with_resolving_converter

    chosen = tuple(dict.fromkeys(compensation or COMPENSATIONS))
    for name in chosen:
        if name not in COMPENSATIONS:
            raise UserError(f"--compensation is {name!r}: allowed are {', '.join(COMPENSATIONS)}.")
    found, forms = {}, {}
    for ohm in dict.fromkeys(wire_ohm or (0.5, 1.0, 5.0)):
        resistor = replace(hardware.tile.resistor, wire_resistance_ohm=ohm)
        with progress() as step:
            limits = wire_limits(
                replace(hardware.tile, resistor=resistor),
                sizes=tuple(sorted(set(size or SIZES))),
                loadings=loadings,
                rows=rows,
                seed=seed,
                compensations=chosen,  # type: ignore[arg-type]
                progress=step,
            )
        found[f"{ohm:g}"] = limits
        print_rows(
            output.console,
            f"{ohm:g} ohm of wire per segment: smallest unit resistor without a wrong code",
            ("tile", "compensation", "unit", "worst error", "settles in", "conversions", "unit, all closed"),
            [
                (
                    f"{limit.size} x {limit.size}",
                    limit.compensation,
                    _ohm(limit.unit_resistance_ohm),
                    "" if limit.worst_codes is None else f"{limit.worst_codes:.2f} codes",
                    "" if limit.settling_time_s is None else f"{limit.settling_time_s * 1e9:.2f} ns",
                    str(limit.conversions),
                    _ohm(limit.closed_unit_resistance_ohm),
                )
                for limit in limits
            ],
        )
        unit = hardware.tile.resistor.unit_resistance_ohm
        for name in chosen:
            best, own = largest_tile(limits, name), largest_tile(limits, name, unit)  # type: ignore[arg-type]
            if best is None or best.unit_resistance_ohm is None:
                output.say(f"{ohm:g} ohm, {name}: no tile that was tried is free of wrong codes.")
                continue
            closed = largest_tile(limits, name, unit, operands="closed")  # type: ignore[arg-type]
            output.say(
                f"{ohm:g} ohm, {name}: largest tile {best.size} x {best.size}, with units of "
                f"{_ohm(best.unit_resistance_ohm)} or more; with the chip's {_ohm(unit)}: {_size(own)}, "
                f"with every switch closed too: {_size(closed)}."
            )
        if ohm > 0:
            tile = with_resolving_converter(replace(hardware.tile, resistor=resistor))
            forms[f"{ohm:g}"] = form_errors(tile, loadings=loadings, rows=rows, seed=seed)
            print_rows(
                output.console,
                f"{ohm:g} ohm: closed forms against the exact network, {tile.wordlines} x {tile.bitlines}, "
                f"units of {_ohm(unit)}, errors in codes",
                ("form", "largest", "sd", "wrong codes", "largest sum, all closed"),
                [
                    (
                        error.form,
                        f"{error.largest:.2g}",
                        f"{error.sd:.2g}",
                        f"{100 * error.wrong:.2g} %",
                        f"{error.all_closed:.2g}",
                    )
                    for error in forms[f"{ohm:g}"]
                ],
            )
    if json is not None:
        output.write_json("wires", {**found, "forms": forms})


def _ohm(value: float | None) -> str:
    if value is None:
        return "none tried"
    for factor, name in ((1e9, "Gohm"), (1e6, "Mohm"), (1e3, "kohm")):
        if value >= factor:
            return f"{value / factor:g} {name}"
    return f"{value:g} ohm"


def _size(limit: Limits | None) -> str:
    return f"{limit.size} x {limit.size}" if limit else "none"
