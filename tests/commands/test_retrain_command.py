"""`raynas retrain`: the winner of a run, members and baselines; what it prints, and refuses."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any

import pytest
import torch
from command_runs import (
    DIGITS,
    TINY,
    assert_refused,
    cells,
    command,
    done,
    tiny_supernet,
    torchrun,
)
from small_search import contents, strict_json

import raynas
from raynas.commands.retrain import TrainingOptions, member_of, preset_of, retraining_settings
from raynas.supernets import save
from raynas.training import presets

BRIEF = ("--epochs", 1, "--batch-size", 100, "--device", "cpu")
FEW = ("--calibration", 20, "--validation", 40, "--test", 30)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a supernet that nobody trained, and a search of it."""
    home = tmp_path_factory.mktemp("home")
    torch.manual_seed(0)
    save(tiny_supernet(), home / "supernet.st")
    limits = ("--workers", 0, "--generations", 2, "--population", 5, "--run-dir", home / "run")
    done("search", *DIGITS, *FEW, *own(home), *limits)
    return home


def own(home: Path) -> tuple[object, ...]:
    """The options that name the supernet."""
    return (*TINY, "--weights", home / "supernet.st")


def retrain(home: Path, *more: object) -> tuple[object, ...]:
    """The arguments of the command."""
    return ("retrain", home / "run", *DIGITS, *FEW, *own(home), *BRIEF, *more)


@pytest.fixture(scope="module")
def out(home: Path) -> str:
    """What the retraining of the winner prints."""
    return done(*retrain(home))


def test_the_winner_is_retrained_into_its_run_directory(home: Path, out: str) -> None:
    result = strict_json(home / "run" / "result.json")
    told = strict_json(home / "run" / "retrained" / "architecture.json")
    assert told["architecture"] == result["architecture"]
    assert told["params"] == result["params"]
    assert f"on digits in {home / 'run' / 'retrained'}" in out
    assert "epoch   1/1" in out
    table = cells(out)
    assert table["its choices"] == " ".join(result["names"])
    assert table["validation top1"] == f"{told['top1']:.2%}"
    assert table["test top1"] == f"{told['test_top1']:.2%}"
    assert table["validation top1 in the supernet"] == f"{result['top1']:.2%}"
    assert set(contents(home / "run" / "retrained")) == {
        *("architecture.json", "weights.safetensors", "model.pt2", "network.py"),
        "retraining.json",
    }


def test_the_test_accuracy_is_that_of_the_exported_program(home: Path, out: str) -> None:
    program = torch.export.load(home / "run" / "retrained" / "model.pt2").module()
    right = images = 0
    for shard in raynas.data.digits(calibration=20, validation=40, test=30).test:
        right += int(
            (program(torch.tensor(shard.features)).argmax(1).numpy() == shard.labels).sum()
        )
        images += shard.rows
    assert (
        right / images == strict_json(home / "run" / "retrained" / "architecture.json")["test_top1"]
    )


def test_again_it_is_read_back(home: Path, out: str) -> None:
    before = contents(home / "run")
    again = done(*retrain(home))
    assert "epoch" not in again.replace("epochs", "")
    assert cells(again) == cells(out)
    assert contents(home / "run") == before


def test_other_architectures_are_retrained_beside_it(home: Path) -> None:
    done(*retrain(home, "--architecture", "identity,sequential_0,2"))
    told = strict_json(home / "run" / "retrained-0-1-2" / "architecture.json")
    assert told["architecture"] == [0, 1, 2]
    result = strict_json(home / "run" / "result.json")
    done(*retrain(home, "--member", 1, "--inherit", "--out", home / "second"))
    second = strict_json(home / "second" / "architecture.json")
    assert second["architecture"] != result["architecture"]
    assert second["architecture"] in [each["architecture"] for each in result["finalists"]]
    assert second["retraining"]["begins"]["batch_norm"] == "recalibrate"
    preset = presets.RETRAIN_DIGITS.learning_rate
    assert second["retraining"]["settings"]["learning_rate"] == pytest.approx(preset / 10)


def test_what_another_retraining_holds_is_refused_and_kept(home: Path, out: str) -> None:
    place = home / "run" / "retrained"
    before = contents(place)
    cases: tuple[tuple[tuple[object, ...], str], ...] = (
        (("--architecture", "0,0,0", "--out", place), "architecture: "),
        (("--learning-rate", 0.3), "settings.learning_rate: 0.1 there, 0.3 now"),
        (("--out", home / "run" / "best"), "out: expected an empty directory"),
    )
    for more, text in cases:
        assert_refused(retrain(home, *more), text)
    ended = command(*retrain(home, "--inherit", "--learning-rate", 0.1))
    assert (ended.code, ended.err.startswith("error: out: ")) == (2, True)
    assert "begins.weights: fresh there" in ended.err
    assert contents(place) == before


def test_other_held_out_samples_are_refused(
    home: Path, out: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the run that was tested on others; of an earlier version, by the retraining."""
    plain = raynas.data.digits

    @wraps(plain)
    def digits(**options: Any) -> raynas.data.SearchData:
        data = plain(**options)
        (shard,) = data.test
        turned = raynas.data.make_shards(
            shard.features, shard.labels[::-1], split="test", shard_size=shard.rows
        )
        return replace(data, test=turned)

    monkeypatch.setattr(raynas.data, "digits", digits)
    copied = shutil.copytree(home, tmp_path / "home")
    before = contents(copied / "run")
    assert_refused(retrain(copied), "run_dir: ", "tested_samples: ")
    assert contents(copied / "run") == before
    result = strict_json(copied / "run" / "result.json")
    del result["tested_samples"]
    (copied / "run" / "result.json").write_text(json.dumps(result))
    before = contents(copied / "run")
    ended = command(*retrain(copied))
    assert (ended.code, ended.err.startswith("error: out: ")) == (2, True)
    assert "samples.test: " in ended.err
    assert contents(copied / "run") == before


def test_runs_and_architectures_that_do_not_fit_are_refused_by_name(
    home: Path, tmp_path: Path
) -> None:
    unfinished = Path(shutil.copytree(home / "run", tmp_path / "unfinished"))
    (unfinished / "result.json").unlink()
    rest = (*DIGITS, *FEW, *own(home), *BRIEF)
    assert_refused(("retrain", unfinished, *rest), "run_dir: expected a finished search")
    assert_refused(("retrain", tmp_path / "none", *rest), "run_dir: ", "is missing")
    assert_refused(retrain(home, "--architecture", "0,0"), "architecture: expected 3 choices")
    assert_refused(
        retrain(home, "--architecture", "0,0,c7"),
        "architecture: expected for block 2 one of identity, sequential_0, sequential_1",
    )
    both = ("--architecture", "0,0,0", "--member", 0)
    assert_refused(retrain(home, *both), "architecture: expected either --architecture or")
    assert_refused(retrain(home, "--member", 99), "member: expected 0 to ", "got 99")
    assert_refused(retrain(home, "--epochs", 0), "epochs: expected at least 1, got 0")
    torch.manual_seed(1)
    save(tiny_supernet(), tmp_path / "other.st")
    other = ("retrain", home / "run", *DIGITS, *FEW, *TINY, "--weights", tmp_path / "other.st")
    assert_refused((*other, *BRIEF), "run_dir: expected the supernet that was searched")
    family = ("retrain", home / "run", *DIGITS, *FEW, "--supernet", "spos", *BRIEF)
    assert_refused(family, "weights: expected the file of the trained weights of spos")
    samples = ("retrain", home / "run", *DIGITS, *own(home), *BRIEF)
    assert_refused(samples, "run_dir: ", "data.digest")


def test_members_of_a_front_come_as_they_are_and_finalists_best_first() -> None:
    def row(number: int, top1: float) -> dict[str, Any]:
        return {"architecture": [number], "top1": top1, "loss": 1.0, "finite": True, "samples": 4}

    front = [row(0, 0.5), row(1, 0.4), row(2, 0.9)]
    found = {"objectives": ["top1"], "front": front, "finalists": front[::-1]}
    assert [member_of(found, n)["architecture"] for n in range(3)] == [[0], [1], [2]]
    single = {**found, "front": front[2:]}
    assert [member_of(single, n)["architecture"] for n in range(3)] == [[2], [0], [1]]
    del single["finalists"]
    assert member_of(single, 0)["architecture"] == [2]


def test_each_data_set_has_settings_and_the_papers_their_own(tmp_path: Path) -> None:
    names = ("digits", "fashion-mnist", "cifar10", "cifar100", "imagenet", "mine:data")
    for name in names:
        preset = preset_of(name, "spos")
        assert retraining_settings(preset, TrainingOptions(), inherit=False).epochs == preset.epochs
    assert preset_of("imagenet", "spos") == presets.RETRAIN_SPOS
    assert (presets.RETRAIN_SPOS.epochs, presets.RETRAIN_SPOS.schedule) == (240, "linear")
    network = raynas.supernets.spos_8x8()
    assert preset_of("imagenet", "greedynas-se") == presets.RETRAIN_GREEDY_SE
    for number, (recipe, preset) in enumerate(
        (
            ({"builder": "spos"}, presets.RETRAIN_SPOS),
            ({"builder": "ponas"}, presets.RETRAIN_PONAS),
            ({"builder": "greedynas"}, presets.RETRAIN_SPOS),
            ({"builder": "greedynas", "se": True}, presets.RETRAIN_GREEDY_SE),
        )
    ):
        network.recipe = recipe
        weights = tmp_path / f"{number}.st"
        save(network, weights)
        assert preset_of("imagenet", str(weights)) == preset
        assert preset_of("digits", str(weights)) == presets.RETRAIN_DIGITS


@pytest.mark.slow
def test_two_processes_retrain_together(home: Path, tmp_path: Path) -> None:
    ended = torchrun("-m", "raynas", *retrain(home, "--out", tmp_path / "both"))
    assert ended.code == 0, ended.err
    told = json.loads((tmp_path / "both" / "architecture.json").read_text())
    assert ended.out.count("Retraining ") == 1
    assert f"{told['test_top1']:.2%}" in ended.out
    again = done(*retrain(home, "--out", tmp_path / "both"))
    assert cells(again)["test top1"] == f"{told['test_top1']:.2%}"
