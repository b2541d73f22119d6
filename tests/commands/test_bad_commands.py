"""Bad input of the command line: exit code 2, one line on stderr, and nothing written."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest
from command_runs import BRIEF_SEARCH, assert_refused, command
from small_search import contents, run_search, small_data, small_supernet

import raynas
from raynas.costs import flops_table
from raynas.errors import InputError
from raynas.supernets import save


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
    assert command(*BRIEF_SEARCH, "--supernet", weights, "--run-dir", run_dir).code == 0
    return run_dir


@pytest.mark.parametrize(
    ("options", "text"),
    [
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
        (("--bits", 2), "bits: expected 32 or 16 or 8 or 4, got 2."),
        (("--threads", 0), "threads: expected at least 1, got 0."),
        (("--seed", -1), "seed: expected at least 0, got -1."),
        (("--workers", -2), "workers: expected 0 (this process), a number of Ray actors"),
    ],
)
def test_settings_out_of_range(
    options: tuple[object, ...], text: str, weights: Path, tmp_path: Path
) -> None:
    base = ("--supernet", weights, "--run-dir", tmp_path / "run")
    assert_refused((*BRIEF_SEARCH, *base, *options), text)
    assert not list(tmp_path.iterdir())


def test_an_infeasible_constraint(weights: Path, tmp_path: Path) -> None:
    table = flops_table(raynas.supernets.spos_8x8(10))
    costs = {a: table.of(a) for a in product((0, 3), repeat=8)}
    cheapest = min(costs, key=lambda a: costs[a])
    base = ("--supernet", weights, "--run-dir", tmp_path / "run")
    assert_refused(
        (*BRIEF_SEARCH, *base, "--flops", costs[cheapest] - 1),
        f"constraint: expected a limit of at least {costs[cheapest]:,} flops, the cost of the "
        f"cheapest architecture {list(cheapest)}, got at most {costs[cheapest] - 1:,}. Raise",
    )
    assert not list(tmp_path.iterdir())
    few = (*BRIEF_SEARCH, *base, "--flops", costs[cheapest], "--population", 50, "--generations", 3)
    ended = command(*few)
    assert (ended.code, ended.err) == (0, "")
    assert "(legal architectures exhausted)" in ended.out
    assert "1 of 1 legal architectures" in ended.out


@pytest.fixture
def cluster() -> Iterator[None]:
    """A connection to Ray, which is slow to start, for all calls of a test."""
    import ray

    ray.init(address="local", num_cpus=2, include_dashboard=False, configure_logging=False)
    yield
    ray.shutdown()


@pytest.mark.ray
@pytest.mark.usefixtures("cluster")
def test_more_workers_than_the_cluster_has(weights: Path, tmp_path: Path) -> None:
    text = (
        "workers: expected at most 2, since each takes 1 CPU of one node and the cluster has 2 CPU"
    )
    base = ("--supernet", weights, "--run-dir", tmp_path / "run", "--workers", 3)
    assert_refused((*BRIEF_SEARCH, *base), text, "got 3. Ask for fewer workers")
    with pytest.raises(InputError, match=text):
        run_search(tmp_path / "run", workers=3)
    with pytest.raises(InputError, match=text):
        raynas.check_search(small_supernet(), small_data(), run_dir=tmp_path / "run", workers=3)
    assert not list(tmp_path.iterdir())


def test_a_run_directory_in_use(weights: Path, finished: Path) -> None:
    before = contents(finished)
    base = (*BRIEF_SEARCH, "--supernet", weights, "--run-dir", finished)
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
    base = (*BRIEF_SEARCH, "--supernet", other, "--run-dir", finished, "--resume")
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
    base = (*BRIEF_SEARCH, "--supernet", weights, "--run-dir", tmp_path / "file" / "run")
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
        "search": (*BRIEF_SEARCH, "--supernet", weights, "--run-dir", tmp_path / "run"),
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
