"""The command line from end to end: train, search and export on the digits."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from command_runs import command
from small_search import contents, determined, history, strict_json

import raynas
from raynas.commands import loading as cli
from raynas.data.splits import SearchData
from raynas.space import encode
from raynas.supernets import recipe_of

PROGRAM = Path(sys.executable).parent / "raynas"
SEARCH = ("--data", "digits", "--workers", 0, "--generations", 2, "--population", 6)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a supernet was trained for an epoch, and searched."""
    home = tmp_path_factory.mktemp("home")
    weights = home / "new" / "supernet.safetensors"
    trained = command("train", "--data", "digits", "--out", weights, "--epochs", 1)
    assert (trained.code, trained.err) == (0, "")
    (home / "train.out").write_text(trained.out)
    searched = command("search", *SEARCH, "--supernet", weights, "--run-dir", home / "run")
    assert (searched.code, searched.err) == (0, "")
    (home / "search.out").write_text(searched.out)
    return home


def test_train_writes_a_supernet_that_says_how_it_was_built(home: Path) -> None:
    out = (home / "train.out").read_text()
    assert "training 65,536 architectures on 937 images of digits" in out
    assert "epoch   1/1" in out
    recipe = recipe_of(home / "new" / "supernet.safetensors")
    assert recipe is not None
    assert (recipe["builder"], recipe["num_classes"], recipe["image_size"]) == ("spos", 10, 8)
    assert set(contents(home / "new")) == {"supernet.safetensors"}


def test_train_again_reuses_the_supernet(home: Path) -> None:
    weights = home / "new" / "supernet.safetensors"
    before = weights.read_bytes()
    again = command("train", "--data", "digits", "--out", weights, "--epochs", 1)
    assert (again.code, again.out) == (0, f"Supernet: reusing {weights}\n")
    assert weights.read_bytes() == before


def test_search_writes_its_records_and_the_best_subnet(home: Path) -> None:
    assert set(contents(home / "run")) == {
        *(".lock", "config.json", "generations.jsonl", "metrics.jsonl", "result.json"),
        *(f"best/{name}" for name in ("architecture.json", "weights.safetensors", "model.pt2")),
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
        "12 of 65,536 legal architectures",
    ):
        assert shown in out


def test_a_search_is_the_same_again_and_resumes_what_has_ended(home: Path, tmp_path: Path) -> None:
    weights = home / "new" / "supernet.safetensors"
    arguments = ("search", *SEARCH, "--supernet", weights, "--run-dir", tmp_path / "run")
    for _ in range(2):
        assert command(*arguments, "--resume").code == 0
        assert history(tmp_path / "run") == history(home / "run")
        assert determined(tmp_path / "run") == determined(home / "run")
    again = command(*arguments)
    assert again.code == 2
    assert again.err.startswith("error: run_dir: expected a directory without a run")


def accuracy(model: Path, data: SearchData) -> float:
    """Of an exported program, on the test images."""
    program = torch.export.load(model).module()
    correct = images = 0
    for shard in data.test:
        logits = program(torch.tensor(shard.features))
        correct += int((logits.argmax(1).numpy() == shard.labels).sum())
        images += shard.rows
    return correct / images


def test_the_exported_programs_have_the_accuracy_of_the_result(home: Path, tmp_path: Path) -> None:
    result = strict_json(home / "run" / "result.json")
    weights = home / "new" / "supernet.safetensors"
    common = ("export", "--data", "digits", "--supernet", weights, "--out")
    by_run = command(*common, tmp_path / "run", "--run-dir", home / "run")
    text = encode(tuple(result["architecture"]))
    by_name = command(*common, tmp_path / "name", "--architecture", text)
    assert (by_run.code, by_name.code) == (0, 0)
    assert by_run.out == f"Exported {text} to {tmp_path / 'run'}\n"
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


def test_export_takes_batch_norm_from_the_run(home: Path, tmp_path: Path) -> None:
    weights = home / "new" / "supernet.safetensors"
    small = ("--generations", 1, "--population", 2, "--batch-norm", "inherit")
    run_dir = tmp_path / "run"
    found = command("search", *SEARCH, *small, "--supernet", weights, "--run-dir", run_dir)
    assert found.code == 0
    out = tmp_path / "export"
    common = ("export", "--data", "digits", "--supernet", weights, "--out", out)
    refused = command(*common, "--run-dir", run_dir, "--batch-norm", "recalibrate")
    assert refused.code == 2
    assert not out.exists()
    assert command(*common, "--run-dir", run_dir).code == 0
    result = strict_json(run_dir / "result.json")
    assert accuracy(out / "model.pt2", raynas.data.digits()) == result["test_top1"]


@pytest.mark.parametrize("name", ["train", "search", "export"])
def test_help_names_and_explains_every_option(name: str) -> None:
    shown = command(name, "--help")
    assert (shown.code, shown.err) == (0, "")
    text = " ".join(shown.out.replace("│", " ").split())
    function = getattr(cli, name)
    documented = inspect.getdoc(function)
    assert documented is not None
    for option in inspect.signature(function).parameters:
        assert f"--{option.replace('_', '-')}" in text
        lines = documented.split(f"\n    {option}: ")[1].splitlines()
        assert lines[0].rstrip(".") in text


def test_help_names_every_command_without_loading_torch() -> None:
    code = (
        "import sys\nfrom raynas.commands.main import main\nsys.argv = ['raynas', '--help']\n"
        "try:\n    main()\nexcept SystemExit as end:\n    print(end.code, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "0 False"
    for name in ("train", "search", "export"):
        assert name in done.stdout


def test_the_program_ends_with_one_line_and_code_2(tmp_path: Path) -> None:
    arguments = ["export", "--data", "digits", "--supernet", "none", "--out", tmp_path / "best"]
    done = subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "error: architecture: expected either --architecture or --run-dir, got neither. "
        "Give one of them.\n"
    )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", cli.PRESETS)
def test_a_preset_builds_what_it_names(name: cli.DataName) -> None:
    preset = cli.PRESETS[name]
    assert callable(getattr(raynas.data, preset.data))
    settings = getattr(raynas.training.presets, preset.training)
    assert isinstance(settings, raynas.TrainingSettings)
    supernet = getattr(raynas.supernets, preset.supernet)(10)
    assert supernet.num_classes == 10
    assert supernet.recipe["builder"] in cli.BUILDERS


def image_folder(root: Path, classes: int = 2, images: int = 4) -> Path:
    """A small data set laid out like ImageNet."""
    from PIL import Image

    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for label in range(classes):
            (root / split / str(label)).mkdir(parents=True)
            for number in range(images):
                pixels = rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / split / str(label) / f"{number}.png")
    return root


def test_training_on_a_folder_asks_for_its_training_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []

    def fewer(root: Path, *, train: bool = False) -> SearchData:
        asked.append(train)
        return imagenet(root, calibration=2, validation=2, train=train)

    imagenet = raynas.data.imagenet
    monkeypatch.setattr(raynas.data, "imagenet", fewer)
    folder = image_folder(tmp_path)
    data = cli.load_data("imagenet", folder, train=True)
    assert data.train is not None
    assert len(data.train) == 4
    assert cli.load_data("imagenet", folder).train is None
    assert asked == [True, False]
