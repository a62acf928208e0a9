"""``emit``: the chip's parts as text that other tools read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ohmformer.cli.options import Chip, Debug, Seed, Settings, Threads
from ohmformer.cli.outputs import STDOUT, open_output
from ohmformer.cli.setups import one_chip
from ohmformer.errors import UserError, write_atomically

if TYPE_CHECKING:
    from ohmformer.emit.spice_circuit import Circuit

__all__ = ["app", "spice"]

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Circuits and hardware of a chip, as text."
)
spice = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Netlists for circuit simulators.")
app.add_typer(spice, name="spice")

Target = Annotated[
    str, typer.Option("--out", metavar="FILE", help="The netlist's file; - for standard output.")
]
Dialect = Annotated[
    str, typer.Option("--dialect", metavar="NAME", help="For which simulator: ngspice or vacask.")
]
Operands = Annotated[
    str | None,
    typer.Option("--operands", metavar="FILE.json", help="The operands; random ones of --seed without it."),
]


@spice.command("tile")
def tile(
    out: Target = STDOUT,
    chip: Chip = None,
    settings: Settings = None,
    operands: Operands = None,
    wordlines: Annotated[
        int | None, typer.Option("--wordlines", min=1, help="Wordlines instead of the chip's.")
    ] = None,
    bitlines: Annotated[
        int | None, typer.Option("--bitlines", min=2, help="Bitlines instead of the chip's.")
    ] = None,
    bits: Annotated[int, typer.Option("--bits", min=2, max=16, help="Bits of a resident operand.")] = 8,
    mismatch: Annotated[
        bool, typer.Option("--mismatch", help="Draw the resistors' mismatch from --seed.")
    ] = False,
    sense: Annotated[
        str, typer.Option("--sense", metavar="KIND", help="ideal (virtual grounds) or amplifier.")
    ] = "ideal",
    transient: Annotated[
        bool, typer.Option("--transient", help="A switching cycle with all capacitances, for ngspice.")
    ] = False,
    dialect: Dialect = "ngspice",
    seed: Seed = 0,
    threads: Threads = None,
    debug: Debug = False,
) -> None:
    """Write one cycle of a computation-crossbar tile as a netlist.

    --operands holds "digits", one balanced digit for each element, and "resident", for each element a list of
    integers.
    """
    open_output(None, out, threads=threads)
    hardware = one_chip(chip, settings)
    from ohmformer.verbs.circuits import shrink, tile_cycle_circuit

    circuit = tile_cycle_circuit(
        shrink(hardware.tile, wordlines, bitlines),
        operands=operands,
        bits=bits,
        mismatch=mismatch,
        sense=sense,  # type: ignore[arg-type]
        transient=transient,
        seed=seed,
    )
    _write(circuit, dialect, out)


@spice.command("dense")
def dense(
    out: Target = STDOUT,
    chip: Chip = None,
    settings: Settings = None,
    operands: Operands = None,
    wordlines: Annotated[
        int | None, typer.Option("--wordlines", min=1, help="Wordlines of random cells. Default: 4.")
    ] = None,
    bitlines: Annotated[
        int | None, typer.Option("--bitlines", min=1, help="Bitlines of random cells. Default: 16.")
    ] = None,
    selected: Annotated[int, typer.Option("--selected", min=0, help="The wordline that is read.")] = 0,
    seed: Seed = 0,
    threads: Threads = None,
    debug: Debug = False,
) -> None:
    """Write the read of one wordline of a dense crossbar as a netlist for ngspice.

    --operands holds "symbols", for each wordline a list of levels; their cells take the programming noise.
    """
    open_output(None, out, threads=threads)
    hardware = one_chip(chip, settings)
    from ohmformer.verbs.circuits import dense_read_circuit

    circuit = dense_read_circuit(
        hardware.dense,
        operands=operands,
        wordlines=wordlines,
        bitlines=bitlines,
        selected=selected,
        seed=seed,
    )
    _write(circuit, "ngspice", out)


@app.command("rtl")
def rtl(
    part: Annotated[
        str,
        typer.Argument(metavar="PART", help="encoder, shift_add, exp, tile_control, ...: what the chip has."),
    ],
    out: Annotated[
        str, typer.Option("--out", metavar="FILE.v", help="The Verilog file; - for standard output.")
    ] = STDOUT,
    chip: Chip = None,
    settings: Settings = None,
    inner: Annotated[
        int | None, typer.Option("--inner", min=1, help="product_control: elements of a row.")
    ] = None,
    columns: Annotated[
        int | None, typer.Option("--columns", min=1, help="product_control: columns of the matrix.")
    ] = None,
    gates: Annotated[bool, typer.Option("--gates", help="As the gates that yosys makes of it.")] = False,
    liberty: Annotated[
        str | None,
        typer.Option("--liberty", metavar="FILE.lib", help="As cells of this file; says their area."),
    ] = None,
    threads: Threads = None,
    debug: Debug = False,
) -> None:
    """Write one part of the chip's digital hardware as Verilog, with all that it instantiates.

    With --gates or --liberty it is a netlist, and its cells are counted.
    """
    open_output(None, out, threads=threads)
    hardware = one_chip(chip, settings)
    from ohmformer.verbs.hardware import hardware_text

    text, counts = hardware_text(hardware, part, inner=inner, columns=columns, gates=gates, liberty=liberty)
    if out == STDOUT:
        typer.echo(text, nl=False)
        return
    open_output(None).say(f"Verilog: {write_atomically(out, text)}{counts}")


def _write(circuit: Circuit, dialect: str, out: str) -> None:
    from ohmformer.emit.spice_circuit import circuit_text

    text = circuit_text(circuit, dialect)  # type: ignore[arg-type]
    if out == STDOUT:
        typer.echo(text, nl=False)
        return
    try:
        written = write_atomically(out, text)
    except OSError as error:
        raise UserError(f"Cannot write {out}: {error.strerror or error}.") from error
    open_output(None).say(f"Netlist: {written} ({len(circuit.elements)} elements)")
