"""`raynas.retrain`: what it trains, tests and writes, how it goes on, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from command_runs import (
    closeness,
    gated_supernet,
    linear_supernet,
    slopes,
    tiny_supernet,
    untraceable_supernet,
)
from safetensors.torch import load_file
from small_search import contents
from torch import nn

import raynas
from raynas.data.splits import SearchData
from raynas.errors import InputError
from raynas.export import export_architecture
from raynas.retraining import records
from raynas.retraining import retrain as module
from raynas.retraining.network import standalone
from raynas.supernets import digest
from raynas.training import EpochReport, TrainingSettings

SETTINGS = TrainingSettings(
    epochs=2, batch_size=64, learning_rate=0.1, schedule="cosine", seed=3, device="cpu"
)
FOUND = (2, 1, 0)


@pytest.fixture(scope="module")
def whole(
    supernet: raynas.ChainSupernet, data: SearchData, tmp_path_factory: pytest.TempPathFactory
) -> Any:
    """A retraining that nothing interrupted."""
    return raynas.retrain(
        supernet, data, FOUND, SETTINGS, tmp_path_factory.mktemp("home") / "whole"
    )


class Interrupted(Exception):
    """Stands for whatever ends a training early."""


def interrupt(report: EpochReport) -> None:
    raise Interrupted


def timeless(reports: Any) -> list[dict[str, Any]]:
    kept = ("epoch", "epochs", "loss", "accuracy", "learning_rate")
    return [{name: asdict(report)[name] for name in kept} for report in reports]


@torch.no_grad()
def accuracy(model: Callable[..., Any], shards: Any) -> float:
    """The share of images that a plain loop finds right."""
    right = images = 0
    for shard in shards:
        logits = model(torch.tensor(shard.features))
        right += int((logits.argmax(1).numpy() == shard.labels).sum())
        images += shard.rows
    return right / images


def test_it_says_what_a_plain_loop_over_its_files_does(
    whole: Any, supernet: raynas.ChainSupernet, data: SearchData
) -> None:
    folder = whole.exported.directory
    assert set(contents(folder)) == {
        *("architecture.json", "weights.safetensors", "model.pt2", "network.py"),
        "retraining.json",
    }
    program = torch.export.load(folder / "model.pt2").module()
    source: dict[str, Any] = {"__name__": "network", "__file__": str(folder / "network.py")}
    exec((folder / "network.py").read_text(), source)
    plain: nn.Module = standalone(supernet, FOUND).subnet((0, 0, 0))
    plain.load_state_dict(load_file(folder / "weights.safetensors"))
    for model in (program, plain.eval(), whole.network.subnet((0, 0, 0)), source["load_network"]()):
        assert accuracy(model, data.test) == whole.best.test_top1
        assert accuracy(model, data.validation) == whole.best.top1
    assert whole.best.top1 > 0.2
    assert whole.best.architecture == FOUND
    assert whole.best.names == supernet.decode(FOUND)
    assert whole.best.params == sum(each.numel() for each in plain.parameters())
    assert not whole.network.training


def test_the_description_holds_settings_epochs_and_scores(whole: Any) -> None:
    told = json.loads((whole.exported.directory / "architecture.json").read_text())
    assert told["architecture"] == list(FOUND)
    assert told["test_top1"] == whole.best.test_top1
    ended = told["retraining"]
    assert ended["settings"]["epochs"] == len(ended["reports"]) == 2
    assert ended["settings"]["seed"] == 3
    assert ended["begins"] == {"weights": "fresh", "rule": None}
    assert told["inputs"]["shape"] == [1, 8, 8]
    assert told == {**whole.record, "inputs": told["inputs"]}


def test_the_supernet_stays_as_it_is(
    supernet: raynas.ChainSupernet, data: SearchData, tmp_path: Path
) -> None:
    before = digest(supernet)
    raynas.retrain(supernet, data, FOUND, replace(SETTINGS, epochs=1), tmp_path, inherit=True)
    assert digest(supernet) == before
    assert supernet.training


def test_a_finished_one_is_read_back(
    whole: Any, supernet: raynas.ChainSupernet, data: SearchData
) -> None:
    folder = whole.exported.directory
    before = contents(folder)
    again = raynas.retrain(supernet, data, FOUND, SETTINGS, folder, observer=interrupt)
    assert (again.best, again.reports, again.record) == (
        whole.best, whole.reports, again.record,
    )  # fmt: skip
    assert again.exported == whole.exported
    assert digest(again.network) == digest(whole.network)
    assert contents(folder) == before


@pytest.mark.parametrize("inherit", [False, True])
def test_it_goes_on_where_it_was_killed_to_the_same_bits(
    inherit: bool, supernet: raynas.ChainSupernet, data: SearchData, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"inherit": inherit}
    whole = raynas.retrain(supernet, data, FOUND, SETTINGS, tmp_path / "whole", **options)
    part = tmp_path / "part"
    with pytest.raises(Interrupted):
        raynas.retrain(supernet, data, FOUND, SETTINGS, part, observer=interrupt, **options)
    assert set(contents(part)) == {"retraining.json", "training.pt"}
    seen: list[EpochReport] = []
    ended = raynas.retrain(supernet, data, FOUND, SETTINGS, part, observer=seen.append, **options)
    assert [report.epoch for report in seen] == [2]
    assert timeless(ended.reports) == timeless(whole.reports)
    one, other = contents(tmp_path / "whole"), contents(part)
    assert one["weights.safetensors"] == other["weights.safetensors"]
    assert ended.best == whole.best


def test_what_was_trained_is_not_lost_when_its_files_cannot_be_written(
    supernet: raynas.ChainSupernet, data: SearchData, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def full(*arguments: object) -> None:
        raise InputError("export directory", "room on the disk", "none", "Free some.")

    with monkeypatch.context() as patch:
        patch.setattr(module, "export_subnet", full)
        with pytest.raises(InputError, match="room on the disk"):
            raynas.retrain(supernet, data, FOUND, SETTINGS, tmp_path)
    assert (tmp_path / records.CHECKPOINT).exists()
    ended = raynas.retrain(supernet, data, FOUND, SETTINGS, tmp_path, observer=interrupt)
    assert len(ended.reports) == 2
    assert not (tmp_path / records.CHECKPOINT).exists()


def test_inherited_weights_begin_with_the_scores_of_the_supernet(
    data: SearchData, tmp_path: Path
) -> None:
    """A learning rate next to nothing leaves what the search evaluated."""
    torch.manual_seed(1)
    supernet = tiny_supernet()
    raynas.training.train(supernet, data.train, replace(SETTINGS, epochs=4))  # type: ignore[arg-type]
    still = TrainingSettings(epochs=1, batch_size=800, learning_rate=1e-12, device="cpu")
    tuned = raynas.retrain(supernet, data, FOUND, still, tmp_path / "tuned", inherit=True)
    (score,) = raynas.evaluate(supernet, data, [FOUND])
    assert score.top1 > 0.3
    assert tuned.best.top1 == pytest.approx(score.top1, abs=0.1)
    fresh = raynas.retrain(supernet, data, FOUND, still, tmp_path / "fresh")
    assert fresh.best.top1 < 0.25


def test_names_and_texts_name_the_same_architecture(
    whole: Any, supernet: raynas.ChainSupernet, data: SearchData
) -> None:
    folder = whole.exported.directory
    names = supernet.decode(FOUND)
    for given in (names, ",".join(names), "2,1,0", [2, "1", names[2]]):
        assert raynas.retrain(supernet, data, given, SETTINGS, folder).best == whole.best


OTHERS: dict[str, tuple[dict[str, Any], str]] = {
    "architecture": ({"architecture": (0, 1, 0)}, r"architecture: \[2, 1, 0\] there, \[0, 1, 0\]"),
    "settings": ({"settings": replace(SETTINGS, epochs=3)}, "settings.epochs: 2 there, 3 now"),
    "seed": ({"settings": replace(SETTINGS, seed=4)}, "settings.seed: 3 there, 4 now"),
    "weights": ({"inherit": True}, "begins.weights: fresh there, [0-9a-f]{32} now"),
    "rule": (
        {"initialize": lambda module: None},
        "begins.rule: None there, <lambda> [0-9a-f]+ now",
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_directory_with_another_retraining_is_refused_and_kept(
    name: str, whole: Any, supernet: raynas.ChainSupernet, data: SearchData
) -> None:
    changes, text = OTHERS[name]
    folder = whole.exported.directory
    before = contents(folder)
    given = {"architecture": FOUND, "settings": SETTINGS, **changes}
    with pytest.raises(InputError, match=f"out: .*which holds another one .*{text}"):
        raynas.retrain(supernet, data, out=folder, observer=interrupt, **given)
    assert contents(folder) == before


def test_another_supernet_or_other_samples_are_refused(
    whole: Any, supernet: raynas.ChainSupernet, data: SearchData
) -> None:
    folder = whole.exported.directory
    wider = untraceable_supernet()
    with pytest.raises(InputError, match=r"out: .*network: [0-9a-f]{32} there"):
        raynas.retrain(wider, data, FOUND, SETTINGS, folder)
    fewer = raynas.data.digits(calibration=20, validation=41, test=30)
    with pytest.raises(InputError, match=r"out: .*samples\.count: 1707 there"):
        raynas.retrain(supernet, fewer, FOUND, SETTINGS, folder)


def test_an_export_is_not_overwritten(
    supernet: raynas.ChainSupernet, data: SearchData, tmp_path: Path
) -> None:
    export_architecture(tmp_path, supernet, data, FOUND, raynas.Evaluation(device="cpu"), {})
    before = contents(tmp_path)
    with pytest.raises(InputError, match=r"out: .*holds architecture\.json.*without it"):
        raynas.retrain(supernet, data, FOUND, SETTINGS, tmp_path)
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"architecture": (0, 1)}, "architecture: expected 3 choices, one per block"),
        ({"architecture": "c9,1,0"}, "architecture: expected for block 0 one of identity, "),
        ({"settings": {"epochs": 1}}, "settings: expected a TrainingSettings"),
        ({"inherit": 1}, "inherit: expected True or False"),
        ({"supernet": nn.Identity()}, "supernet: expected a ChainSupernet"),
        ({"out": 5}, "out: expected a path"),
        ({"out": "file"}, "out: expected a directory"),
        ({"out": "file/below"}, "out: expected a directory that can be created"),
        ({"train": None}, "data: expected a data set with training samples"),
        ({"classes": 6}, "supernet: expected 10 classes"),
    ],
)
def test_bad_arguments_are_named_before_anything_is_written(
    changes: dict[str, Any], text: str, supernet: raynas.ChainSupernet, data: SearchData,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("mine")
    given = {"supernet": supernet, "data": data, "architecture": FOUND, "settings": SETTINGS}
    given |= {"out": tmp_path / "out", **changes}
    if "train" in given:
        given["data"] = replace(data, train=given.pop("train"))
    if "classes" in given:
        given["supernet"] = tiny_supernet(classes=given.pop("classes"))
    with pytest.raises(InputError, match=text):
        raynas.retrain(**given)
    assert set(contents(tmp_path)) == {"file"}


def test_what_torch_cannot_write_is_told_and_the_rest_is_there(
    data: SearchData, tmp_path: Path
) -> None:
    supernet = untraceable_supernet()
    brief = replace(SETTINGS, epochs=1)
    ended = raynas.retrain(supernet, data, FOUND, brief, tmp_path)
    assert "model.pt2" in ended.exported.refused
    assert set(contents(tmp_path)) == {
        *("architecture.json", "weights.safetensors", "network.py", "retraining.json"),
    }
    again = raynas.retrain(supernet, data, FOUND, brief, tmp_path, observer=interrupt)
    assert again.exported == ended.exported


def test_other_tasks_and_data_without_a_test_split(tmp_path: Path) -> None:
    means = replace(slopes(), test=())
    ended = raynas.retrain(
        linear_supernet(), means, (1, 2), replace(SETTINGS, batch_size=16), tmp_path,
        task=closeness(),
    )  # fmt: skip
    assert ended.best.test_objectives is None
    assert set(ended.best.objectives) == {"closeness"}
    assert ended.record["test_closeness"] is None


def test_what_a_search_could_not_recalibrate_is_retrained_without_a_word(
    data: SearchData, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ended = raynas.retrain(gated_supernet(), data, (1,), replace(SETTINGS, epochs=1), tmp_path)
    assert ended.best.names == ("gated",)
    assert not [each for each in caplog.records if each.name.startswith("raynas")]
    with pytest.raises(InputError, match=r"blocks\[0\]\[1\]: expected batch norms"):
        raynas.retrain(gated_supernet(), data, (1,), SETTINGS, tmp_path / "tuned", inherit=True)
    assert not (tmp_path / "tuned").exists()
    inherited = raynas.Evaluation(batch_norm="inherit")
    tuned = raynas.retrain(
        gated_supernet(), data, (1,), replace(SETTINGS, epochs=1), tmp_path / "tuned",
        inherit=True, evaluation=inherited,
    )  # fmt: skip
    assert tuned.record["retraining"]["begins"]["batch_norm"] == "inherit"
