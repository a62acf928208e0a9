"""What is said when a tool is missing, fails, or prints what nobody can read."""

import os
import re
from pathlib import Path

import pytest

from ohmformer.emit.checks import EmitError
from ohmformer.emit.rtl_encoder import encoder
from ohmformer.emit.rtl_text import Port, RtlModule, binary, signed_bits
from ohmformer.emit.simulators import icarus, yosys
from ohmformer.errors import UserError
from ohmformer.specs import NumeralSpec

from ..liberty import LIBERTY

ENCODER = encoder(NumeralSpec(radix=3, polarity="shared"), 4)


def gate(body: str) -> RtlModule:
    return RtlModule(
        name="gate", ports=(Port(name="x", width=2), Port(name="y", width=1, output=True)), body=body
    )


def script(folder, name: str, text: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_versions_are_told():
    assert icarus.version().startswith("Icarus Verilog 1")
    assert yosys.version().startswith("Yosys 0.")


@pytest.mark.parametrize(
    ("run", "says"),
    [
        (
            lambda: icarus.sweep(ENCODER, {"value": [1]}),
            "iverilog is not installed: Debian package iverilog brings it",
        ),
        (lambda: yosys.synthesise(ENCODER), "yosys is not installed: Debian package yosys brings it"),
    ],
)
def test_a_missing_tool_is_named_with_its_package(monkeypatch, tmp_path, run, says):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=says):
        run()


def test_a_failing_tool_shows_its_last_lines(monkeypatch, tmp_path):
    with pytest.raises(UserError, match=r"iverilog failed \(exit code \d+\).*design.v:.*nothing_known"):
        icarus.sweep(gate("  assign y = nothing_known;\n  wire z = a.b.c.nothing_known;"), {"x": [1]})
    with pytest.raises(UserError, match=r"yosys failed \(exit code 1\).*syntax error"):
        yosys.synthesise(gate("  assign y = = x;"))
    for name in ("iverilog", "vvp", "yosys"):
        script(tmp_path, name, "echo 'Segmentation what'; exit 3")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(UserError, match=r"exit code 3\). Its last lines: Segmentation what"):
        icarus.sweep(ENCODER, {"value": [1]})


def test_a_tool_that_cannot_be_started(monkeypatch, tmp_path):
    for name in ("iverilog", "yosys"):
        (tmp_path / name).write_bytes(b"\x7fELF, and no more of it")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    for work, name in ((lambda: icarus.sweep(ENCODER, {"value": [1]}), "iverilog"),
                       (lambda: yosys.synthesise(ENCODER), "yosys")):  # fmt: skip
        with pytest.raises(UserError, match=rf"{name} cannot be started: Exec format error\."):
            work()


@pytest.mark.parametrize("netlist", ["", "printf '\\377\\376' > netlist.v"], ids=["none", "no text"])
def test_a_netlist_that_is_none(netlist, monkeypatch, tmp_path):
    counts = """echo '{"design": {"num_cells_by_type": {"$_NOT_": 1}}}' > stat.json"""
    script(tmp_path, "yosys", f"{counts}; {netlist}\nprintf 'so\\033[31m\\377 be it'")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(UserError) as refused:
        yosys.synthesise(ENCODER)
    said = str(refused.value)
    assert said.startswith("yosys wrote no netlist.v that can be read. Its last lines: so?[31m")
    assert all(sign.isprintable() for sign in said)


def test_garbage_from_a_tool_is_shown(monkeypatch, tmp_path):
    for name in ("iverilog", "vvp", "yosys"):
        script(tmp_path, name, "echo garbage")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(UserError, match="gave 0 of 1 results. Its last lines: garbage"):
        icarus.sweep(ENCODER, {"value": [1]})
    with pytest.raises(UserError, match=r"printed no counts of .*\. Its last lines: garbage"):
        yosys.synthesise(ENCODER)


def test_undefined_bits_are_no_result():
    with pytest.raises(UserError, match="y of gate is undefined for vector 1"):
        icarus.sweep(gate("  wire z;\n  assign y = x[0] & z;"), {"x": [0, 1]})


def test_a_tool_that_does_not_end_is_given_up(monkeypatch):
    monkeypatch.setattr(icarus, "LIMIT_s", 0.3)
    endless = gate("  reg r;\n  initial begin r = 0; while (1) r = ~r; end\n  assign y = r;")
    with pytest.raises(UserError, match="vvp did not end within"):
        icarus.sweep(endless, {"x": [1]})


def test_area_is_the_sum_of_the_cells_of_a_liberty_file(tmp_path):
    (tmp_path / "cells.lib").write_text(LIBERTY)
    made = yosys.synthesise(ENCODER, liberty=tmp_path / "cells.lib")
    assert set(made.cells) <= {"INV", "BUF", "NAND"}
    areas = {"INV": 0.5, "BUF": 0.9, "NAND": 0.8}
    # printed with six decimals
    assert made.area == pytest.approx(
        sum(areas[kind] * count for kind, count in made.cells.items()), abs=1e-6
    )
    assert yosys.synthesise(ENCODER).area is None


def test_a_liberty_file_that_is_none(tmp_path):
    with pytest.raises(
        UserError, match="Cannot read .*nothing.lib: No such file or directory; give a liberty file"
    ):
        yosys.synthesise(ENCODER, liberty=tmp_path / "nothing.lib")
    for content, says in {
        "library (empty) {\n}\n": "no liberty file",
        "a letter to a friend": "no liberty file",
        LIBERTY[:-3]: r"a broken liberty file: \d+ braces open and \d+ close",
        LIBERTY.replace("area : 0.8;", ""): "states no area of its cell NAND",
    }.items():
        (tmp_path / "cells.lib").write_text(content)
        with pytest.raises(UserError, match=says):
            yosys.synthesise(ENCODER, liberty=tmp_path / "cells.lib")
    (tmp_path / "cells.lib").write_bytes(bytes(range(256)) + b"library (x) { cell (y) { } }")
    with pytest.raises(UserError, match="yosys failed"):
        yosys.synthesise(ENCODER, liberty=tmp_path / "cells.lib")


def test_registers_need_a_flip_flop_in_the_liberty_file(tmp_path):
    (tmp_path / "cells.lib").write_text(LIBERTY)
    held = RtlModule(
        name="held",
        ports=(Port(name="clk", width=1), Port(name="x", width=2), Port(name="y", width=1, output=True)),
        body="  reg z;\n  assign y = z;\n  always @(posedge clk) z <= ^x;",
    )
    with pytest.raises(UserError, match="yosys failed.*flip-flops are not supported"):
        yosys.synthesise(held, liberty=tmp_path / "cells.lib")
    assert yosys.synthesise(held).registers == 1


OSU = Path("/usr/share/qflow/tech/osu035/osu035_stdcells.lib")  # Debian package qflow-tech-osu035


def test_a_real_library_of_cells(tmp_path):
    """Debian's OSU cells where they are installed: the area from the file, and cells that do the same."""
    library = OSU if OSU.is_file() else tmp_path / "cells.lib"
    if library != OSU:
        library.write_text(LIBERTY)
    made = yosys.synthesise(ENCODER, liberty=library)
    areas = dict(re.findall(r"cell \((\w+)\) \{.*?area : ([\d.]+);", library.read_text(), re.DOTALL))
    whole = sum(float(areas[kind]) * count for kind, count in made.cells.items())
    assert made.area == pytest.approx(whole, abs=1e-6)
    words = {"value": list(range(-8, 8))}
    assert icarus.sweep(made.netlist, words) == icarus.sweep(ENCODER, words)


def test_a_crash_shows_what_was_printed_last(monkeypatch, tmp_path):
    script(tmp_path, "yosys", "echo 'ABC: Warning: the network has no latches'; kill -SEGV $$")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(UserError, match="ended by SIGSEGV.*the network has no latches"):
        yosys.synthesise(ENCODER)


def test_a_record_of_all_signals(tmp_path):
    """Icarus's own value change dump, each port by its name."""
    icarus.run(ENCODER, {"value": [1, -1]}, vcd=tmp_path / "record.vcd")
    text = (tmp_path / "record.vcd").read_text()
    assert all(f" {port.name} " in text for port in ENCODER.ports)


def test_text_is_written_whole_or_not_at_all(tmp_path):
    assert ENCODER.write(tmp_path / "encoder.v").read_text() == ENCODER.source
    with pytest.raises(UserError, match="Cannot write"):
        ENCODER.write(tmp_path / "missing" / "encoder.v")
    assert [path.name for path in tmp_path.iterdir()] == ["encoder.v"]


def test_numbers_as_literals():
    assert binary(-1, 4) == "4'd15"
    assert signed_bits(127) == 8
    assert signed_bits(128) == 9
    with pytest.raises(EmitError, match="16 does not fit 4 bits"):
        binary(16, 4)
