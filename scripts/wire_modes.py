"""How far the calibrated mode is from every conversion computed: over wires, and on a task.

    python scripts/wire_modes.py sweep [--ohm 0.1 0.5 1] [--unit 1e6 1e5] [--adc-bits 7] [--runs 2]
    python scripts/wire_modes.py task [--ohm 1] [--test 300] [--train 1000]

sweep: for each wire resistance per segment and unit resistance the mode that the chip allows, the share of
conversions that wires make wrong for typical operands and, where the mode is calibrated, its errors beside
the digit-serial ones in the linears of an encoder: root mean square over the layers of the differences of
mean and variance in standard errors, how many exceed 3, the largest, and the variance of all errors over that
of digit-serial. Linears without an error in one of the modes have no standard error: they are counted.
task: sarcasm headlines by a logistic regression on the encoder's vectors; calibrated less digit-serial on the
same headlines with Newcombe's paired interval, and the squared distances of the vectors from fp32.
Nothing is written unless --json FILE is given.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ohmformer import chips
from ohmformer.deploy import deploy
from ohmformer.engine import mode_of
from ohmformer.engine.wire_law import typical_share
from ohmformer.errors import write_atomically
from ohmformer.specs import ChipSpec, override
from ohmformer.verbs import layer_deviations
from ohmformer.workloads import embed, load_classification, load_model, paired_difference, train_head
from ohmformer.workloads.batches import collate, token_rows

SENTENCES = (
    "The cat sat on the mat and looked at the rain outside.",
    "Engineers measured the resistance of the copper wires twice before breakfast.",
    "A quick brown fox jumps over the lazy dog near the river bank.",
    "Scientists report a surprising decline in the price of coffee this year.",
    "She wrote a long letter to her brother, who lives in another country.",
    "The committee will meet again on Tuesday to discuss the new budget.",
)


def chip_of(ohm: float, unit_ohm: float, adc_bits: int | None) -> ChipSpec:
    """``wang2024`` with wires, another unit resistance, and a converter of ``adc_bits`` with its polarity."""
    changes: dict[str, float] = {
        "tile.resistor.wire_resistance_ohm": ohm,
        "tile.resistor.unit_resistance_ohm": unit_ohm,
    }
    if adc_bits is not None:
        changes["tile.adc.bits"] = adc_bits - 1
    return override(chips.wang2024(), changes)


def sweep(options: argparse.Namespace) -> list[dict[str, Any]]:
    loaded = load_model(options.model, task="encoder")
    rows = token_rows(loaded.model, loaded.tokenizer, SENTENCES, max_tokens=64)
    inputs = collate(rows, loaded.tokenizer.pad_token_id)
    found = []
    for unit in options.unit:
        for ohm in options.ohm:
            chip = chip_of(ohm, unit, options.adc_bits)
            row: dict[str, Any] = {"unit_ohm": unit, "ohm": ohm, "mode": mode_of(chip.tile)}
            row["typical_share"] = typical_share(chip.tile)
            if row["mode"] == "calibrated":
                row |= deviation(loaded.model, chip, inputs, options)
            print(json.dumps(row), flush=True)
            found.append(row)
    return found


def deviation(
    model: Any, chip: ChipSpec, inputs: dict[str, torch.Tensor], options: argparse.Namespace
) -> dict[str, Any]:
    rows = layer_deviations(model, chip, inputs, mode="calibrated", seed=options.seed, runs=options.runs)
    every_linear = [row for row in rows if row.operation == "linear"]
    linears = [row for row in every_linear if row.sd_reference > 0 < row.sd_other]
    found: dict[str, Any] = {
        "errors_in_one_mode_only": sum((row.sd_reference > 0) != (row.sd_other > 0) for row in every_linear)
    }
    if not linears:
        return found
    mean, variance = [row.mean_z for row in linears], [row.variance_z for row in linears]
    every = [abs(z) for z in mean + variance]
    reference, other = (
        sum(getattr(row, name) ** 2 * row.outputs / row.signal_sd**2 for row in linears)
        for name in ("sd_reference", "sd_other")
    )
    worst = max(linears, key=lambda row: max(abs(row.mean_z), abs(row.variance_z)))
    return found | {
        "rms_mean_z": math.sqrt(sum(z * z for z in mean) / len(mean)),
        "rms_variance_z": math.sqrt(sum(z * z for z in variance) / len(variance)),
        "beyond_3": sum(z > 3 for z in every),
        "of": len(every),
        "largest": max(every),
        "worst_layer": worst.layer,
        "pooled": other / reference if reference else None,
    }


def task(options: argparse.Namespace) -> list[dict[str, Any]]:
    split = load_classification("sarcasm").split(options.train, options.test, options.seed)
    loaded = load_model(options.model, task="encoder")
    vectors = embed(loaded.model, loaded.tokenizer, split.train_texts)
    head = train_head(vectors, np.array(split.train_labels), seed=split.seed)
    clean = embed(loaded.model, loaded.tokenizer, split.test_texts)
    labels = np.array(split.test_labels)
    found: list[dict[str, Any]] = []
    found.append({"mode": "fp32", "accuracy": float((head.predict(clean) == labels).mean())})
    print(json.dumps(found[0]), flush=True)
    chip = chip_of(options.ohm[0], options.unit[0], options.adc_bits)
    right, away = {}, {}
    for mode in ("digit-serial", "calibrated"):
        running = deploy(loaded.model, chip, seed=options.seed, mode=mode)
        made = embed(running, loaded.tokenizer, split.test_texts)
        right[mode], away[mode] = head.predict(made) == labels, np.square(made - clean).sum(1)
        row = {"mode": mode, "accuracy": float(right[mode].mean()), "distance": float(away[mode].mean())}
        print(json.dumps(row), flush=True)
        found.append(row)
    paired = paired_difference(right["digit-serial"], right["calibrated"])
    logarithm = np.log(away["calibrated"] / away["digit-serial"])
    found.append(
        {
            "difference": paired.difference.value,
            "low": paired.difference.low,
            "high": paired.difference.high,
            "p_value": paired.p_value,
            "only_digit_serial": int((right["digit-serial"] & ~right["calibrated"]).sum()),
            "only_calibrated": int((right["calibrated"] & ~right["digit-serial"]).sum()),
            "log_distance_ratio": float(logarithm.mean()),
            "log_distance_ratio_se": float(logarithm.std(ddof=1) / math.sqrt(len(logarithm))),
        }
    )
    print(json.dumps(found[-1]), flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=("sweep", "task"))
    parser.add_argument("--ohm", type=float, nargs="+", default=None, help="per segment")
    parser.add_argument("--unit", type=float, nargs="+", default=[1e6], help="unit resistance")
    parser.add_argument("--adc-bits", type=int, help="of the converter with its polarity")
    parser.add_argument("--model", default="minilm")
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--train", type=int, default=1000)
    parser.add_argument("--test", type=int, default=300)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.ohm is None:
        options.ohm = [1.0] if options.what == "task" else [0.1, 0.2, 0.5, 0.8, 1.0, 1.25, 2.0, 5.0]
    found = task(options) if options.what == "task" else sweep(options)
    if options.json:
        write_atomically(options.json, json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
