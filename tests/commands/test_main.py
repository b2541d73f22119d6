"""The command line from end to end: train, describe, evaluate, search and export."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from command_runs import (
    DIGITS,
    TINY,
    cells,
    command,
    done,
    tiny_supernet,
)
from small_search import contents, determined, history, strict_json

import raynas
from raynas.costs import flops_table, params_table
from raynas.data.splits import SearchData
from raynas.export.folder import FILES
from raynas.export.onnx_file import ONNX
from raynas.space import encode
from raynas.supernets import recipe_of

ROOT = Path(__file__).parents[2]
SEARCH = (*DIGITS, *TINY, "--workers", 0, "--generations", 2, "--population", 6)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a supernet was trained for an epoch, and searched."""
    home = tmp_path_factory.mktemp("home")
    weights = home / "new" / "supernet.safetensors"
    trained = done("train", *DIGITS, *TINY, "--out", weights, "--epochs", 1)
    (home / "train.out").write_text(trained)
    searched = done("search", *SEARCH, "--weights", weights, "--run-dir", home / "run")
    (home / "search.out").write_text(searched)
    return home


@pytest.fixture(scope="module")
def weights(home: Path) -> Path:
    """The trained supernet."""
    return home / "new" / "supernet.safetensors"


def test_train_writes_a_supernet_and_nothing_else(home: Path) -> None:
    out = (home / "train.out").read_text()
    assert "training 27 architectures on 937 samples of digits" in out
    assert "epoch   1/1" in out
    assert set(contents(home / "new")) == {"supernet.safetensors"}


def test_train_again_reuses_the_supernet(weights: Path) -> None:
    before = weights.read_bytes()
    again = done("train", *DIGITS, *TINY, "--out", weights, "--epochs", 1)
    assert again == (
        f"Supernet: reusing {weights}\nSupernet: nothing was trained, and --epochs 1 made no "
        f"difference; to train anew, remove {weights} or change --out\n"
    )
    assert weights.read_bytes() == before


@pytest.mark.parametrize(
    ("data", "supernet", "reason"),
    [
        ("digits", "gated_supernet", "blocks[0][1]: expected batch norms"),
        ("command_runs:uncalibrated_digits", "tiny_supernet", "calibration: expected shards"),
    ],
)
def test_train_says_first_that_a_search_would_not_recalibrate(
    data: str, supernet: str, reason: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    weights = tmp_path / "supernet.safetensors"
    common = ("--data", data, "--supernet", f"command_runs:{supernet}")
    done("train", *common, "--out", weights, "--epochs", 1)
    (warning,) = [record.getMessage() for record in caplog.records]
    assert "batch_norm='inherit' (--batch-norm inherit)" in warning
    assert reason in warning
    search = ("search", *common, "--weights", weights, "--workers", 0, "--generations", 1)
    refused = command(*search, "--run-dir", tmp_path / "refused")
    assert (refused.code, reason in refused.err) == (2, True)
    brief = ("--population", 2, "--batch-norm", "inherit")
    assert command(*search, *brief, "--run-dir", tmp_path / "run").code == 0
    caplog.clear()
    done("train", *common, "--out", weights)
    assert not caplog.records, "nothing is trained"


def test_the_preset_of_a_data_set_says_in_its_file_how_it_was_built(tmp_path: Path) -> None:
    path = tmp_path / "supernet.safetensors"
    small = ("--epochs", 1, "--batch-size", 400)
    done("train", *DIGITS, "--out", path, *small)
    recipe = recipe_of(path)
    assert recipe is not None
    assert (recipe["builder"], recipe["num_classes"], recipe["image_size"]) == ("spos", 10, 8)
    few = ("--calibration", 10, "--validation", 20)
    zeros, ones = encode((0,) * 8), encode((1,) * 8)
    out = done("evaluate", *DIGITS, *few, "--supernet", path, "--architectures", zeros, ones)
    assert [line.split()[0] for line in out.splitlines()] == [zeros, ones]


def test_search_writes_its_records_and_the_best_subnet(home: Path) -> None:
    assert set(contents(home / "run")) == {
        *(".lock", "config.json", "generations.jsonl", "metrics.jsonl", "result.json"),
        "report.html",
        *(f"best/{name}" for name in FILES if name != ONNX),
    }
    result = strict_json(home / "run" / "result.json")
    assert result["generations"] == 2
    assert result["evaluations"] == 12
    out = (home / "search.out").read_text()
    assert "generation   1" in out
    assert "generation   2" in out
    for shown in (
        encode(tuple(result["architecture"])),
        f"{result['top1']:.2%} / {result['top5']:.2%}",
        f"{result['test_top1']:.2%}",
        f"{result['flops']:,}",
        "12 of 27 legal architectures",
    ):
        assert shown in out
    run_dir = home / "run"
    assert out.splitlines()[-2:] == [
        f"Records: {run_dir}, best subnet: {run_dir / 'best'}",
        f"Report: {run_dir / 'report.html'}",
    ]


def test_a_search_is_the_same_again_and_resumes_what_has_ended(
    home: Path, weights: Path, tmp_path: Path
) -> None:
    arguments = ("search", *SEARCH, "--weights", weights, "--run-dir", tmp_path / "run")
    for _ in range(2):
        done(*arguments, "--resume")
        assert history(tmp_path / "run") == history(home / "run")
        assert determined(tmp_path / "run") == determined(home / "run")
    again = command(*arguments)
    assert again.code == 2
    assert again.err.startswith("error: run_dir: expected a directory without a run")


def test_without_a_run_directory_a_search_makes_one_and_finds_it_to_resume(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    costs = ("--co2-per-kwh", 50, "--watts", 60)
    arguments = ("search", *SEARCH, "--weights", weights, "--strategy", "random", "--seed", 7)
    assert " g, at 50 g/kWh" in done(*arguments, *costs)
    (made,) = (tmp_path / "runs" / "digits").iterdir()
    assert made.name.startswith("random-seed7-")
    before = (made / "result.json").read_bytes()
    assert json.loads(before)["energy_j"] > 0
    (made / "result.json").unlink()
    done(*arguments, *costs, "--resume")
    assert list((tmp_path / "runs" / "digits").iterdir()) == [made]
    assert json.loads(before)["architecture"] == strict_json(made / "result.json")["architecture"]


def accuracy(model: Path, data: SearchData) -> float:
    """The accuracy of an exported program on the test images."""
    program = torch.export.load(model).module()
    correct = images = 0
    for shard in data.test:
        logits = program(torch.tensor(shard.features))
        correct += int((logits.argmax(1).numpy() == shard.labels).sum())
        images += shard.rows
    return correct / images


def test_the_exported_programs_have_the_accuracy_of_the_result(
    home: Path, weights: Path, tmp_path: Path
) -> None:
    result = strict_json(home / "run" / "result.json")
    common = ("export", *DIGITS, *TINY, "--weights", weights, "--out")
    by_run = done(*common, tmp_path / "run", home / "run")
    text = encode(tuple(result["architecture"]))
    done(*common, tmp_path / "name", "--architecture", text)
    assert by_run == f"Exported {text} to {tmp_path / 'run'}\n"
    exports = [home / "run" / "best", tmp_path / "run", tmp_path / "name"]
    data = raynas.data.digits()
    for export in exports:
        assert accuracy(export / "model.pt2", data) == result["test_top1"]
        assert (export / "weights.safetensors").read_bytes() == (
            exports[0] / "weights.safetensors"
        ).read_bytes()
        description = strict_json(export / "architecture.json")
        assert description["architecture"] == result["architecture"]
    assert strict_json(tmp_path / "run" / "architecture.json")["test_top1"] == result["test_top1"]


def test_export_takes_batch_norm_from_the_run(weights: Path, tmp_path: Path) -> None:
    small = ("--generations", 1, "--population", 2, "--batch-norm", "inherit")
    run_dir = tmp_path / "run"
    done("search", *SEARCH, *small, "--weights", weights, "--run-dir", run_dir)
    out = tmp_path / "export"
    common = ("export", *DIGITS, *TINY, "--weights", weights, "--out", out)
    refused = command(*common, run_dir, "--batch-norm", "recalibrate")
    assert refused.code == 2
    assert not out.exists()
    done(*common, run_dir)
    result = strict_json(run_dir / "result.json")
    assert accuracy(out / "model.pt2", raynas.data.digits()) == result["test_top1"]


def test_evaluate_gives_what_the_search_found(home: Path, weights: Path) -> None:
    result = strict_json(home / "run" / "result.json")
    best = encode(tuple(result["architecture"]))
    arguments = ("evaluate", *DIGITS, *TINY, "--weights", weights, "--architectures", best)
    expected = f"top1 {result['top1']:.2%}, top5 {result['top5']:.2%}, loss {result['loss']:.4f}"
    names = ",".join(result["names"])
    costs = f"flops {result['flops']:,}, params {result['params']:,}"
    assert done(*arguments) == f"{best}  {expected}  {costs}  {names}\n"
    assert done(*arguments[:-1], names) == done(*arguments)


def test_describe_shows_costs_and_legal_architectures(weights: Path) -> None:
    supernet = tiny_supernet()
    flops, params = flops_table(supernet), params_table(supernet)
    architectures = list(supernet.space.enumerate())
    most = max(flops.of(each) for each in architectures)
    limits = ("--flops", "60%", "--flops-at-least", "10%", "--params", "3.5e2")
    legal = [
        each
        for each in architectures
        if most * 0.1 <= flops.of(each) <= most * 0.6 and params.of(each) <= 350
    ]
    assert 1 < len(legal) < len(architectures)
    arguments = ("describe", *DIGITS, *TINY, "--weights", weights, *limits, "--paths", 2)
    table = cells(done(*arguments, "--population", 5, "--generations", 3))
    assert table["samples"] == "937 training, 200 calibration, 300 validation, 360 test"
    assert table["weights"] == str(weights)
    assert table["choices of the blocks"] == "3 3 3"
    assert (table["architectures"], table["legal architectures"]) == ("27", str(len(legal)))
    assert table["flops"].startswith(f"{flops.of((0, 0, 0)):,} to {most:,} (0,0,0 to 2,2,2)")
    assert "seconds of 15 candidates" in table
    fewest, highest = (kind(params.of(each) for each in architectures) for kind in (min, max))
    assert table["params"].startswith(f"{fewest:,} to {highest:,} (")
    paths = [name.removeprefix("random path ") for name in table if name.startswith("random path")]
    assert paths
    assert set(paths) <= {encode(each) for each in legal}
