"""One seed is one physical chip and one sequence of noise; a saved chip is the same chip."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from ohmformer import chips
from ohmformer.deploy import deploy, load_deployed, on_chip, save_deployed
from ohmformer.devices import confusion_matrix
from ohmformer.engine import plan_reads
from ohmformer.errors import UserError
from ohmformer.numerals import to_symbols
from ohmformer.specs import ChipSpec, ideal, override

from .conftest import FAMILIES, output, sample_inputs

# strong enough that every run of a tiny model differs: millions of conversions and thousands of cells
NOISY = override(
    chips.wang2024(),
    {
        "dense.cell.noise.telegraph_scale": 20.0,
        "dense.cell.noise.stuck_low_rate": 0.001,
        "tile.environment_noise": 0.3,
    },
)


def runs(model: Any, count: int = 2) -> list[Tensor]:
    inputs = sample_inputs("bert", model)
    return [output(model, inputs) for _ in range(count)]


@pytest.mark.parametrize("chip", [NOISY, chips.wang2024_2bit_lossy()], ids=["noisy", "lossy"])
def test_seed_and_run_number_fix_everything(chip: ChipSpec) -> None:
    model = FAMILIES["bert"].make()
    first, second = runs(deploy(model, chip, seed=3)), runs(deploy(model, chip, seed=3))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not torch.equal(first[0], first[1])  # another run meets other noise
    assert not torch.equal(first[0], runs(deploy(model, chip, seed=4), 1)[0])


def test_the_global_generator_is_neither_used_nor_moved() -> None:
    model = FAMILIES["bert"].make()
    torch.manual_seed(1)
    deployed = deploy(model, NOISY, seed=3)
    inputs = sample_inputs("bert", model)
    state = torch.get_rng_state()
    first = output(deployed, inputs)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    deployed.on_chip.restart()
    assert torch.equal(output(deployed, inputs), first)


def test_another_seed_is_another_chip() -> None:
    """Programming draws other conductances, also where reads are without noise."""
    model = FAMILIES["bert"].make()
    cells = [
        deploy(model, NOISY, seed=seed, check=False).on_chip.parameters[0].cells.marginal
        for seed in (0, 0, 1)
    ]
    assert torch.equal(cells[0].conductance_S, cells[1].conductance_S)
    assert cells[0].conductance_S.tolist() != cells[2].conductance_S.tolist()


def test_restart_replays_from_any_run() -> None:
    deployed = deploy(FAMILIES["bert"].make(), NOISY)
    outputs = runs(deployed, 3)
    deployed.on_chip.restart()
    assert torch.equal(runs(deployed, 1)[0], outputs[0])
    deployed.on_chip.restart(2 * len(sample_inputs("bert", deployed)["input_ids"]))
    assert torch.equal(runs(deployed, 1)[0], outputs[2])


def test_reads_leave_the_cells_as_they_were() -> None:
    """A read that goes wrong is wrong once: the codes are restored exactly."""
    deployed = deploy(FAMILIES["mixtral"].make(), NOISY)
    before = [entry.codes for entry in deployed.on_chip.parameters]
    output(deployed, sample_inputs("mixtral", deployed))
    after = [entry.codes for entry in deployed.on_chip.parameters]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize("cell_bits", [1, 2])
def test_weights_are_misread_as_often_as_the_physics_says(cell_bits: int) -> None:
    """Wrong symbols of one read of one programmed chip, per stored and read symbol, against the closed form.

    Cells are independent in programming and reading: a count is binomial; 5 standard errors and one count.
    """
    chip = override(NOISY, {"dense.cell.bits": cell_bits, "dense.cell.noise.programming_noise": 0.1})
    layer = nn.Linear(300, 300, bias=False)
    torch.nn.init.uniform_(layer.weight, generator=torch.Generator().manual_seed(2))
    layer.weight.data.sub_(0.5)
    entry = deploy(layer, chip, seed=1, check=False).on_chip.parameters[0]
    spelled = (8, cell_bits, chip.dense.weight_code, chip.dense.gray)
    stored = to_symbols(entry.codes.int(), *spelled).long().reshape(-1)
    misreads = plan_reads([entry.cells], 3, torch.tensor([11])).misreads(0)
    codes = entry.codes.int().view(-1).index_add_(0, misreads.position, misreads.delta)
    read = to_symbols(codes, *spelled).long().reshape(-1)
    levels = 1 << cell_bits
    found = torch.bincount(stored * levels + read, minlength=levels**2).reshape(levels, levels)
    law = confusion_matrix(chip.dense.cell)
    total = found.sum(-1, keepdim=True)
    assert ((found - total * law).abs() <= 5 * (total * law * (1 - law)).sqrt() + 1).all()
    assert int(found.sum() - found.trace()) > 300


@pytest.mark.parametrize("name", ["bert", "gpt2", "mixtral", "t5"])
def test_the_original_is_untouched(name: str) -> None:
    model = FAMILIES[name].make().train()
    model.set_attn_implementation("sdpa")
    inputs = sample_inputs(name, model)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    config = model.config.to_json_string()
    deployed = deploy(model, NOISY)
    output(deployed, inputs)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert model.config.to_json_string() == config
    assert (model.config._attn_implementation, model.training) == ("sdpa", True)
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert not any("forward" in vars(module) for module in model.modules())
    assert not hasattr(model, "on_chip")


@pytest.mark.parametrize("name", ["bert", "llama"])
def test_threads_change_nothing_without_noise(name: str) -> None:
    """Integer products are exact in any order of summation."""
    deployed = deploy(FAMILIES[name].make(), ideal(chips.wang2024()))
    inputs = sample_inputs(name, deployed)
    one = output(deployed, inputs)
    torch.set_num_threads(2)
    try:
        assert torch.equal(output(deployed, inputs), one)
    finally:
        torch.set_num_threads(1)


@pytest.mark.parametrize("name", ["bert", "gpt2", "mixtral", "vit"])
def test_a_saved_chip_is_the_same_chip(name: str, tmp_path: Path) -> None:
    """Same codes, cells and run number: every later run is bit-identical, its noise included."""
    deployed = deploy(FAMILIES[name].make(), NOISY, seed=5)
    inputs = sample_inputs(name, deployed)
    output(deployed, inputs)
    folder = save_deployed(deployed, tmp_path / "saved")
    restored = load_deployed(folder)
    assert type(restored) is type(deployed)
    assert on_chip(restored).chip == NOISY
    assert on_chip(restored).seed == 5
    assert on_chip(restored).stored_words == deployed.on_chip.stored_words
    assert on_chip(restored).coverage == deployed.on_chip.coverage
    for _ in range(2):
        assert torch.equal(output(restored, inputs), output(deployed, inputs))
    assert [path.name for path in tmp_path.iterdir()] == ["saved"]


def test_a_saved_decoder_generates_as_before(tmp_path: Path) -> None:
    """Its settings of generation travel along."""
    deployed = deploy(FAMILIES["gpt2"].make(), NOISY)
    deployed.generation_config.max_new_tokens = 3
    deployed.generation_config.pad_token_id = 0
    restored = load_deployed(save_deployed(deployed, tmp_path / "saved"))
    ids = sample_inputs("gpt2", deployed)["input_ids"]
    expected = deployed.generate(ids, do_sample=False)
    assert expected.shape[1] == ids.shape[1] + 3
    assert torch.equal(restored.generate(ids, do_sample=False), expected)


def test_buffers_of_the_original_travel_along(tmp_path: Path) -> None:
    model = FAMILIES["bert"].make()
    model.bert.embeddings.position_ids = model.bert.embeddings.position_ids.flip(1)
    model.bert.embeddings.register_buffer("position_ids", model.bert.embeddings.position_ids, persistent=True)
    deployed = deploy(model, ideal(chips.wang2024()))
    restored = load_deployed(save_deployed(deployed, tmp_path / "saved"))
    assert torch.equal(runs(restored, 1)[0], runs(deployed, 1)[0])


def test_allowed_operations_travel_along(tmp_path: Path) -> None:
    deployed = deploy(FAMILIES["bert"].make(), ideal(chips.wang2024()), allow=("gelu",))
    restored = load_deployed(save_deployed(deployed, tmp_path / "saved"))
    assert on_chip(restored).allow == ("gelu",)
    assert "host" in {row.where for row in on_chip(restored).coverage}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of one saved chip."""
    folder = tmp_path_factory.mktemp("chip") / "saved"
    save_deployed(deploy(FAMILIES["bert"].make(), NOISY), folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def _damaged(saved: dict[str, bytes], folder: Path, name: str, content: bytes | None) -> Path:
    for file, data in saved.items():
        if file != name:
            (folder / file).write_bytes(data)
        elif content is not None:
            (folder / file).write_bytes(content)
    return folder


@pytest.mark.parametrize("name", ["chip.yaml", "deployed.safetensors", "ohmformer.json", "config.json"])
@pytest.mark.parametrize("how", ["missing", "empty", "cut", "noise"])
def test_a_damaged_folder_is_refused(saved: dict[str, bytes], tmp_path: Path, name: str, how: str) -> None:
    data = saved[name]
    content = {"missing": None, "empty": b"", "cut": data[: len(data) // 2], "noise": b"\x00\xff" * 40}[how]
    with pytest.raises(UserError) as refused:
        load_deployed(_damaged(saved, tmp_path, name, content))
    assert "\n" not in str(refused.value)
    assert "[Errno" not in str(refused.value)


def _lower_bits(saved: dict[str, bytes]) -> tuple[str, bytes]:
    """Codes of 8 bits under a chip that says 4."""
    text = saved["chip.yaml"]
    assert text.count(b"weight_bits: 8") == 1
    return "chip.yaml", text.replace(b"weight_bits: 8", b"weight_bits: 4")


def _nan_scale(saved: dict[str, bytes]) -> tuple[str, bytes]:
    tensors = load(saved["deployed.safetensors"])
    name = next(name for name in tensors if name.endswith("#scale"))
    return "deployed.safetensors", save({**tensors, name: tensors[name] * torch.nan})


@pytest.mark.parametrize("change", [_lower_bits, _nan_scale])
def test_a_changed_chip_is_refused(
    saved: dict[str, bytes], tmp_path: Path, change: Callable[[dict[str, bytes]], tuple[str, bytes]]
) -> None:
    """Well-formed files that are another chip than the one that was saved."""
    name, content = change(saved)
    with pytest.raises(UserError, match=f"{name} is not what was saved"):
        load_deployed(_damaged(saved, tmp_path, name, content))


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("schema", "ohmformer.deployed/1", "has schema 'ohmformer.deployed/1'"),
        ("class", "BertModelOfTomorrow", "which transformers does not have"),
        ("class", "BertConfig", "which transformers does not have"),
        ("parameters", {}, "lacks the weight"),
        ("seed", None, "holds no complete deployed model"),
        ("samples", "many", "holds no complete deployed model"),
    ],
)
def test_a_wrong_index_is_refused(
    saved: dict[str, bytes], tmp_path: Path, key: str, value: Any, sentence: str
) -> None:
    index = json.loads(saved["ohmformer.json"]) | {key: value}
    folder = _damaged(saved, tmp_path, "ohmformer.json", json.dumps(index).encode())
    with pytest.raises(UserError, match=sentence):
        load_deployed(folder)


def test_a_configuration_of_another_size_is_refused(saved: dict[str, bytes], tmp_path: Path) -> None:
    config = json.loads(saved["config.json"]) | {"intermediate_size": 44}
    folder = _damaged(saved, tmp_path, "config.json", json.dumps(config).encode())
    with pytest.raises(UserError, match="has another shape than the configuration says"):
        load_deployed(folder)


def test_a_folder_that_exists_is_left_alone(tmp_path: Path) -> None:
    deployed = deploy(FAMILIES["bert"].make(), NOISY)
    (tmp_path / "kept.txt").write_text("mine")
    with pytest.raises(UserError, match="exists already"):
        save_deployed(deployed, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["kept.txt"]
    with pytest.raises(UserError, match="Cannot write"):
        save_deployed(deployed, tmp_path / "nowhere" / "saved")


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_an_interrupted_save_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    deployed = deploy(FAMILIES["bert"].make(), NOISY)

    def full(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(type(deployed.config), "save_pretrained", full)
    expected = UserError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(expected):
        save_deployed(deployed, tmp_path / "saved")
    assert list(tmp_path.iterdir()) == []


def test_only_deployed_models_are_saved(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not deployed"):
        save_deployed(FAMILIES["bert"].make(), tmp_path / "saved")
    bare = deploy(torch.nn.Linear(3, 2), NOISY, check=False)
    with pytest.raises(UserError, match="Only Hugging Face models can be saved, not a Linear"):
        save_deployed(bare, tmp_path / "saved")
