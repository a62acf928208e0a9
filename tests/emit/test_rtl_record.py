"""The reader of value change dumps, on a simulator's own and on what is none."""

import pytest

from ohmformer.emit.rtl_text import Port, RtlModule
from ohmformer.emit.simulators.icarus import run
from ohmformer.emit.simulators.vcd_file import read_vcd
from ohmformer.errors import UserError

COUNTER = RtlModule(
    name="counter",
    ports=(
        Port(name="clk", width=1),
        Port(name="reset", width=1),
        Port(name="step", width=4),
        Port(name="sum", width=6, output=True),
    ),
    body="  reg [5:0] held;\n  assign sum = held;\n"
    "  always @(posedge clk) held <= reset ? 6'd0 : held + step;",
)


def test_a_record_says_what_the_bench_saw(tmp_path):
    """A vector stands a time step and the clock is high for the next: every other time is a vector's."""
    steps = [0, 3, 3, 9, 0, 15]
    inputs = {"reset": [1, 0, 0, 0, 0, 0], "step": steps}
    seen = run(COUNTER, inputs, vcd=tmp_path / "counter.vcd")
    record = read_vcd(tmp_path / "counter.vcd")
    assert record["step"][0::2][: len(steps)] == steps
    assert record["sum"][0::2][: len(steps)] == seen["sum"] == [None, 0, 3, 6, 15, 15]
    assert record["clk"][:4] == [0, 1, 0, 1]


@pytest.mark.parametrize("content", [b"", b"$date today $end", b"\xff\xfe"])
def test_what_is_no_record(tmp_path, content):
    (tmp_path / "x.vcd").write_bytes(content)
    with pytest.raises(UserError, match="no value change dump"):
        read_vcd(tmp_path / "x.vcd")
    with pytest.raises(UserError, match="Cannot read .*missing.vcd"):
        read_vcd(tmp_path / "missing.vcd")
