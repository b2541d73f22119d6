"""Train once, search with progress, export: what experiments and the command line share."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_runs import few_digits, untraceable_supernet
from small_search import PCF, contents, history, records, run_search

import raynas
from raynas.commands import program, supernet_training, workflow
from raynas.commands.named_strategies import make_strategy
from raynas.commands.pool_file import pool_of
from raynas.commands.run_options import MeteringOptions, RunOptions, choose_run_dir
from raynas.data import SearchData
from raynas.data.arrays import ArrayImages
from raynas.errors import InputError
from raynas.evolution import CFES, EA, NSGA2, PCFES, RandomSearch
from raynas.supernets import ChainSupernet, load
from raynas.testing.supernets import CLASSES, SHAPE, small_data, small_supernet
from raynas.training import TrainingDivergedError, TrainingSettings
from raynas.workers.pool import WorkerCrashError

TRAINING = TrainingSettings(epochs=3, batch_size=16, learning_rate=0.1, device="cpu")


@dataclass(frozen=True)
class InterruptedImages:
    """Training images that end the process's patience in an epoch."""

    images: ArrayImages
    epoch: int

    def __len__(self) -> int:
        return len(self.images)

    def digest(self) -> str:
        return self.images.digest()

    def batches(self, batch_size: int, *, seed: int, epoch: int) -> Iterator[Any]:
        if epoch == self.epoch:
            raise KeyboardInterrupt
        return self.images.batches(batch_size, seed=seed, epoch=epoch)


def training_data(interrupted_in: int | None = None) -> SearchData:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (64, *SHAPE), dtype=np.uint8)
    images = ArrayImages(pixels, rng.integers(0, CLASSES, 64))
    if interrupted_in is None:
        return replace(small_data(), train=images)
    return replace(small_data(), train=InterruptedImages(images, interrupted_in))


def weights_of(supernet: ChainSupernet) -> dict[str, bytes]:
    return {name: t.numpy().tobytes() for name, t in supernet.state_dict().items()}


def test_a_supernet_is_trained_once_and_reused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "deep" / "supernet.safetensors"
    trained, untrained = small_supernet(), weights_of(small_supernet())
    supernet_training.train_or_load(trained, training_data(), TRAINING, path)
    out = capsys.readouterr().out
    assert "training 65,536 architectures on 64 samples of noise" in out
    assert "epoch   3/3" in out
    assert f"saved to {path}" in out
    assert weights_of(trained) != untrained
    assert set(contents(tmp_path)) == {"deep/supernet.safetensors"}, "no checkpoint is left"
    before = path.read_bytes()
    reused = small_supernet(1)
    supernet_training.train_or_load(reused, small_data(), TRAINING, path)
    assert capsys.readouterr().out == f"Supernet: reusing {path}\n"
    assert weights_of(reused) == weights_of(trained)
    assert path.read_bytes() == before


def test_an_interrupted_training_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, resumed, path = small_supernet(), small_supernet(), tmp_path / "supernet.safetensors"
    supernet_training.train_or_load(
        whole, training_data(), TRAINING, tmp_path / "whole.safetensors"
    )
    with pytest.raises(KeyboardInterrupt):
        supernet_training.train_or_load(resumed, training_data(interrupted_in=2), TRAINING, path)
    assert not path.exists()
    capsys.readouterr()
    resumed = small_supernet(4)
    supernet_training.train_or_load(resumed, training_data(), TRAINING, path)
    out = capsys.readouterr().out
    assert "epoch   3/3" in out
    assert "epoch   2/3" not in out, "what was trained is not trained again"
    assert weights_of(resumed) == weights_of(whole)
    loaded = small_supernet(5)
    load(loaded, path)
    assert weights_of(loaded) == weights_of(whole)


def test_weights_that_do_not_fit_are_not_trained_over(tmp_path: Path) -> None:
    path = tmp_path / "supernet.safetensors"
    supernet_training.train_or_load(small_supernet(), training_data(), TRAINING, path)
    before = path.read_bytes()
    with pytest.raises(InputError, match="missing"):
        supernet_training.train_or_load(small_supernet(blocks=9), training_data(), TRAINING, path)
    assert path.read_bytes() == before


def test_nothing_to_train_on(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"data: .*training images, got noise"):
        supernet_training.train_or_load(
            small_supernet(), small_data(), TRAINING, tmp_path / "deep" / "supernet.safetensors"
        )
    assert not list(tmp_path.iterdir())


def test_weights_in_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match=r"out: .*use another directory"):
        supernet_training.train_or_load(
            small_supernet(), training_data(), TRAINING, tmp_path / "file" / "supernet.safetensors"
        )


@pytest.mark.reports
def test_a_search_is_shown_and_exported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_dir = tmp_path / "run"
    options: dict[str, Any] = {"workers": 0, "evaluation": raynas.Evaluation(device="cpu")}
    workflow.search_and_show(small_supernet(), small_data(), PCF, run_dir, **options)
    out = capsys.readouterr().out
    for record in records(run_dir):
        assert f"generation {record['generation'] + 1:3d}" in out
    result = json.loads((run_dir / "result.json").read_text())
    assert ",".join(map(str, result["architecture"])) in out
    assert out.splitlines()[-2:] == [
        f"Records: {run_dir}, best subnet: {run_dir / 'best'}",
        f"Report: {run_dir / 'report.html'}",
    ]
    assert "Finished after" in (run_dir / "report.html").read_text()
    assert set(contents(run_dir / "best")) == {
        "architecture.json",
        "weights.safetensors",
        "model.pt2",
        "network.py",
    }
    workflow.search_and_show(small_supernet(), small_data(), PCF, run_dir, resume=True, **options)
    assert capsys.readouterr().out == out, "a finished run is shown again"


def test_a_subnet_that_torch_cannot_write_whole_is_told_and_the_search_is_fine(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workflow.search_and_show(
        untraceable_supernet(),
        few_digits(10),
        EA(population=2, generations=1, top_k=1),
        tmp_path / "run",
        workers=0,
    )
    shown = capsys.readouterr()
    assert f"Records: {tmp_path / 'run'}, best subnet: " in shown.out
    assert shown.err.startswith("warning: export: expected ")
    assert shown.err.count("\n") == 1
    assert "model.pt2 was not" in shown.err
    assert set(contents(tmp_path / "run" / "best")) == {
        *("architecture.json", "weights.safetensors", "network.py"),
    }


def test_a_subnet_that_cannot_be_written_at_all_is_an_error_after_the_result(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "best").write_text("mine")
    options: dict[str, Any] = {"workers": 0, "evaluation": raynas.Evaluation(device="cpu")}
    with pytest.raises(InputError, match="export directory"):
        workflow.search_and_show(small_supernet(), small_data(), PCF, tmp_path / "run", **options)
    assert "Search result" in capsys.readouterr().out
    assert (tmp_path / "run" / "result.json").exists()


def folder_with_run(base: Path, name: str) -> Path:
    (base / name).mkdir(parents=True)
    (base / name / "config.json").write_text("{}")
    return base / name


def test_choosing_a_run_directory(tmp_path: Path) -> None:
    first = choose_run_dir(tmp_path, "pcf", 3, resume=False)
    assert first.parent == tmp_path
    assert first.name.startswith("pcf-seed3-")
    assert not first.exists()


def test_choosing_the_run_to_resume(tmp_path: Path) -> None:
    folder_with_run(tmp_path, "pcf-seed1-20250101-000000")
    latest = folder_with_run(tmp_path, "pcf-seed1-20250203-000000")
    folder_with_run(tmp_path, "pcf-seed1-20250202-000000")
    folder_with_run(tmp_path, "pcf-seed10-20260101-000000")
    folder_with_run(tmp_path, "ea-seed1-20260101-000000")
    (tmp_path / "pcf-seed1-20260101-000000").mkdir()
    (tmp_path / "pcf-seed1-20260101-000000" / ".lock").write_text("")
    (tmp_path / "pcf-seed1-notes").write_text("")
    assert choose_run_dir(tmp_path, "pcf", 1, resume=True) == latest


@pytest.mark.parametrize("made", ["nothing", "empty folder", "finished run"])
def test_without_an_unfinished_run_resume_starts_one(
    made: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if made == "empty folder":
        (tmp_path / "pcf-seed1-20250101-000000").mkdir()
    if made == "finished run":
        (folder_with_run(tmp_path, "pcf-seed1-20250101-000000") / "result.json").write_text("{}")
    chosen = choose_run_dir(tmp_path, "pcf", 1, resume=True)
    assert chosen.name.startswith("pcf-seed1-2")
    assert not chosen.exists()
    assert "No unfinished search" in capsys.readouterr().out


@pytest.mark.parametrize("made", [False, True])
def test_a_named_directory_without_a_run_is_told_to_hold_none(
    made: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "typo"
    if made:
        folder_with_run(tmp_path, "typo")
    assert RunOptions(run_dir=folder, resume=True).directory(tmp_path) == folder
    told = "" if made else f"No search to resume in {folder}: starting a new one\n"
    assert capsys.readouterr().out == told
    assert folder.exists() == made
    RunOptions(run_dir=tmp_path / "new").directory(tmp_path)
    assert capsys.readouterr().out == ""


def test_a_finished_run_does_not_hide_an_unfinished_one(tmp_path: Path) -> None:
    unfinished = folder_with_run(tmp_path, "pcf-seed1-20250101-000000")
    (folder_with_run(tmp_path, "pcf-seed1-20250102-000000") / "result.json").write_text("{}")
    assert choose_run_dir(tmp_path, "pcf", 1, resume=True) == unfinished


def test_strategies_by_name() -> None:
    shared: dict[str, Any] = {"population": 9, "generations": 3, "top_k": 4}
    freezing = {**shared, "threshold": 0.6, "monitor": 2}
    assert make_strategy("ea", **freezing) == EA(**shared)
    assert make_strategy("random", **freezing) == RandomSearch(**shared)
    assert make_strategy("cf", **freezing) == CFES(**shared, threshold=0.6)
    assert make_strategy("pcf", **freezing) == PCFES(**freezing)
    assert make_strategy("pcf") == PCFES()
    assert make_strategy("nsga2", population=9) == NSGA2(population=9, top_k=9)
    assert make_strategy("nsga2", **shared) == NSGA2(**shared)


def test_a_short_training_has_a_short_warm_up() -> None:
    preset = replace(TRAINING, epochs=50, warmup_epochs=2)
    assert supernet_training.adjust(preset) == preset
    assert supernet_training.adjust(preset, epochs=1) == replace(
        preset, epochs=1, warmup_epochs=0.1
    )
    assert supernet_training.adjust(preset, epochs=30, seed=4) == replace(preset, epochs=30, seed=4)
    assert supernet_training.adjust(preset, epochs=3, warmup_epochs=1).warmup_epochs == 1
    with pytest.raises(InputError, match="epochs: expected at least 1, got 0"):
        supernet_training.adjust(preset, epochs=0)


def test_the_options_of_a_run(tmp_path: Path) -> None:
    run = RunOptions(workers=0, seed=3, ledger=tmp_path / "scores")
    assert run.options() == {
        "workers": 0,
        "seed": 3,
        "resume": False,
        "ledger": tmp_path / "scores",
        "metering": raynas.Metering(),
    }
    assert run.shown() == {"dashboard": False, "mlflow": None}
    with pytest.raises(InputError, match="dashboard: expected workers on Ray"):
        replace(run, dashboard=True).directory(tmp_path)
    assert run.directory(tmp_path).parent == tmp_path
    assert run.directory(tmp_path).name.startswith("pcf-seed3-")
    assert replace(run, run_dir=tmp_path / "mine").directory(tmp_path) == tmp_path / "mine"
    with pytest.raises(InputError, match="seed: "):
        replace(run, seed=2**64).directory(tmp_path)
    with pytest.raises(InputError, match="watts: expected the watts of a machine"):
        replace(run, metering=MeteringOptions(watts=-1.0)).directory(tmp_path)
    folder_with_run(tmp_path, "mine")
    with pytest.raises(InputError, match="run_dir: expected a directory without a run"):
        replace(run, run_dir=tmp_path / "mine").directory(tmp_path)


def test_nothing_is_left_where_weights_could_be_written(tmp_path: Path) -> None:
    supernet_training.require_room(tmp_path / "new" / "supernet.safetensors")
    assert not list(tmp_path.iterdir())
    for name in ("x" * 300, "x" * 252):
        with pytest.raises(InputError, match="out: "):
            supernet_training.require_room(tmp_path / name)
    assert not list(tmp_path.iterdir())
    with pytest.raises(InputError, match="is a directory"):
        supernet_training.require_room(tmp_path)


def test_trainings_beside_each_other_keep_apart(tmp_path: Path) -> None:
    names = ("net", "net.v1", "net.v2", "net.st", "net.safetensors")
    for beside in (supernet_training.checkpoint_of, pool_of):
        assert len({beside(tmp_path / name) for name in names}) == len(names)


def raising(error: BaseException) -> Callable[[], None]:
    def command() -> None:
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (InputError("bits", "32 or 16", 7, "Choose."), 2, "error: bits: expected 32 or 16, got 7."),
        (WorkerCrashError("call 3 killed 2 workers"), 1, "error: call 3 killed 2 workers"),
        (TrainingDivergedError("The loss is nan."), 1, "error: The loss is nan."),
        (KeyboardInterrupt(), 130, "interrupted"),
        (PermissionError(13, "Permission denied", "x"), 2, "error: [Errno 13] Permission denied"),
        (InputError("bits", "32\nor 16", 7, "Choose."), 2, "error: bits: expected 32 or 16, got"),
    ],
)
def test_errors_become_one_line_and_a_code(
    error: BaseException,
    code: int,
    text: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["program"])
    with pytest.raises(SystemExit) as caught:
        program.run(raising(error))
    assert caught.value.code == code
    captured = capsys.readouterr()
    assert captured.err.startswith(text)
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_an_error_of_the_program_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["program"])
    with pytest.raises(RuntimeError, match="a bug"):
        program.run(raising(RuntimeError("a bug")))


PATHS = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1])]

SLOW_SEARCH = """
import time
from pathlib import Path
from raynas.commands import program
from small_search import run_search

def wait(record, metrics):
    print("generation", record["generation"], flush=True)
    time.sleep(3600 if record["generation"] == 2 else 0)

def command(run_dir: Path, workers: int) -> None:
    run_search(run_dir, workers=workers, observer=wait)

if __name__ == "__main__":
    program.run(command)
"""


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=[pytest.mark.ray, pytest.mark.slow])])
def test_ctrl_c(workers: int, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SLOW_SEARCH)
    run_dir = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, script, "--run-dir", run_dir, "--workers", str(workers)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(PATHS)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # Shells start background jobs deaf to it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        for line in process.stdout:
            if line.startswith("generation 2"):
                break
        # As a terminal does: to every process of the foreground group.
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait() == 130
        error = process.stderr.read()
    assert (
        error.splitlines()[-1] == "interrupted; the same command continues, a search with --resume"
    )
    assert "Traceback" not in error
    assert len(records(run_dir)) == 3
    run_search(run_dir, resume=True)
    run_search(tmp_path / "whole")
    assert history(run_dir) == history(tmp_path / "whole")


def test_the_global_generator_of_torch_is_left_alone(tmp_path: Path) -> None:
    before = torch.get_rng_state()
    supernet_training.train_or_load(
        small_supernet(), training_data(), TRAINING, tmp_path / "s.safetensors"
    )
    assert torch.equal(torch.get_rng_state(), before)
