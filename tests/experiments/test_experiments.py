"""The experiment scripts, run as a user runs them: real processes, real files."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import raynas
from raynas.supernets import save, spos, spos_28x28

ROOT = Path(__file__).resolve().parents[2]
FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")


def run(script: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run an experiment in an empty folder."""
    command = [sys.executable, str(ROOT / "experiments" / script), *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True)


@pytest.mark.ray
@pytest.mark.slow
def test_digits_searches_on_ray_where_nothing_is_said(tmp_path: Path) -> None:
    early = ("--epochs", "1", "--threshold", "0.3", "--population", "10")
    done = run("digits_spos.py", *early, "--run-dir", "a", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "a" / "result.json").read_text())["workers"] >= 1


def test_digits_trains_searches_exports_and_reuses_the_supernet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    # So low a threshold freezes all blocks soon, and ends the search.
    early = ("--epochs", "1", "--threshold", "0.3", "--population", "10", "--workers", "0")
    assert in_this_process("digits_spos.py", *early, "--run-dir", "a", patch=monkeypatch) == 0
    first = capsys.readouterr()
    assert "Supernet: training 65,536 architectures on 937 samples" in first.out
    assert "generation   1" in first.out
    result = json.loads((tmp_path / "a" / "result.json").read_text())
    assert result["strategy"] == "PCFES"
    assert result["flops"] <= 680e3
    for name in ("architecture.json", "weights.safetensors", "model.pt2"):
        assert (tmp_path / "a" / "best" / name).stat().st_size > 0
    assert ",".join(map(str, result["architecture"])) in first.out

    brief = ("--strategy", "cf", "--threshold", "0.3", "--population", "10", "--workers", "0")
    assert in_this_process("digits_spos.py", *brief, patch=monkeypatch) == 0
    assert "Supernet: reusing" in capsys.readouterr().out
    assert len(list((tmp_path / "runs" / "digits").glob("cf-seed0-*/result.json"))) == 1

    again = (*early, "--run-dir", "a")
    assert in_this_process("digits_spos.py", *again, patch=monkeypatch) == 2
    assert capsys.readouterr().err.startswith("error: run_dir: expected")
    assert json.loads((tmp_path / "a" / "result.json").read_text()) == result


EARLY = (
    (("--strategy", "best"), "invalid choice 'best'"),
    (("--seed", "-1"), "seed: expected a whole number from 0 to below 2**64, got -1."),
    (("--run-dir", "file/run"), "run_dir: expected a directory that can be created"),
    (("--run-dir", "old"), "run_dir: expected a directory without a run"),
)
"""Options that no script takes, and what they say before anything is loaded."""

BEFORE_TRAINING = (
    (("--threshold", "2"), "threshold: expected a share between 0 and 1, got 2.0."),
    (("--epochs", "0"), "epochs: expected at least 1, got 0."),
    (("--workers", "-3"), "workers: expected 0 (this process)"),
    (("--ledger", "file"), "ledger: expected a SQLite file"),
    (("--supernet", "file/s.st"), "out: expected a directory that can be created"),
)
NEEDED = {
    "digits": ("--epochs", "1", "--workers", "0"),
    "fashion_mnist": (),
    "imagenet": ("--data", "absent", "--checkpoint", "absent"),
}


@pytest.mark.parametrize(
    ("script", "options", "text"),
    [
        *((script, *case) for script in NEEDED for case in EARLY),
        *(("digits", *case) for case in BEFORE_TRAINING),
    ],
)
def test_what_cannot_be_is_said_at_once(
    script: str,
    options: tuple[str, ...],
    text: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("mine")
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "config.json").write_text("{}")
    given = (*NEEDED[script], *options)
    assert in_this_process(f"{script}_spos.py", *given, patch=monkeypatch) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("error: ")
    assert shown.err.count("\n") == 1
    assert text in shown.err
    assert {path.name for path in tmp_path.iterdir()} == {"file", "old"}


def in_this_process(script: str, *arguments: str, patch: pytest.MonkeyPatch) -> object:
    """Run an experiment, and return its exit code."""
    patch.setattr(sys, "argv", [script, *arguments])
    try:
        runpy.run_path(str(ROOT / "experiments" / script), run_name="__main__")
    except SystemExit as ended:
        return ended.code
    return 0


@pytest.mark.slow
@pytest.mark.skipif(not FASHION_MNIST.exists(), reason="needs Debian's dataset-fashion-mnist")
def test_fashion_mnist_searches_a_given_supernet(tmp_path: Path) -> None:
    torch.manual_seed(0)
    save(spos_28x28(), tmp_path / "supernet.safetensors")
    sizes = ("--calibration", "20", "--validation", "20")
    files = ("--supernet", "supernet.safetensors", "--run-dir", "run")
    done = run("fashion_mnist_spos.py", "--workers", "0", *sizes, *files, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert len(result["architecture"]) == 12
    assert result["flops"] <= 3.1e6


@pytest.mark.skipif(not FASHION_MNIST.exists(), reason="needs Debian's dataset-fashion-mnist")
@pytest.mark.slow
@pytest.mark.parametrize(
    ("system", "monitor"), [("greedynas", 3), ("fairnas", 2), ("proxylessnas", 3)]
)
def test_fashion_mnist_compares_searches_of_a_given_supernet(
    system: str, monitor: int, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    save(getattr(raynas.supernets, f"{system}_28x28")(), tmp_path / "supernet.safetensors")
    sizes = ("--calibration", "20", "--validation", "20", "--population", "4", "--generations", "2")
    options = ("--supernet", "supernet.safetensors", "--strategies", "ea", "pcf", "--workers", "0")
    done = run(f"fashion_mnist_{system}.py", *options, *sizes, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    row = next(line for line in done.stdout.splitlines() if "│ PCF-ES" in line)
    assert [cell.strip() for cell in row.split("│")[1:4]] == ["PCF-ES", "0.4", str(monitor)]
    for name in ("ea", "pcf"):
        result = json.loads((tmp_path / f"{name}-seed0" / "result.json").read_text())
        assert len(result["names"]) == 12


@pytest.mark.skipif(not FASHION_MNIST.exists(), reason="needs Debian's dataset-fashion-mnist")
@pytest.mark.slow
def test_fashion_mnist_specialises_networks(tmp_path: Path) -> None:
    sizes = ("--train", "128", "--calibration", "20", "--validation", "20", "--epochs", "1")
    options = ("--block-samples", "64", "--population", "4", "--generations", "2")
    limits = ("--limits", "40%", "60%", "--workers", "0")
    done = run("fashion_mnist_ponas.py", *sizes, *options, *limits, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith("│ flops at most")]
    assert [row.split("│")[2].strip() for row in rows] == ["genetic", "optimum", "EA"] * 2
    home = tmp_path / "runs" / "fashion_mnist_ponas"
    assert (home / "supernet.safetensors.table.json").exists()
    assert len(list(home.glob("ea-*-seed0/result.json"))) == 2


@pytest.mark.skipif(not FASHION_MNIST.exists(), reason="needs Debian's dataset-fashion-mnist")
@pytest.mark.slow
def test_fashion_mnist_searches_at_the_latency_of_baselines(tmp_path: Path) -> None:
    torch.manual_seed(0)
    save(spos_28x28(), tmp_path / "supernet.safetensors")
    sizes = ("--calibration", "20", "--validation", "20", "--population", "4", "--generations", "2")
    files = ("--supernet", "supernet.safetensors", "--run-dir", "run", "--rounds", "2")
    options = ("--strategies", "pcf", "--workers", "0", *sizes, *files)
    done = run("fashion_mnist_latency.py", *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for name in ("c3", "c5", "c7", "x"):
        assert done.stdout.count(f"│ all {name} ") == 2
        for limited in ("flops", "latency"):
            record = tmp_path / "run" / limited / f"all {name}" / "pcf-seed0" / "result.json"
            assert json.loads(record.read_text())["costs"][limited] > 0


@pytest.mark.skipif(not FASHION_MNIST.exists(), reason="needs Debian's dataset-fashion-mnist")
@pytest.mark.slow
def test_fashion_mnist_retrains_winners_and_baselines(tmp_path: Path) -> None:
    torch.manual_seed(0)
    save(spos_28x28(), tmp_path / "supernet.safetensors")
    sizes = ("--calibration", "20", "--validation", "20", "--population", "4", "--generations", "2")
    own = ("--train", "256", "--supernet", "supernet.safetensors", "--retrain-epochs", "1")
    options = (*own, "--networks", "2", "--strategies", "ea", "--workers", "0")
    for _ in range(2):
        done = run("fashion_mnist_retrain.py", *options, *sizes, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        rows = [line.split("│")[1:4] for line in done.stdout.splitlines() if "│" in line]
        names = [row[0].strip() for row in rows[-4:]]
        assert names == ["EA, seed 0", "all c3", "random 1", "random 2"]
    assert "epoch " not in done.stdout, "they are read back"
    kept = sorted((tmp_path / "retrained-1-epochs").glob("*/architecture.json"))
    assert len(kept) == 4
    assert json.loads(kept[0].read_text())["names"] == ["c3"] * 12


@pytest.mark.skipif(not FASHION_MNIST.exists(), reason="needs Debian's dataset-fashion-mnist")
@pytest.mark.slow
def test_fashion_mnist_searches_below_the_bit_operations_of_baselines(tmp_path: Path) -> None:
    torch.manual_seed(0)
    bits = (*raynas.supernets.MIXED_BITS, (3, 3))
    save(raynas.supernets.resnet_mixed_28x28(bits=bits), tmp_path / "supernet.safetensors")
    sizes = ("--calibration", "20", "--validation", "20", "--population", "4", "--generations", "2")
    options = ("--supernet", "supernet.safetensors", "--strategies", "ea", "--workers", "0")
    done = run("fashion_mnist_mixed_precision.py", *options, *sizes, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = [
        line.split("│")[1:-1] for line in done.stdout.splitlines() if "W" in line and "│" in line
    ]
    table = {cells[0].strip(): [cell.strip() for cell in cells[1:]] for cells in rows}
    macs = table["2W2A"][0].replace(",", "")
    for bits_each in (2, 3, 4):
        name = f"{bits_each}W{bits_each}A"
        limit = int(macs) // 4 * bits_each**2
        assert int(table[name][0].replace(",", "")) == limit
        result = json.loads((tmp_path / name / "ea-seed0" / "result.json").read_text())
        assert result["costs"]["bitops"] <= limit
        assert int(table[f"EA, at most {name}"][0].replace(",", "")) == result["costs"]["bitops"]
        assert table[f"EA, at most {name}"][4] == f"{result['test_top1']:.2%}"


@pytest.mark.skipif(not FASHION_MNIST.exists(), reason="needs Debian's dataset-fashion-mnist")
@pytest.mark.slow
def test_fashion_mnist_searches_channels_of_a_given_supernet(tmp_path: Path) -> None:
    torch.manual_seed(0)
    save(spos_28x28(channels=True), tmp_path / "supernet.safetensors")
    sizes = ("--calibration", "20", "--validation", "20", "--population", "4", "--generations", "2")
    options = ("--supernet", "supernet.safetensors", "--random", "2", "--workers", "0")
    done = run("fashion_mnist_channels.py", *options, *sizes, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = [line.split("│") for line in done.stdout.splitlines() if line.startswith("│")]
    rows = {cells[1].strip(): [cell.strip() for cell in cells[2:-1]] for cells in lines}
    assert [int(cells[0]) for cells in rows.values()] == [1, 2, 1, 2, 1, 1, 1]
    assert rows["all c3@1.0"][1] == "2.513"
    assert all(float(cells[1]) <= 2.8 for cells in rows.values())
    found = {
        name: json.loads((tmp_path / name / "result.json").read_text())["names"]
        for name in ("c3-channels", "blocks", "joint", "two-step")
    }
    assert {name.partition("@")[0] for name in found["c3-channels"]} == {"c3"}
    assert {name.partition("@")[2] for name in found["blocks"]} == {"1.0"}
    kinds = [[name.partition("@")[0] for name in found[of]] for of in ("blocks", "two-step")]
    assert kinds[0] == kinds[1]


@pytest.mark.slow
def test_imagenet_searches_the_full_supernet_from_released_weights(tmp_path: Path) -> None:
    classes = 3
    make_image_tree(tmp_path / "data", classes)
    torch.manual_seed(0)
    torch.save(released_layout(spos(classes)), tmp_path / "checkpoint.pth.tar")
    sizes = ("--calibration", "6", "--validation", "6", "--population", "3", "--generations", "2")
    files = ("--data", "data", "--checkpoint", "checkpoint.pth.tar", "--run-dir", "run")
    done = run("imagenet_spos.py", "--workers", "0", *sizes, *files, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert len(result["architecture"]) == 20
    assert 280e6 < result["flops"] <= 330e6
    assert result["test_top1"] is not None
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["evaluation"]["sample_rate"] == 0.4
    assert config["evaluation"]["bits"] == 16
    assert config["strategy"]["threshold"] == 0.7
    assert config["strategy"]["monitor"] == 3


def make_image_tree(root: Path, classes: int) -> None:
    """An ImageFolder tree of small random images."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 5), ("val", 2)):
        for index in range(classes):
            folder = root / split / f"class{index}"
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 256, (240, 300, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.JPEG")


def released_layout(supernet: torch.nn.Module) -> dict[str, dict[str, torch.Tensor]]:
    """The state of a SPOS supernet under the names of the released checkpoint."""
    names = {
        "stem.1.": "first_conv.0.",
        "stem.2.": "first_conv.1.",
        "blocks.": "features.",
        "head.0.": "conv_last.0.",
        "head.1.": "conv_last.1.",
        "head.6.": "classifier.0.",
    }
    state = {}
    for name, tensor in supernet.state_dict().items():
        old = next(prefix for prefix in names if name.startswith(prefix))
        state["module." + names[old] + name[len(old) :]] = tensor
    return {"state_dict": state}
