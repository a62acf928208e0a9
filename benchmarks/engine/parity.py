"""The short form: the numbers behind the table are right; no speed is judged.

Each check compares what the table times (the fast engine, on the works' chips, at small sizes) with something
written independently of it: plain int64 arithmetic, or the digit-by-digit reference engine.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor
from transformers import BertConfig, BertModel, LlamaConfig, LlamaForCausalLM

import ohmformer
from benchmarks.engine import chips
from benchmarks.engine.measuring import Ratio, alternate, cpu, local
from benchmarks.engine.six_linears import SixLinears, inputs
from ohmformer.engine import ProductEngine, ReferenceEngine, native
from ohmformer.specs import ChipSpec

SIGMAS = 5.0  # a correct engine fails a check of a law once in 1.7 million runs, and seeds are fixed
ULP = 2.0**-23


@dataclass(frozen=True, kw_only=True)
class Check:
    """One comparison: the deviation found and the largest allowed."""

    name: str
    deviation: float
    bound: float
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether the deviation is within the bound; NaN is not."""
        return self.deviation <= self.bound


Comparison = Callable[[], tuple[float, float]]  # deviation, bound


def comparisons() -> Iterator[tuple[str, Comparison]]:
    """Every check by name."""
    yield "six linears, ideal chip = int64 product", ideal_six_linears
    for code in chips.resident_codes():
        for bits in (6, 7, 8):
            yield (
                f"digit-serial, resident {code}, {bits}-bit converter, noise off = reference",
                partial(serial_product, code, bits),
            )
    yield "collapsed, converter noise 0.3: mean as the reference's", partial(law, "collapsed", 1)
    yield "collapsed, converter noise 0.3: mean square as the reference's", partial(law, "collapsed", 2)
    yield "digit-serial, noise 0.3: mean as the reference's", partial(law, "digit-serial", 1)
    yield "digit-serial, noise 0.3: mean square as the reference's", partial(law, "digit-serial", 2)
    yield "BERT of two layers, ideal chip = reference", whole_encoder
    yield "Llama of one layer, prompt and cached decoding, ideal chip = reference", whole_decoder
    yield "every noise on: one thread = two threads = once more", same_answer
    yield "every noise on: kernels in use = plain torch", same_kernels
    yield "every noise on: another seed is another answer", other_answer
    yield "ratio of a run to itself is about 1", same_run


def ideal_six_linears() -> tuple[float, float]:
    """Largest deviation in units of its own rounding bound.

    Ours and theirs round the same whole number to float32, multiply twice and add the bias: at most 4
    roundings each of half an ulp of |product| + |bias|, so 4 ulp between the two.
    """
    model = SixLinears(96, 192).eval()
    x = inputs(model, 2, 9)
    chip = ohmformer.ideal(chips.collapsed())
    ours = ohmformer.deploy(model, chip, check=False)(*x)
    worst = 0.0
    for layer, values, found in zip(model.children(), (x[0],) * 5 + (x[1],), ours, strict=True):
        assert isinstance(layer, torch.nn.Linear)
        streamed, row_scale = _codes(values, 127)
        resident, column_scale = _codes(layer.weight.detach(), 127)
        sums = (streamed.unsqueeze(-2) * resident).sum(-1)
        bias_codes, bias_scale = _codes(layer.bias.detach().reshape(1, -1), 32767)
        bias = (bias_codes * bias_scale.double()).squeeze(0)
        product = sums.double() * row_scale.double() * column_scale.double().squeeze(-1)
        allowed = 4 * ULP * (product.abs() + bias.abs())
        worst = max(worst, float(((found.double() - product - bias).abs() / allowed).max()))
    return worst, 1.0


def _codes(values: Tensor, largest: int) -> tuple[Tensor, Tensor]:
    scale = values.abs().amax(-1, keepdim=True) / largest
    return torch.round(values / scale).to(torch.int64), scale


def _operands(rows: int = 6, inner: int = 200, columns: int = 5) -> tuple[Tensor, Tensor]:
    """Codes of 8 bits over four groups of wordlines, the last one short.

    The digits of the first rows are all positive, and the first columns close nearly every switch, so that
    those sums leave the range even of an 8-bit converter: 64 digits of 1 ... 3 add up to about 128. Every row
    and column holds 127 somewhere, so that quantising it again gives the same codes with the scale 1.
    """
    generator = torch.Generator().manual_seed(3)
    left = torch.randint(-127, 128, (rows, inner), generator=generator).float()
    right = torch.randint(-127, 128, (inner, columns), generator=generator).float()
    digits = torch.randint(1, 4, (2, rows // 2, inner), generator=generator)
    left[: rows // 2] = (digits[0] + 7 * digits[1]).float()
    right[:, 0], right[:, 1] = 127.0, 24.0  # every bit but the sign; every resistor of the two lower digits
    left[:, -1] = 127.0
    right[-1] = 127.0
    return left, right


def _products(
    chip: ChipSpec, engine: ProductEngine | None, operands: tuple[Tensor, Tensor], runs: int = 1
) -> Tensor:
    """Whole-number products [run, row, column] of one linear layer on ``chip``, float64."""
    left, right = operands
    inner, columns = right.shape
    layer = torch.nn.Linear(inner, columns, bias=False).eval()
    with torch.no_grad():
        layer.weight.copy_(right.t())
    ours = ohmformer.deploy(layer, chip, engine=engine, check=False)
    return torch.stack([ours(left).double() for _ in range(runs)])


def serial_product(code: str, bits: int) -> tuple[float, float]:
    """Largest difference of whole numbers; none is allowed, and clipping must have changed the product."""
    chip = ohmformer.without_noise(chips.digit_serial(code, bits))
    operands = _operands()
    slow = _products(chip, ReferenceEngine(chip.tile), operands)[0]
    if torch.equal(slow, operands[0].double() @ operands[1].double()):
        return float("inf"), 0.0
    return float((_products(chip, None, operands)[0] - slow).abs().max()), 0.0


@lru_cache(maxsize=2)
def _errors(mode: str) -> tuple[Tensor, Tensor]:
    """Errors of the fast and of the reference engine over the same operands, three runs each.

    Deviations from the same chip without noise, independent from output to output and run to run.
    """
    chip = chips.collapsed() if mode == "collapsed" else chips.digit_serial("bits", 7)
    quiet = ohmformer.without_noise(chip)
    noisy = ohmformer.override(quiet, {"tile.environment_noise": 0.1, "tile.adc.noise": 0.3})
    operands = _operands(rows=24, columns=40)
    exact = _products(quiet, ReferenceEngine(quiet.tile), operands)
    fast, slow = (
        (_products(noisy, engine, operands, runs=3) - exact).flatten()
        for engine in (None, ReferenceEngine(noisy.tile))
    )
    return fast, slow


def law(mode: str, power: int) -> tuple[float, float]:
    """Mean of error^power of both engines, in standard errors of their difference."""
    found = [errors**power for errors in _errors(mode)]
    error = sum(float(part.var()) / part.numel() for part in found) ** 0.5
    return abs(float(found[0].mean() - found[1].mean())) / error, SIGMAS


def _bert() -> Any:
    torch.manual_seed(4)
    config = BertConfig(
        vocab_size=50, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48
    )
    return BertModel(config).eval()


def _llama() -> Any:
    torch.manual_seed(5)
    config = LlamaConfig(
        vocab_size=50,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=48,
        max_position_embeddings=64,
    )
    return LlamaForCausalLM(config).eval()


def _on_both(model: Any, run: Callable[[Any], Tensor]) -> tuple[float, float]:
    """Largest difference between the fast and the reference engine; none is allowed."""
    chip = ohmformer.ideal(chips.collapsed())
    fast = run(ohmformer.deploy(model, chip))
    slow = run(ohmformer.deploy(model, chip, engine=ReferenceEngine(chip.tile)))
    if fast.shape != slow.shape:
        return float("inf"), 0.0
    return float((fast.double() - slow.double()).abs().max()), 0.0


def whole_encoder() -> tuple[float, float]:
    """The last hidden state."""
    ids = torch.arange(14).reshape(2, 7)
    return _on_both(_bert(), lambda model: model(input_ids=ids).last_hidden_state)


def whole_decoder() -> tuple[float, float]:
    """The logits of the prompt and the tokens that follow, from the cache."""
    ids = torch.arange(5).reshape(1, 5)

    def run(model: Any) -> Tensor:
        logits = model(input_ids=ids).logits.flatten()
        text = model.generate(ids, max_new_tokens=2, min_new_tokens=2, do_sample=False, pad_token_id=0)
        return torch.cat([logits, text.flatten().float()])

    return _on_both(_llama(), run)


def _all_noise() -> ChipSpec:
    return chips.collapsed(telegraph_scale=8.0, converter_noise=0.3)


def _answer(seed: int, threads: int) -> Tensor:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        model = SixLinears(192, 768).eval()
        ours = ohmformer.deploy(model, _all_noise(), seed=seed, check=False)
        return torch.cat([y.flatten() for y in ours(*inputs(model, 4, 16))])
    finally:
        torch.set_num_threads(before)


def same_answer() -> tuple[float, float]:
    """Largest difference between three runs of one seed; none is allowed."""
    first = _answer(1, 1)
    return max(float((first - _answer(1, threads)).abs().max()) for threads in (2, 1)), 0.0


def same_kernels() -> tuple[float, float]:
    """Largest difference between the kernels in use and plain torch; none is allowed."""
    first = _answer(1, 1)
    before = os.environ.get(native.VARIABLE)
    os.environ[native.VARIABLE] = "torch"
    try:
        return float((first - _answer(1, 1)).abs().max()), 0.0
    finally:
        os.environ.pop(native.VARIABLE)
        if before is not None:
            os.environ[native.VARIABLE] = before


def other_answer() -> tuple[float, float]:
    """0 if two seeds give different answers, else 1."""
    return float(torch.equal(_answer(1, 1), _answer(2, 1))), 0.0


def same_run() -> tuple[float, float]:
    """|log2| of the median ratio of a product to itself: below 1 unless timing is broken."""
    x = torch.randn(512, 512, generator=torch.Generator().manual_seed(6))
    run = local(lambda: [x @ x for _ in range(8)])
    samples = alternate({"a": run, "b": run}, threads=1, repeats=9, warmups=2)
    median = Ratio.of(cpu(samples["a"]), cpu(samples["b"])).median
    return abs(float(torch.tensor(median).log2())), 1.0


def run_all() -> list[Check]:
    """Every check, in order; one that raises fails the run."""
    found = []
    for name, compare in comparisons():
        started = time.perf_counter()
        deviation, bound = compare()
        seconds = time.perf_counter() - started
        found.append(Check(name=name, deviation=deviation, bound=bound, seconds=seconds))
    return found


def as_text(checks: list[Check]) -> str:
    """One line a check, and a sum."""
    lines = [
        f"{'ok   ' if check.passed else 'WRONG'} {check.name}: "
        f"{check.deviation:.3g} (at most {check.bound:g})"
        for check in checks
    ]
    wrong = sum(not check.passed for check in checks)
    lines.append(f"{len(checks)} checks, {wrong} wrong, {sum(check.seconds for check in checks):.1f} s")
    return "\n".join(lines)


def as_json(checks: list[Check]) -> str:
    """The checks as JSON text."""
    rows = [{**asdict(check), "passed": check.passed} for check in checks]
    return json.dumps({"schema": 1, "checks": rows}, indent=1) + "\n"
