"""Two engines side by side: what is recorded, and that a difference is seen."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ohmformer.engine.comparing import ComparingEngine
from ohmformer.engine.randomness import Draw, deviates, random_words


@dataclass(frozen=True)
class Noisy:
    """The exact product plus normal noise of a mean and a deviation."""

    mean: float
    sd: float

    def product(self, streamed: Tensor, resident: Any, *, draw: Draw, **_bits: int) -> Tensor:
        exact = streamed @ resident
        words = random_words(draw.seed, draw.stream, draw.keys, -(-exact.shape[-1] // 4))
        z = deviates(words[:, : exact.shape[-1]]).view_as(exact)
        return (exact + self.mean + self.sd * z).round()


def run(engine: ComparingEngine, rows: int = 400, columns: int = 24, first: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(first)
    streamed = torch.randint(-127, 128, (rows, 30), generator=generator).float()
    resident = torch.randint(-127, 128, (30, columns), generator=generator).float()
    draw = Draw(seed=1, stream=2, keys=torch.arange(first, first + rows))
    found = engine.product(streamed, resident, streamed_bits=8, resident_bits=8, draw=draw)
    return found - streamed @ resident


def test_what_is_recorded_is_what_happened():
    """9600 outputs: the moments of the errors that went on, and standard errors of independent normals.

    Rows are the units: se(mean difference) = sqrt(2)·sd/sqrt(outputs), of the relative variance difference
    sqrt(2)·sqrt(2/outputs); each estimated from 400 rows, so to 1/sqrt(800) = 3.5 %, 15 % is four of these.
    """
    engine = ComparingEngine(Noisy(3.0, 40.0), Noisy(3.0, 40.0), lambda: "here")
    errors = run(engine).double()
    (row,) = engine.deviations()
    assert (row.layer, row.operation, row.rows, row.outputs) == ("here", "matmul", 400, 9600)
    assert math.isclose(row.mean_reference, float(errors.mean()), rel_tol=1e-12)
    assert math.isclose(row.sd_reference, float(errors.std(correction=0)), rel_tol=1e-12)
    assert abs(row.mean_difference_se / (2**0.5 * 40 / 9600**0.5) - 1) < 0.15
    assert abs(row.variance_difference_se / (2**0.5 * (2 / 9600) ** 0.5) - 1) < 0.15
    assert abs(row.mean_z) < 3
    assert abs(row.variance_z) < 3
    assert row.sd_other != row.sd_reference


def test_another_mean_and_another_variance_are_seen():
    """5 standard errors of the mean are 2.9, of the variance 10 %: these differ by twice as much and more."""
    for other, place in ((Noisy(9.0, 40.0), "mean_z"), (Noisy(3.0, 46.0), "variance_z")):
        engine = ComparingEngine(Noisy(3.0, 40.0), other)
        run(engine)
        (row,) = engine.deviations()
        assert getattr(row, place) > 5
        assert row.mean_z == (row.mean_other - row.mean_reference) / row.mean_difference_se


def test_calls_of_one_place_add_up_and_places_stay_apart():
    places = iter(["a", "b", "a"])
    engine = ComparingEngine(Noisy(0.0, 20.0), Noisy(0.0, 20.0), lambda: next(places))
    parts = [run(engine, 50, columns, first) for columns, first in ((8, 0), (1, 50), (16, 100))]
    first, second = engine.deviations()
    assert (first.layer, first.operation, first.rows, first.outputs) == ("a", "matmul", 100, 1200)
    assert (second.layer, second.operation, second.outputs) == ("b", "row sum", 50)
    together = torch.cat([parts[0].flatten(), parts[2].flatten()]).double()
    assert math.isclose(first.mean_reference, float(together.mean()), rel_tol=1e-9)
    engine.forget()
    assert engine.deviations() == []


def test_engines_without_error_do_not_deviate():
    engine = ComparingEngine(Noisy(0.0, 0.0), Noisy(0.0, 0.0))
    assert not run(engine, 3).any()
    (row,) = engine.deviations()
    assert (row.mean_z, row.variance_z, row.sd_other) == (0.0, 0.0, 0.0)
    engine = ComparingEngine(Noisy(0.0, 0.0), Noisy(1.0, 0.0))
    run(engine, 3)
    assert engine.deviations()[0].mean_z == math.inf
    meta = torch.empty(2, 3, device="meta")

    class Shape:
        def product(self, streamed: Tensor, resident: Any, **_rest: Any) -> Tensor:
            return streamed @ resident

    engine = ComparingEngine(Shape(), Shape())
    draw = Draw(seed=0, stream=0, keys=torch.zeros(2, dtype=torch.int64))
    assert engine.product(meta, meta.T, streamed_bits=8, resident_bits=8, draw=draw).is_meta
    assert engine.deviations() == []
