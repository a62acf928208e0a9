"""Runs inside the simulator: rows of scores into the softmax unit, its tile played as in rtl_bench_tile."""

import json
import os
from pathlib import Path

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge, Timer
from rtl_bench_tile import CASE, converters


@cocotb.test(timeout_time=50, timeout_unit="ms")
async def scores(dut):
    cocotb.start_soon(Clock(dut.clk, 10, "ns").start())
    dut.reset.value = 1
    dut.score_valid.value = 0
    dut.score_last.value = 0
    dut.score.value = 0
    dut.codes.value = 0
    dut.codes_valid.value = 0
    CASE["counts"] = {}
    await RisingEdge(dut.clk)
    await RisingEdge(dut.clk)
    dut.reset.value = 0
    cocotb.start_soon(converters(dut))
    found = []
    for row in CASE["scores"]:
        for place, score in enumerate(row):
            dut.score.value = score
            dut.score_valid.value = 1
            dut.score_last.value = int(place == len(row) - 1)
            await RisingEdge(dut.clk)
        dut.score_valid.value = 0
        products = []
        while True:
            await RisingEdge(dut.clk)
            await Timer(2, "ns")
            if int(dut.probability_valid.value):
                products.append([int(dut.product.value), dut.power.value.to_signed()])
                if int(dut.probability_last.value):
                    break
        found.append(products)
        await RisingEdge(dut.clk)
    Path(os.environ["TILE_RESULTS"]).write_text(json.dumps({"products": found, **CASE["counts"]}))
