"""Bad input of the command line: exit code 2, one line on stderr, and nothing written."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from commands import command
from safetensors.torch import save_file
from small_search import contents

import raynas
from raynas.supernets import save

SEARCH = ("search", "--data", "digits", "--workers", 0, "--generations", 1, "--population", 4)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A supernet of the digits that nobody trained."""
    path = tmp_path_factory.mktemp("weights") / "supernet.safetensors"
    save(raynas.supernets.spos_8x8(10), path)
    return path


@pytest.fixture(scope="module")
def finished(weights: Path) -> Path:
    """A run that has ended."""
    run_dir = weights.parent / "run"
    assert command(*SEARCH, "--supernet", weights, "--run-dir", run_dir).code == 0
    return run_dir


def assert_refused(arguments: Sequence[object], *texts: str) -> None:
    """The command ends with one line that holds the texts, and prints nothing else."""
    ended = command(*arguments)
    assert ended.code == 2, ended
    assert ended.out == ""
    assert ended.err.startswith("error: ")
    assert ended.err.count("\n") == 1, "one line"
    for text in texts:
        assert text in ended.err


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--flops", 10), "constraint: expected a limit of at least 499,328 flops, the cost of"),
        (("--flops", 10), "cheapest architecture [3, 0, 0, 0, 3, 0, 0, 0], got at most 10."),
        (("--flops", "nan"), "FLOPs(at_most): expected a positive finite number, got nan."),
        (("--flops", "-5"), "FLOPs(at_most): expected a positive finite number, got -5.0."),
        (("--threshold", 1.5), "threshold: expected a share between 0 and 1, got 1.5."),
        (("--strategy", "cf", "--threshold", 0), "threshold: expected a share between 0 and 1"),
        (("--monitor", 0), "monitor: expected at least 1, got 0."),
        (("--population", 0), "population: expected at least 1, got 0."),
        (("--generations", -3), "generations: expected at least 1, got -3."),
        (("--top-k", 0), "top_k: expected at least 1, got 0."),
        (("--sample-rate", 0), "sample_rate: expected a share above 0 and at most 1, got 0.0."),
        (("--sample-rate", 1.5), "sample_rate: expected a share above 0 and at most 1, got 1.5."),
        (("--bits", 8), "bits: expected 32 or 16, got 8."),
        (("--threads", 0), "threads: expected at least 1, got 0."),
        (("--seed", -1), "seed: expected at least 0, got -1."),
        (("--workers", -2), "workers: expected 0 (this process), a number of Ray actors"),
    ],
)
def test_settings_out_of_range(
    options: tuple[object, ...], text: str, weights: Path, tmp_path: Path
) -> None:
    base = ("--supernet", weights, "--run-dir", tmp_path / "run")
    assert_refused((*SEARCH, *base, *options), text)
    assert not list(tmp_path.iterdir())


@pytest.mark.ray
def test_more_workers_than_the_cluster_has(weights: Path, tmp_path: Path) -> None:
    base = ("--supernet", weights, "--run-dir", tmp_path / "run", "--workers", 9999)
    ended = command(*SEARCH, *base)
    assert ended.code == 2
    assert "error: workers: expected at most" in ended.err.splitlines()[-1]
    assert "got 9999. Ask for fewer workers" in ended.err.splitlines()[-1]
    assert "Traceback" not in ended.err
    assert not list(tmp_path.iterdir())


def make_missing(path: Path) -> None:
    pass


def make_text(path: Path) -> None:
    path.write_text("no checkpoint")


def make_truncated(path: Path) -> None:
    save(raynas.supernets.spos_8x8(10), path)
    path.write_bytes(path.read_bytes()[:-100])


class Payload:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("raise SystemExit('this ran')",)


def make_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps({"state_dict": Payload()}))


def make_torch_pickle(path: Path) -> None:
    torch.save({"state_dict": Payload()}, path)


def make_other_space(path: Path) -> None:
    supernet = raynas.supernets.spos_8x8(10, stages=((32, 3, 1), (64, 4, 2)), head_channels=64)
    torch.save(supernet.state_dict(), path)


def make_other_classes(path: Path) -> None:
    save(raynas.supernets.spos_8x8(7), path)


def make_other_images(path: Path) -> None:
    save(raynas.supernets.spos_28x28(10), path)


def make_foreign_builder(path: Path) -> None:
    save_file({"a": torch.zeros(1)}, path, {"recipe": '{"builder": "os.system"}'})


def make_foreign_recipe(path: Path) -> None:
    save_file({"a": torch.zeros(1)}, path, {"recipe": '{"builder": "spos", "colour": 1}'})


CHECKPOINTS = {
    make_missing: ("checkpoint: expected a readable safetensors or torch file", "No such file"),
    make_text: ("checkpoint: expected a readable safetensors or torch file",),
    make_truncated: ("checkpoint: expected a readable safetensors or torch file",),
    make_pickle: ("checkpoint: expected",),
    make_torch_pickle: ("checkpoint: expected tensors and plain values only", "exec to be import"),
    make_other_space: (
        "missing (blocks.",
        "unexpected (blocks.6.0.branch_proj.0.weight",
        "of another shape or type (",
        "instead of (64, 1, 3, 3)" if False else "instead of (",
    ),
    make_other_classes: ("supernet: expected 10 classes, as digits has, got 7.",),
    make_other_images: ("calibration images: expected shape (1, 28, 28)", "got (1, 8, 8)."),
    make_foreign_builder: ("a recipe for one of ['spos'], got os.system.",),
    make_foreign_recipe: ("a recipe that spos can be built from, got ", "'colour'"),
}


@pytest.mark.parametrize("make", CHECKPOINTS)
@pytest.mark.parametrize("name", ["search", "export"])
def test_checkpoints_that_do_not_fit(make, name: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "supernet.pt"
    make(path)
    before = contents(tmp_path)
    arguments = {
        "search": (*SEARCH, "--run-dir", tmp_path / "run"),
        "export": ("export", "--data", "digits", "--out", tmp_path / "best"),
    }
    if name == "export" and make is make_other_classes:
        pytest.skip("an export needs no classes")
    which = () if name == "search" else ("--architecture", "0,0,0,0,0,0,0,0,0,0,0,0"[: 15 + 8 * (make is make_other_images)])
    assert_refused((*arguments[name], "--supernet", path, *which), *CHECKPOINTS[make])
    assert contents(tmp_path) == before


def test_a_run_directory_in_use(weights: Path, finished: Path) -> None:
    before = contents(finished)
    base = (*SEARCH, "--supernet", weights, "--run-dir", finished)
    assert_refused(base, "run_dir: expected a directory without a run", "--resume")
    assert_refused(
        (*base, "--resume", "--seed", 4, "--top-k", 3),
        "resume: expected the configuration that the run was started with",
        "seed: 0 there, 4 now",
        "strategy.top_k: 10 there, 3 now",
    )
    assert contents(finished) == before


def test_a_resume_with_other_weights(finished: Path, tmp_path: Path) -> None:
    other, before = tmp_path / "other.safetensors", contents(finished)
    save(raynas.supernets.spos_8x8(10), other)
    base = (*SEARCH, "--supernet", other, "--run-dir", finished, "--resume")
    assert_refused(base, "supernet.digest: ", " there, ", " now")
    export = ("export", "--data", "digits", "--supernet", other, "--out", tmp_path / "best")
    assert_refused((*export, "--run-dir", finished), "run_dir: ", "supernet: ", " there, ")
    assert contents(finished) == before
    assert not (tmp_path / "best").exists()


@pytest.mark.parametrize("resume", [(), ("--resume",)])
def test_a_run_directory_below_a_file(
    resume: tuple[str, ...], weights: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("mine")
    base = (*SEARCH, "--supernet", weights, "--run-dir", tmp_path / "file" / "run")
    assert_refused((*base, *resume), "run_dir: expected a directory that can be created")
    assert contents(tmp_path) == {"file": b"mine"}


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--architecture", "0,0,0"), "architecture: expected 8 choices, one per block, got 3"),
        (("--architecture", "0,0,0,0,0,0,0,4"), "a choice from 0 to 3 for block 7, got 4."),
        (("--architecture=-1,0,0,0,0,0,0,0",), "a choice from 0 to 3 for block 0, got -1."),
        (("--architecture", "a,b"), "architecture: expected integers separated by commas"),
        (("--architecture", ""), "architecture: expected integers separated by commas, got ''."),
        ((), "architecture: expected either --architecture or --run-dir, got neither."),
        (("--architecture", "0", "--run-dir", "x"), "or --run-dir, got both."),
        (("--run-dir", "absent"), "config.json: expected a JSON object"),
    ],
)
def test_exports_that_cannot_be(
    options: tuple[str, ...], text: str, weights: Path, tmp_path: Path
) -> None:
    base = ("export", "--data", "digits", "--supernet", weights, "--out", tmp_path / "best")
    assert_refused((*base, *options), text)
    assert not list(tmp_path.iterdir())


def test_an_export_is_not_overwritten_by_another(weights: Path, tmp_path: Path) -> None:
    target = tmp_path / "best"
    target.mkdir()
    (target / "architecture.json").write_text('{"architecture": [0, 0, 0, 0, 0, 0, 0, 1]}')
    before = contents(tmp_path)
    base = ("export", "--data", "digits", "--supernet", weights, "--out", target)
    assert_refused((*base, "--architecture", "0,0,0,0,0,0,0,0"), "export directory: expected")
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--epochs", 0), "epochs: expected at least 1, got 0."),
        (("--batch-size", 1), "batch_size: expected at least 2, for batch norm, got 1."),
        (("--learning-rate", 0), "learning_rate: expected a positive finite number, got 0.0."),
        (("--device", "tpu"), "device: expected one of ['cpu'"),
        (("--seed", -1), "seed: expected at least 0, got -1."),
    ],
)
def test_trainings_that_cannot_be(options: tuple[object, ...], text: str, tmp_path: Path) -> None:
    base = ("train", "--data", "digits", "--out", tmp_path / "new" / "supernet.safetensors")
    assert_refused((*base, *options), text)
    assert not list(tmp_path.iterdir())


def test_a_training_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    base = ("train", "--data", "digits", "--epochs", 1, "--out")
    assert_refused((*base, tmp_path / "file" / "supernet.st"), "supernet: ", "another place")
    assert_refused((*base, tmp_path), "checkpoint: expected a readable", "Is a directory")
    assert contents(tmp_path) == {"file": b"mine"}


@pytest.mark.parametrize("name", ["search", "train"])
def test_folders_of_images_that_cannot_be(name: str, weights: Path, tmp_path: Path) -> None:
    outputs = {
        "search": (*SEARCH, "--supernet", weights, "--run-dir", tmp_path / "run"),
        "train": ("train", "--out", tmp_path / "new.st"),
    }
    base = (*outputs[name], "--data", "imagenet")
    assert_refused(base, "data-dir: expected the folder of imagenet, got None. Give --data-dir.")
    assert_refused((*base, "--data-dir", tmp_path / "absent"), "root: ", "absent/train")
    (tmp_path / "images" / "train").mkdir(parents=True)
    assert_refused((*base, "--data-dir", tmp_path / "images"), "root: expected a folder of class")
    (tmp_path / "images" / "train" / "cat").mkdir()
    assert_refused((*base, "--data-dir", tmp_path / "images"), "none in 1 of 1: cat.")
    assert contents(tmp_path) == {}


@pytest.mark.parametrize(
    "arguments",
    [
        ("search", "--data", "mnist"),
        ("search", "--bits", "many"),
        ("train", "--data", "digits"),
        ("export", "--colour", "red"),
        ("destroy",),
    ],
)
def test_arguments_that_are_none_end_with_code_2(arguments: tuple[str, ...]) -> None:
    ended = command(*arguments)
    assert (ended.code, ended.out) == (2, "")
    assert "Traceback" not in ended.err


def test_a_population_larger_than_the_legal_architectures_is_said(
    weights: Path, tmp_path: Path
) -> None:
    few = ("--flops", 500_000, "--generations", 3, "--population", 50)
    ended = command(*SEARCH, *few, "--supernet", weights, "--run-dir", tmp_path / "run")
    assert (ended.code, ended.err) == (0, "")
    assert "(legal architectures exhausted)" in ended.out
    assert "ended by" in ended.out
