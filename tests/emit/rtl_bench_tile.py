"""Runs inside the simulator: loads rows into a tile, plays its crossbar and converters, keeps the results.

The crossbar is ideal and whole-numbered; its converter clips round-half-even(sum / step).
"""

import json
import os
from pathlib import Path

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge, Timer

CASE = json.loads(Path(os.environ["TILE_CASE"]).read_text())


def levels(bus, weights):
    """Units that each wordline drives."""
    on, minus = int(bus.wordline_on.value), int(bus.wordline_minus.value)
    assert minus & ~on == 0, "a sign without a switch"
    return [
        weights[place % len(weights)] * (on >> place & 1) * (1 - 2 * (minus >> place & 1))
        for place in range(len(bus.wordline_on))
    ]


def code_of(total):
    """What the converter makes of a sum, or the code that the case prescribes."""
    whole, rest = divmod(total, CASE["step"])
    if 2 * rest > CASE["step"] or (2 * rest == CASE["step"] and whole & 1):
        whole += 1
    return max(-CASE["max_code"], min(CASE["max_code"], whole))


async def converters(dut):
    """Answer ``convert``, now and then a clock late; count conversions."""
    bits, weights, resident, counts = CASE["code_bits"], CASE["weights"], CASE["resident"], CASE["counts"]
    counts["conversions"] = 0
    seen, waited = None, 0
    dut.codes_valid.value = 0
    while True:
        await RisingEdge(dut.clk)
        await Timer(1, "ns")
        dut.codes_valid.value = 0
        if not int(dut.convert.value):
            seen = None
            continue
        place = int(dut.plane_select.value)
        waited += 1
        if place % 5 == 3 and waited % 2:  # a converter may take its time
            continue
        if seen is None:
            seen = levels(dut, weights)
        word = 0
        for converter, places in enumerate(CASE["seen"]):
            if str(place) not in places:
                continue
            output, plane = places[str(place)]
            column = resident[plane][output]
            total = sum(level * switch for level, switch in zip(seen, column, strict=True))
            word |= (code_of(total) & ((1 << bits) - 1)) << converter * bits
            counts["conversions"] += 1
        dut.codes.value = word
        dut.codes_valid.value = 1


@cocotb.test(timeout_time=50, timeout_unit="ms")
async def rows(dut):
    cocotb.start_soon(Clock(dut.clk, 10, "ns").start())
    dut.reset.value = 1
    dut.element_valid.value = 0
    dut.element_last.value = 0
    dut.element.value = 0
    dut.read_index.value = 0
    dut.codes.value = 0
    dut.last_output.value = CASE["last_output"]
    CASE["counts"] = {}
    dut.codes_valid.value = 0
    await RisingEdge(dut.clk)
    await RisingEdge(dut.clk)
    dut.reset.value = 0
    cocotb.start_soon(converters(dut))
    found, flags, clocks = [], [], []
    for row in CASE["rows"]:
        for place, element in enumerate(row):
            dut.element.value = element
            dut.element_valid.value = 1
            dut.element_last.value = int(place == len(row) - 1)
            await RisingEdge(dut.clk)
        dut.element_valid.value = 0
        count = 0
        while True:
            await RisingEdge(dut.clk)
            await Timer(2, "ns")
            count += 1
            if int(dut.done.value):
                break
        results = []
        for output in range(CASE["last_output"] + 1):
            dut.read_index.value = output
            await RisingEdge(dut.clk)
            await Timer(1, "ns")
            results.append(int(dut.results.value))
        found.append(results)
        flags.append(int(dut.out_of_range.value))
        clocks.append(count)
        await RisingEdge(dut.clk)
    Path(os.environ["TILE_RESULTS"]).write_text(
        json.dumps({"results": found, "out_of_range": flags, "clocks": clocks, **CASE["counts"]})
    )
