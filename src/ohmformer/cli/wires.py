"""``wires``: the largest tile and the smallest unit resistor that wires of a given resistance allow."""

from __future__ import annotations

from typing import Annotated

import typer

from ohmformer.cli.options import Debug, Json, Seed, Settings, Threads
from ohmformer.cli.outputs import open_output
from ohmformer.cli.setups import one_chip
from ohmformer.errors import UserError

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
        list[int] | None, typer.Option("--size", min=8, help="Lines of a square tile; repeatable.")
    ] = None,
    compensation: Annotated[
        list[str] | None,
        typer.Option(
            "--compensation", metavar="NAME", help="none, driver, gain or both; repeatable. Default: all."
        ),
    ] = None,
    rows: Annotated[int, typer.Option("--rows", min=1, help="Rows of random digits for each tile.")] = 500,
    loadings: Annotated[int, typer.Option("--loadings", min=1, help="Random tiles of each size.")] = 2,
    json: Json = None,
    seed: Seed = 0,
    threads: Threads = None,
    debug: Debug = False,
) -> None:
    """Find the largest tile and the smallest unit resistor with no wrong code, for wires of OHM a segment.

    Random operands through the exact network, without noise and mismatch, converters that resolve every sum.
    driver scales each wordline's voltage, gain each bitline's sum, by fixed factors for typical loading.
    """
    output = open_output(json, threads=threads)
    hardware = one_chip(chip, settings)
    from dataclasses import replace

    from ohmformer.cli.grids import print_rows
    from ohmformer.cli.progress import progress
    from ohmformer.devices.wire_compensation import COMPENSATIONS
    from ohmformer.studies.wires import SIZES, largest_tile, wire_limits

    chosen = tuple(dict.fromkeys(compensation or COMPENSATIONS))
    for name in chosen:
        if name not in COMPENSATIONS:
            raise UserError(f"--compensation is {name!r}: allowed are {', '.join(COMPENSATIONS)}.")
    found = {}
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
            ("tile", "compensation", "unit", "worst error", "settles in", "conversions"),
            [
                (
                    f"{limit.size} x {limit.size}",
                    limit.compensation,
                    "none tried" if limit.unit_resistance_ohm is None else _ohm(limit.unit_resistance_ohm),
                    "" if limit.worst_codes is None else f"{limit.worst_codes:.2f} codes",
                    "" if limit.settling_time_s is None else f"{limit.settling_time_s * 1e9:.2f} ns",
                    str(limit.conversions),
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
            with_own = f"{own.size} x {own.size}" if own else "none"
            output.say(
                f"{ohm:g} ohm, {name}: largest tile {best.size} x {best.size}, with units of "
                f"{_ohm(best.unit_resistance_ohm)} or more; with the chip's {_ohm(unit)}: {with_own}."
            )
    if json is not None:
        output.write_json("wires", found)


def _ohm(value: float) -> str:
    return f"{value / 1e6:g} Mohm" if value >= 1e6 else f"{value / 1e3:g} kohm"
