"""A circuit as plain values, and its text for ngspice and for VACASK."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from ohmformer.emit.checks import EmitError

__all__ = [
    "GROUND",
    "Amplifier",
    "Capacitor",
    "Circuit",
    "Comparator",
    "Dialect",
    "Element",
    "Probe",
    "Resistor",
    "Transient",
    "VoltageSource",
    "circuit_text",
]

Dialect = Literal["ngspice", "vacask"]
GROUND = "0"
LEAST_OHM, MOST_OHM = 1e-9, 1e15  # of a circuit that could be built, and that simulators compute with
ROUNDING_V = 1e-14  # of a voltage below 1 V in float64, times 50 for sums of a few


class Resistor(NamedTuple):
    """Resistance between two nodes."""

    name: str
    first: str
    second: str
    ohm: float


class Capacitor(NamedTuple):
    """Capacitance between two nodes."""

    name: str
    first: str
    second: str
    farad: float


class VoltageSource(NamedTuple):
    """Voltage of ``plus`` over ``minus``; with ``rise_s`` a ramp from 0 V at time 0, then constant."""

    name: str
    plus: str
    minus: str
    volt: float
    rise_s: float | None = None


class Amplifier(NamedTuple):
    """Voltage of ``out`` over ground: gain * (v(plus) - v(minus))."""

    name: str
    out: str
    plus: str
    minus: str
    gain: float


class Comparator(NamedTuple):
    """Voltage of ``out`` over ground: 1 V where v(plus) >= v(minus), else 0 V."""

    name: str
    out: str
    plus: str
    minus: str


Element = Resistor | Capacitor | VoltageSource | Amplifier | Comparator


class Probe(NamedTuple):
    """What is recorded: the current through a source (from plus to minus), or the voltage of a node."""

    kind: Literal["current", "voltage"]
    of: str


class Transient(NamedTuple):
    """Times of a transient, s."""

    step_s: float
    stop_s: float


@dataclass(frozen=True, kw_only=True)
class Circuit:
    """Elements, what is recorded of them, and what a reader should know.

    title:     first line of the text
    notes:     comment lines
    elements:  names are unique without regard to case
    probes:    what is recorded
    transient: its times; None for the operating point
    """

    title: str
    notes: tuple[str, ...]
    elements: tuple[Element, ...]
    probes: tuple[Probe, ...]
    transient: Transient | None = None


def circuit_text(circuit: Circuit, dialect: Dialect) -> str:
    """The netlist; every number has 17 significant digits, so that no bit is lost.

    Error: EmitError where the dialect has no such element, or an element has a value that no part has.
    """
    if dialect not in ("ngspice", "vacask"):
        raise EmitError(f"The simulator is {dialect!r}: allowed are ngspice, vacask.")
    for element in circuit.elements:
        _check(element)
    lines = _ngspice(circuit) if dialect == "ngspice" else _vacask(circuit)
    return "\n".join(lines) + "\n"


def _check(element: Element) -> None:
    if isinstance(element, Resistor) and not 0 < element.ohm < float("inf"):
        raise EmitError(f"Resistor {element.name} has {element.ohm:g} ohm: it must be finite and above 0.")
    if isinstance(element, Resistor) and not LEAST_OHM <= element.ohm <= MOST_OHM:
        raise EmitError(
            f"Resistor {element.name} has {element.ohm:g} ohm: no circuit has one outside {LEAST_OHM:g} to "
            f"{MOST_OHM:g} ohm."
        )
    if isinstance(element, Capacitor) and not 0 < element.farad < float("inf"):
        raise EmitError(f"Capacitor {element.name} has {element.farad:g} F: it must be finite and above 0.")


def _ngspice(circuit: Circuit) -> Iterator[str]:
    yield f"* {circuit.title}"
    for note in circuit.notes:
        yield f"* {note}"
    for element in circuit.elements:
        match element:
            case Resistor(name, first, second, ohm):
                yield f"R{name} {first} {second} {ohm:.17g}"
            case Capacitor(name, first, second, farad):
                yield f"C{name} {first} {second} {farad:.17g}"
            case VoltageSource(name, plus, minus, volt, None):
                yield f"V{name} {plus} {minus} {volt:.17g}"
            case VoltageSource(name, plus, minus, volt, rise_s):
                yield f"V{name} {plus} {minus} PWL(0 0 {rise_s:.17g} {volt:.17g})"
            case Amplifier(name, out, plus, minus, gain):
                yield f"E{name} {out} {GROUND} {plus} {minus} {gain:.17g}"
            case Comparator(name, out, plus, minus):
                yield f"B{name} {out} {GROUND} V = (V({plus}) >= V({minus})) ? 1 : 0"
    if circuit.transient is None:
        yield ".options reltol=1e-9 abstol=1e-18 vntol=1e-12 pivrel=1e-6"
    else:  # tighter ones are below the rounding of a segment's current, and steps shrink without end
        yield ".options reltol=1e-5 abstol=1e-13 vntol=1e-8 chgtol=1e-19 pivrel=1e-6"
    for probe in circuit.probes:
        yield f".save i(V{probe.of})" if probe.kind == "current" else f".save v({probe.of})"
    if circuit.transient is None:
        yield ".op"
    else:
        step, stop = circuit.transient
        yield f".tran {step:.17g} {stop:.17g} 0 {step:.17g}"
    yield ".end"


def _vacask(circuit: Circuit) -> Iterator[str]:
    if circuit.transient is not None:
        raise EmitError("A transient is written for ngspice alone; VACASK gets operating points.")
    yield circuit.title
    yield ""
    for note in circuit.notes:
        yield f"// {note}"
    yield f"ground {GROUND}"
    yield 'load "resistor.osdi"'
    yield 'load "capacitor.osdi"'
    yield from ("model resistor resistor", "model capacitor capacitor", "model vsource vsource")
    yield "model vcvs vcvs"
    for element in circuit.elements:
        match element:
            case Resistor(name, first, second, ohm):
                yield f"R{name} ({first} {second}) resistor r={ohm:.17g}"
            case Capacitor(name, first, second, farad):
                yield f"C{name} ({first} {second}) capacitor c={farad:.17g}"
            case VoltageSource(name, plus, minus, volt, _):
                yield f"V{name} ({plus} {minus}) vsource dc={volt:.17g}"
            case Amplifier(name, out, plus, minus, gain):
                yield f"E{name} ({out} {GROUND} {plus} {minus}) vcvs gain={gain:.17g}"
            case Comparator(name, _, _, _):
                raise EmitError(f"Comparator {name}: VACASK has none; write this circuit for ngspice.")
    yield "control"
    # a smaller tolerance than what rounding makes of a segment's current never counts as reached
    least_ohm = min((part.ohm for part in circuit.elements if isinstance(part, Resistor)), default=1.0)
    abstol = max(1e-18, ROUNDING_V / least_ohm)
    yield f'  options reltol=1e-9 abstol={abstol:.17g} vntol=1e-12 rawfile="binary"'
    recorded = " ".join(
        f"i(V{probe.of})" if probe.kind == "current" else f"v({probe.of})" for probe in circuit.probes
    )
    yield f"  save {recorded}"
    yield "  analysis result op"
    yield "endc"
