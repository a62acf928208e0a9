"""The noise of a sample is its own: the same bits in one batch, in two, alone, on any kernels and threads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ohmformer import chips
from ohmformer.deploy import deploy, load_deployed, on_chip, save_deployed
from ohmformer.engine.native import VARIABLE, _native
from ohmformer.errors import UserError
from ohmformer.specs import ChipSpec, override

from .conftest import FAMILIES
from .test_physical_chip import NOISY

KERNELS = [*(_native.names() if _native is not None else []), "torch"]
# cells that are never misread, so that the noise is that of conversions alone
SURE = {"dense.cell.noise.telegraph_scale": 0.0, "dense.cell.noise.stuck_low_rate": 0.0}
CHIPS: dict[str, ChipSpec] = {
    "misreads": NOISY,
    "misreads, rare errors": override(NOISY, {"tile.environment_noise": 0.19, "tile.resistor.mismatch": 0.0}),
    "thinned errors": override(
        NOISY, SURE | {"tile.environment_noise": 0.18, "tile.resistor.mismatch": 0.005}
    ),
    "frequent errors": override(
        NOISY, SURE | {"tile.environment_noise": 0.2, "tile.resistor.mismatch": 0.02}
    ),
    "misreads, frequent errors": override(
        NOISY, {"tile.environment_noise": 0.2, "tile.resistor.mismatch": 0.02}
    ),
    "lossy": chips.wang2024_2bit_lossy(),
}
CASES = [(name, chip) for name in ("bert", "gpt2", "llama") for chip in CHIPS]
COUNT = 3


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    yield
    torch.set_num_threads(1)


def samples(seed: int = 1) -> Tensor:
    return torch.randint(3, 60, (COUNT, 5), generator=torch.Generator().manual_seed(seed))


def run(model: Any, ids: Tensor) -> Tensor:
    with torch.no_grad():
        found: Tensor = model(input_ids=ids)[0]
    return found


def deployed(name: str, chip: str, **options: Any) -> Any:
    return deploy(FAMILIES[name].make(), CHIPS[chip], seed=3, check=False, **options)


@pytest.mark.parametrize(("name", "chip"), CASES)
def test_however_a_batch_is_cut_each_sample_is_the_same(name, chip):
    model, ids = deployed(name, chip), samples()
    whole = run(model, ids)
    quiet = run(deploy(FAMILIES[name].make(), chips.wang2024(), check=False), ids)
    for one, other in zip(whole, quiet, strict=True):  # noise reaches every sample
        assert not torch.equal(one, other)
    for sizes in ([2, 1], [1] * COUNT):
        model.on_chip.restart()
        assert torch.equal(torch.cat([run(model, part) for part in ids.split(sizes)]), whole)
    # alike sequences meet noise of their own: samples are told apart by number, not by content
    model.on_chip.restart()
    alike = run(model, ids[:1].expand(2, -1))
    assert torch.equal(alike[0], whole[0])
    assert not torch.equal(alike[0], alike[1])


@pytest.mark.parametrize(("name", "chip"), [("llama", "misreads"), ("gpt2", "thinned errors")])
def test_samples_may_be_numbered(name, chip):
    """In any order and company, the number of a sample gives its noise; the count goes on undisturbed."""
    model, ids = deployed(name, chip), samples()
    whole = run(model, ids)
    order = [2, 0, 1]
    with model.on_chip.numbered(order):
        assert torch.equal(run(model, ids[order]), whole[order])
    with model.on_chip.numbered([2]):
        assert torch.equal(run(model, ids[2:]), whole[2:])
        with model.on_chip.numbered([1]):
            assert torch.equal(run(model, ids[1:2]), whole[1:2])
        assert torch.equal(run(model, ids[2:]), whole[2:])
    with pytest.raises(UserError, match="at least one number"), model.on_chip.numbered([]):
        pass
    after = run(model, ids)
    model.on_chip.restart(COUNT)
    assert torch.equal(run(model, ids), after)
    assert not torch.equal(after, whole)


def test_numbers_that_do_not_fit_the_batch_are_refused():
    model, ids = deployed("llama", "misreads"), samples()
    with model.on_chip.numbered([0, 1]), pytest.raises(UserError, match="2 samples are numbered.*holds 3"):
        run(model, ids[:3])


@pytest.mark.parametrize(
    ("name", "chip"),
    [
        ("bert", "thinned errors"),
        ("gpt2", "misreads"),
        ("llama", "misreads, rare errors"),
        ("bert", "frequent errors"),
        ("llama", "lossy"),
    ],
)
def test_kernels_and_plain_torch_give_the_same_model(name, chip, monkeypatch):
    """Every instruction set, in every regime, bit for bit, and so on two threads."""
    ids, found = samples()[:2], {}
    for kernels in KERNELS:
        monkeypatch.setenv(VARIABLE, kernels)
        model = deployed(name, chip)
        found[kernels] = run(model, ids)
        if kernels != "torch":
            torch.set_num_threads(2)
            model.on_chip.restart()
            assert torch.equal(run(model, ids), found[kernels])
            torch.set_num_threads(1)
    assert all(torch.equal(one, found["torch"]) for one in found.values())


@pytest.mark.parametrize("mode", ["digit-serial", "statistical"])
def test_other_modes_keep_the_noise_with_the_sample(mode, monkeypatch):
    ids, found = samples()[:2], []
    for kernels in (KERNELS[0], "torch"):
        monkeypatch.setenv(VARIABLE, kernels)
        model = deployed("bert", "frequent errors", mode=mode)
        whole = run(model, ids)
        model.on_chip.restart()
        assert torch.equal(torch.cat([run(model, part) for part in ids.split(1)]), whole)
        found.append(whole)
    assert torch.equal(*found)


@pytest.mark.parametrize("chip", ["thinned errors", "frequent errors"])
def test_a_chip_saved_between_two_samples_goes_on(chip, tmp_path: Path):
    model, ids = deployed("gpt2", chip), samples()
    whole = run(model, ids)
    model.on_chip.restart()
    first = run(model, ids[:1])
    restored = load_deployed(save_deployed(model, tmp_path / "saved"))
    assert torch.equal(torch.cat((first, run(restored, ids[1:]))), whole)
    on_chip(restored).restart()
    assert torch.equal(run(restored, ids), whole)


def test_generated_samples_do_not_depend_on_their_batch():
    """Greedy steps through the cache: prompts of one length, together or alone."""
    model, ids = deployed("llama", "frequent errors"), samples()
    settings = {"do_sample": False, "max_new_tokens": 5, "min_new_tokens": 5, "pad_token_id": 0}
    with model.on_chip.numbered(range(COUNT)):
        whole = model.generate(ids, **settings)
    for number in range(COUNT):
        with model.on_chip.numbered([number]):
            alone = model.generate(ids[number : number + 1], **settings)
        assert torch.equal(alone[0], whole[number])


@pytest.mark.parametrize("beams", [1, 2])
@pytest.mark.parametrize("family", ["llama", "t5"])
def test_steps_of_a_generation_go_on_with_its_samples(family, beams):
    """Without numbers given, the second of two prompts meets the same noise beside the first and after it.

    The same prompts once more are further samples.
    """
    model, ids = deployed(family, "frequent errors"), samples()
    settings = {"do_sample": False, "max_new_tokens": 5, "min_new_tokens": 5, "pad_token_id": 0}
    settings |= {"num_beams": beams, "output_scores": True, "return_dict_in_generate": True}
    whole = model.generate(ids[:2], **settings)
    again = model.generate(ids[:2], **settings)
    model.on_chip.restart()
    parts = [model.generate(ids[number : number + 1], **settings) for number in range(2)]
    for number, part in enumerate(parts):
        assert torch.equal(part.sequences[0], whole.sequences[number])
    for step, scores in enumerate(whole.scores):
        alone = torch.cat([part.scores[step] for part in parts])
        assert torch.equal(alone, scores)
    assert not torch.equal(again.scores[0], whole.scores[0])


@pytest.mark.parametrize("name", ["mixtral", "gpt_oss"])
@pytest.mark.parametrize("chip", CHIPS)
def test_rows_gathered_for_experts_are_known_by_their_numbers(name, chip):
    model, ids = deployed(name, chip), samples()
    whole = run(model, ids)
    quiet = run(deploy(FAMILIES[name].make(), chips.wang2024(), check=False), ids)
    assert not torch.equal(whole, quiet)
    for sizes in ([2, 1], [1] * COUNT):
        model.on_chip.restart()
        assert torch.equal(torch.cat([run(model, part) for part in ids.split(sizes)]), whole)


@pytest.mark.parametrize("chip", ["misreads", "frequent errors"])
def test_texts_written_without_a_cache_keep_their_samples(chip):
    model, ids = deployed("llama", chip), samples()
    settings = {
        "max_new_tokens": 4,
        "do_sample": False,
        "use_cache": False,
        "return_dict_in_generate": True,
        "output_scores": True,
        "pad_token_id": 0,
        "eos_token_id": None,
    }
    whole = model.generate(ids, **settings)
    following = run(model, ids)
    model.on_chip.restart()
    parts = [model.generate(part, **settings) for part in ids.split([2, 1])]
    for step, scores in enumerate(whole.scores):
        assert torch.equal(torch.cat([part.scores[step] for part in parts]), scores)
    assert torch.equal(run(model, ids), following)  # texts are counted once, whatever their steps
    # a step reads and converts anew: the noise of a text is not that of its first step
    again = model.generate(whole.sequences[:, :-1], **{**settings, "max_new_tokens": 1})
    assert not torch.equal(again.scores[0], whole.scores[-1])
