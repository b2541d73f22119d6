"""What is done with a finished search: tested, loaded again, exported."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from small_search import (
    SETTINGS,
    CountedShards,
    contents,
    interrupt,
    run_search,
    small_data,
    small_supernet,
)
from torch import nn
from torch.nn import functional

import raynas
from raynas.errors import InputError
from raynas.export import export_architecture
from raynas.result import load_result
from raynas.shards.shard import Shard, make_shards
from raynas.space import Architecture
from raynas.supernets import ChainSupernet
from raynas.testing.supernets import CLASSES, SHAPE


def foreign_test() -> list[Shard]:
    pixels = np.zeros((4, *SHAPE), dtype=np.uint8)
    return make_shards(pixels, np.array([0, 1, CLASSES, 2]), split="test", shard_size=2)


def large_test() -> list[Shard]:
    pixels = np.zeros((4, 1, 12, 12), dtype=np.uint8)
    return make_shards(pixels, np.array([0, 1, 2, 3]), split="test", shard_size=2)


@pytest.mark.parametrize(
    ("shards", "message"),
    [(foreign_test, "test labels: expected 0 to 5"), (large_test, "test images: expected shape")],
)
def test_a_test_split_that_does_not_fit_can_be_mended(
    shards: Callable[[], list[Shard]], message: str, tmp_path: Path
) -> None:
    data = replace(small_data(), test=shards())
    with pytest.raises(InputError, match=message):
        run_search(tmp_path, data=data)
    assert not (tmp_path / "result.json").exists()
    assert run_search(tmp_path, resume=True).best.test_top1 is not None


def test_a_finished_run_is_loaded_and_exported(tmp_path: Path) -> None:
    setting = SETTINGS["cf, inherited"]
    result = run_search(tmp_path / "run", setting)
    loaded = load_result(tmp_path / "run", small_supernet(), small_data())
    assert (loaded.best, loaded.record) == (result.best, result.record)
    assert loaded.evaluation == setting.evaluation
    loaded.export(tmp_path / "one")
    result.export(tmp_path / "other")
    one, other = contents(tmp_path / "one"), contents(tmp_path / "other")
    assert one["weights.safetensors"] == other["weights.safetensors"]
    description = json.loads(one["architecture.json"])
    assert description["architecture"] == list(result.best.architecture)
    assert description["test_top1"] == result.best.test_top1


def test_only_a_finished_run_of_this_supernet_and_data_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"config\.json"):
        load_result(tmp_path, small_supernet(), small_data())
    interrupt(tmp_path / "run", 2)
    with pytest.raises(InputError, match=r"run_dir: .*a finished search.*--resume"):
        load_result(tmp_path / "run", small_supernet(), small_data())
    run_search(tmp_path / "run", resume=True)
    with pytest.raises(InputError, match=r"run_dir: .*searched, got another one: what stem"):
        load_result(tmp_path / "run", small_supernet(1), small_data())
    with pytest.raises(InputError, match=r"run_dir: .*data: noise there, other now"):
        load_result(tmp_path / "run", small_supernet(), replace(small_data(), name="other"))


def test_a_result_of_an_earlier_version_is_neither_loaded_nor_resumed(tmp_path: Path) -> None:
    result = run_search(tmp_path, SETTINGS["random"])
    earlier = {name: value for name, value in result.record.items() if name != "front"}
    (tmp_path / "result.json").write_text(json.dumps(earlier))
    with pytest.raises(InputError, match=r"run_dir: .*without front .*an earlier version"):
        load_result(tmp_path, small_supernet(), small_data())
    with pytest.raises(InputError, match=r"run_dir: .*without front .*an earlier version"):
        run_search(tmp_path, SETTINGS["random"], resume=True)


def test_other_images_under_the_same_name_are_refused(tmp_path: Path) -> None:
    for name in ("cf, inherited", "ea, limited"):
        run_dir, data = tmp_path / name, small_data()
        run_search(run_dir, SETTINGS[name])
        other = replace(data, validation=[*data.validation[1:], data.validation[0]])
        with pytest.raises(InputError, match=r"run_dir: .*data\.digest: [0-9a-f]{32} there"):
            load_result(run_dir, small_supernet(), other)
        recalibrated = replace(data, calibration=data.calibration[::-1])
        if name == "cf, inherited":
            load_result(run_dir, small_supernet(), recalibrated)
        else:
            with pytest.raises(InputError, match=r"run_dir: .*data\.digest"):
                load_result(run_dir, small_supernet(), recalibrated)
    config = json.loads((run_dir / "config.json").read_text())
    del config["data"]["digest"]
    (run_dir / "config.json").write_text(json.dumps(config))
    load_result(run_dir, small_supernet(), other)


def test_loading_a_result_touches_nothing(tmp_path: Path) -> None:
    run_search(tmp_path, SETTINGS["cf, inherited"])
    with (tmp_path / "generations.jsonl").open("a") as file:
        file.write('{"half')
    before = contents(tmp_path)
    load_result(tmp_path, small_supernet(), small_data())
    assert contents(tmp_path) == before


def test_what_is_exported_depends_on_no_state_of_torch(tmp_path: Path) -> None:
    result = run_search(tmp_path / "run", SETTINGS["ea, limited"])
    result.export(tmp_path / "plain")
    torch.set_default_dtype(torch.float64)
    try:
        with torch.inference_mode(), torch.autocast("cpu"):
            made = result.export(tmp_path / "inference")
    finally:
        torch.set_default_dtype(torch.float32)
    assert made.files == ("architecture.json", "weights.safetensors", "model.pt2", "network.py")
    one, other = contents(tmp_path / "plain"), contents(tmp_path / "inference")
    for name in ("architecture.json", "weights.safetensors", "network.py"):
        assert one[name] == other[name]
    samples = torch.tensor(small_data().validation[0].features)
    logits = [
        torch.export.load(tmp_path / name / "model.pt2").module()(samples)
        for name in ("plain", "inference")
    ]
    torch.testing.assert_close(logits[0], logits[1], rtol=0, atol=0)


@pytest.mark.parametrize("there", ["01", "07", "2"])
def test_a_front_is_exported_whole_or_not_at_all(there: str, tmp_path: Path) -> None:
    """Beside what else a numbered folder holds, nobody could tell what the front is."""
    result = run_search(tmp_path / "run", SETTINGS["random"])
    other = replace(result.best, architecture=(0,) * 8)
    folder = tmp_path / "front" / there
    folder.mkdir(parents=True)
    (folder / "architecture.json").write_text('{"architecture": [1, 1]}')
    before = contents(tmp_path / "front")
    with pytest.raises(InputError, match="^export directory: expected .*" + there):
        replace(result, front=(result.best, other)).export_front(tmp_path / "front")
    assert contents(tmp_path / "front") == before


class Looped(nn.Module):
    """Takes batches apart in Python, so that a program fits one size."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack([one * 1.0 for one in x])


def test_what_torch_refuses_ends_with_one_error_and_all_else_on_the_disk(tmp_path: Path) -> None:
    supernet = small_supernet()
    supernet.head = nn.Sequential(Looped(), supernet.head)
    target = tmp_path / "best"
    with pytest.raises(InputError) as caught:
        export_architecture(target, supernet, small_data(), (0,) * 8, raynas.Evaluation(), {})
    assert str(caught.value).startswith("export: expected a subnet that torch can write")
    assert "model.pt2 for any batch size was not (UserError: " in str(caught.value)
    assert "; model.pt2 takes batches of 1. What is there" in str(caught.value)
    weights = load_file(target / "weights.safetensors")
    subnet = copy.deepcopy(supernet.subnet((0,) * 8)).eval()
    subnet.load_state_dict(weights)
    samples = torch.tensor(small_data().validation[0].features[:1])
    program = torch.export.load(target / "model.pt2").module()
    with torch.no_grad():
        torch.testing.assert_close(program(samples), subnet(samples))


def test_a_place_that_cannot_be_used_is_refused_before_anything_is_calibrated(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").write_text("mine")
    data = small_data()
    counted = CountedShards(data.calibration)
    with pytest.raises(InputError, match="export directory"):
        export_architecture(
            tmp_path / "file", small_supernet(), replace(data, calibration=counted), (0,) * 8,
            raynas.Evaluation(), {},
        )  # fmt: skip
    assert counted.reads == []


@pytest.mark.parametrize(
    ("architecture", "message"),
    [((0,) * 7, "8 choices"), ((0,) * 9, "8 choices"), ((4,) + (0,) * 7, "0 to 3 for block 0")],
)
def test_a_wrong_architecture_is_not_exported(
    architecture: Architecture, message: str, tmp_path: Path
) -> None:
    target = tmp_path / "best"
    with pytest.raises(InputError, match=f"architecture: .*{message}"):
        export_architecture(
            target, small_supernet(), small_data(), architecture, raynas.Evaluation(), {}
        )
    assert not target.exists()


class OwnMomentum(nn.Module):
    """Averages its statistics with those before by a number of its own."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        norm = self.norm
        return functional.batch_norm(
            x, norm.running_mean, norm.running_var, norm.weight, norm.bias, norm.training, 0.1
        )


class Draws(nn.Sequential):
    """A stem that draws random numbers in evaluation mode."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = super().forward(x)
        return y + torch.rand_like(y)


def with_own_momentum() -> ChainSupernet:
    supernet = small_supernet()
    with torch.no_grad():
        channels = supernet.stem(torch.tensor(small_data().validation[0].features)).shape[1]
    supernet.stem = nn.Sequential(supernet.stem, OwnMomentum(channels)).eval()
    return supernet


def with_noise() -> ChainSupernet:
    supernet = small_supernet()
    supernet.stem = Draws(supernet.stem).eval()
    return supernet


@pytest.mark.parametrize(
    ("make", "message"),
    [(with_own_momentum, "stem: .*follow their momentum"), (with_noise, "stem: ")],
    ids=["recalibration", "check"],
)
def test_what_a_search_refuses_to_recalibrate_is_not_exported_recalibrated(
    make: Callable[[], ChainSupernet], message: str, tmp_path: Path
) -> None:
    supernet, target = make(), tmp_path / "best"
    with pytest.raises(InputError, match=message):
        export_architecture(target, supernet, small_data(), (0,) * 8, raynas.Evaluation(), {})
    assert not target.exists()


def test_images_that_do_not_fit_are_not_exported(tmp_path: Path) -> None:
    pixels = np.zeros((4, 1, 12, 12), dtype=np.uint8)
    calibration = make_shards(pixels, np.zeros(4, np.int64), split="calibration", shard_size=2)
    data = replace(small_data(), calibration=calibration)
    with pytest.raises(InputError, match="calibration images: expected shape"):
        export_architecture(
            tmp_path / "best", small_supernet(), data, (0,) * 8, raynas.Evaluation(), {}
        )
    assert not (tmp_path / "best").exists()


@pytest.mark.parametrize("again", [False, True], ids=["searched", "loaded"])
def test_a_supernet_that_has_changed_since_its_search_is_not_exported(
    again: bool, tmp_path: Path
) -> None:
    supernet = small_supernet()
    result = run_search(tmp_path / "run", SETTINGS["ea, limited"], supernet=supernet)
    if again:
        result = load_result(tmp_path / "run", supernet, small_data())
    with torch.no_grad():
        next(supernet.stem.parameters()).mul_(1.5)
    with pytest.raises(InputError, match="supernet: expected the supernet that was searched"):
        result.export(tmp_path / "best")
    assert not (tmp_path / "best").exists()
