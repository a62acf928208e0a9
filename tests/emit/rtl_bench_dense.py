"""Runs inside the simulator: asks a dense read controller for words, answers with levels of cells."""

import json
import os
from pathlib import Path

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge, Timer

CASE = json.loads(Path(os.environ["TILE_CASE"]).read_text())


@cocotb.test(timeout_time=50, timeout_unit="ms")
async def words(dut):
    cocotb.start_soon(Clock(dut.clk, 10, "ns").start())
    dut.reset.value = 1
    dut.start.value = 0
    dut.level_valid.value = 0
    dut.level.value = 0
    await RisingEdge(dut.clk)
    await RisingEdge(dut.clk)
    dut.reset.value = 0
    found, walked, clocks = [], [], []
    for number, count in enumerate(CASE["counts"]):
        dut.read.value = number
        dut.count.value = count
        dut.check_base.value = CASE["check_base"]
        dut.start.value = 1
        await RisingEdge(dut.clk)
        dut.start.value = 0
        cells, clock = [], 0
        while True:
            await Timer(1, "ns")
            dut.level_valid.value = 0
            if int(dut.done.value):
                break
            if int(dut.sense.value) and clock % 7 != 5:  # now and then the converter is late
                cell = int(dut.wordline.value) * CASE["bitlines"] + int(dut.bitline.value)
                cells.append(cell)
                dut.level.value = CASE["levels"][cell]
                dut.level_valid.value = 1
            clock += 1
            await RisingEdge(dut.clk)
        found.append([int(dut.values.value), int(dut.status.value)])
        walked.append(cells)
        clocks.append(clock)
        await RisingEdge(dut.clk)
    Path(os.environ["TILE_RESULTS"]).write_text(
        json.dumps({"words": found, "cells": walked, "clocks": clocks})
    )
