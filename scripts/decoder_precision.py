"""Perplexity of SmolLM2 on the ideal 8-bit chip, with and without what is done about outliers.

    python scripts/decoder_precision.py [--tokens 4096] [--out FILE.json]

Windows of 512 tokens, stride 256. Weights are compensated (deploy.compensate) on tokens that come after those
that are scored. The interval is one standard error of the mean difference to fp32 over blocks of 32 tokens.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ohmformer import chips
from ohmformer.deploy import compensate, deploy
from ohmformer.errors import write_atomically
from ohmformer.specs import ideal, override
from ohmformer.workloads import load_model, load_text, token_nll

CALIBRATION_START, CALIBRATION_WINDOWS, WINDOW = 20_000, 8, 512
BLOCK = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--tokens", type=int, default=4096)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    loaded = load_model("smollm2", task="causal")
    text = load_text("wikipedia-sample").text
    chip = ideal(chips.wang2024())

    def score(model: Any) -> np.ndarray:
        return token_nll(
            model, loaded.tokenizer, text, window=WINDOW, stride=WINDOW // 2, max_tokens=options.tokens
        )

    reference = score(loaded.model)
    rows = [{"what": "fp32", "perplexity": math.exp(reference.mean()), "tokens": len(reference)}]
    print(rows[0], flush=True)
    ids = torch.tensor(loaded.tokenizer(text)["input_ids"])
    stop = CALIBRATION_START + CALIBRATION_WINDOWS * WINDOW
    windows = ids[CALIBRATION_START:stop].reshape(CALIBRATION_WINDOWS, WINDOW)
    start = time.time()
    rounded = compensate(loaded.model, [{"input_ids": window[None]} for window in windows], 8)
    print(f"weights compensated in {time.time() - start:.0f} s", flush=True)
    for what, model, outliers in (
        ("8 bits", loaded.model, 0),
        ("8 bits, 16 outliers a row", loaded.model, 16),
        ("8 bits, 16 outliers a row, compensated weights", rounded, 16),
    ):
        found = score(deploy(model, override(chip, {"precision.outliers": outliers}), check=False))
        difference = found - reference
        blocks = difference[: len(difference) // BLOCK * BLOCK].reshape(-1, BLOCK).mean(1)
        rows.append(
            {
                "what": what,
                "perplexity": math.exp(found.mean()),
                "loss_percent": 100 * math.expm1(difference.mean()),
                "standard_error_percent": 100 * blocks.std(ddof=1) / math.sqrt(len(blocks)),
            }
        )
        print(rows[-1], flush=True)
    if options.out:
        write_atomically(options.out, json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
