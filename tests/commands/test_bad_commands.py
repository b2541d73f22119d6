"""Bad input of the command line: exit code 2, one line on stderr, and nothing written."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_runs import (
    BRIEF_SEARCH,
    DIGITS,
    TINY,
    assert_refused,
    command,
    tiny_supernet,
)
from small_search import contents, run_search

import raynas
from raynas.commands.main import COMMANDS
from raynas.costs import flops_table
from raynas.errors import InputError
from raynas.supernets import save
from raynas.testing.supernets import small_data, small_supernet

ROOT = Path(__file__).parents[2]
HUGE = 2**70


@pytest.fixture(scope="module")
def finished(own: tuple[object, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has ended."""
    run_dir = tmp_path_factory.mktemp("finished") / "run"
    assert command(*BRIEF_SEARCH, *own, "--run-dir", run_dir).code == 0
    return run_dir


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--flops", "nan"), "flops: expected a finite number, got nan."),
        (("--flops", "abc"), "flops: expected a number such as 3.1e6, or a share"),
        (("--flops", "-5"), "FLOPs(at_most): expected a positive finite number, got -5."),
        (("--flops", "0%"), "flops: expected a share above 0% and up to 100%, got '0%'."),
        (("--params-at-least", "x"), "params-at-least: expected a number"),
        (("--flops", "60%", "--flops-at-least", "90%"), "FLOPs(at_least): expected at most 60%"),
        (("--latency-batch", 7), "latency-batch: expected a --latency-table beside it, got none."),
        (("--latency-device", "x"), "latency-device: expected a --latency-table beside it"),
        (("--threshold", 1.5), "threshold: expected a share between 0 and 1, got 1.5."),
        (("--strategy", "cf", "--threshold", 0), "threshold: expected a share between 0 and 1"),
        (("--monitor", 0), "monitor: expected at least 1, got 0."),
        (("--population", 0), "population: expected at least 1, got 0."),
        (("--generations", -3), "generations: expected at least 1, got -3."),
        (("--top-k", 0), "top_k: expected at least 1, got 0."),
        (("--sample-rate", 0), "sample_rate: expected a share above 0 and at most 1, got 0.0."),
        (("--sample-rate", 1.5), "sample_rate: expected a share above 0 and at most 1, got 1.5."),
        (("--bits", 2), "bits: expected 32 or 16 or 8 or 4, got 2."),
        (("--bits", 7), "bits: expected 32 or 16 or 8 or 4, got 7."),
        (("--bits", "many"), "--bits: expected a whole number, got 'many'. See raynas search"),
        (("--threads", 0), "threads: expected a whole number from 1 to 1024, got 0."),
        (("--threads", 1_000_000), "threads: expected a whole number from 1 to 1024"),
        (("--threads", "1e6"), "--threads: expected a whole number, got '1e6'."),
        (("--seed", -1), "seed: expected a whole number from 0 to below 2**64, got -1."),
        (("--seed", HUGE), "seed: expected a whole number from 0 to below 2**64"),
        (("--workers", "2.5"), "--workers: expected a whole number, got '2.5'."),
        (("--workers", -2), "workers: expected 0 (this process), a number of Ray actors"),
    ],
)
def test_settings_out_of_range(
    options: tuple[object, ...], text: str, own: tuple[object, ...], tmp_path: Path
) -> None:
    base = (*own, "--run-dir", tmp_path / "run")
    assert_refused((*BRIEF_SEARCH, *base, *options), text)
    assert not list(tmp_path.iterdir())


def test_files_of_something_else_are_refused_in_few_words(
    own: tuple[object, ...], tmp_path: Path
) -> None:
    """Errors of decoding hold the whole file."""
    other = tmp_path / "other"
    other.write_bytes(b"\xff\x00" * 50_000)
    for option in ("--latency-table", "--initial", "--weights"):
        front = ("--strategy", "nsga2") if option == "--initial" else ()
        shown = command(*BRIEF_SEARCH, *own, *front, option, other, "--run-dir", tmp_path / "run")
        assert shown.code == 2
        assert str(other) in shown.err
        assert len(shown.err) < 500
    table = tmp_path / "table.json"
    table.write_text('{"format": 2}')
    shown = command(*BRIEF_SEARCH, "--supernet", table, "--run-dir", tmp_path / "run")
    assert shown.code == 2
    assert "not tensors as torch.save writes them" in " ".join(shown.err.split())
    assert "weights_only" not in shown.err


def test_baselines_need_a_table_for_what_is_said_of_one(tmp_path: Path) -> None:
    baselines = ("evaluate", *DIGITS, *TINY, "--architectures", "0,0,0", "--latency-batch", 7)
    assert_refused(baselines, "latency-batch: expected a --latency-table beside it")


def test_an_infeasible_constraint(own: tuple[object, ...], tmp_path: Path) -> None:
    supernet = tiny_supernet()
    table = flops_table(supernet)
    least = table.of((0, 0, 0))
    assert least == min(table.of(each) for each in supernet.space.enumerate())
    base = (*BRIEF_SEARCH, *own, "--run-dir", tmp_path / "run")
    assert_refused(
        (*base, "--flops", least - 1),
        f"constraint: expected a limit of at least {least:,} flops, the cost of the "
        "cheapest architecture [0, 0, 0] (identity identity identity), "
        f"got at most {least - 1:,}. Raise",
    )
    assert not list(tmp_path.iterdir())
    ended = command(*base, "--flops", least, "--population", 50, "--generations", 3)
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
def test_more_workers_than_the_cluster_has(own: tuple[object, ...], tmp_path: Path) -> None:
    text = (
        "workers: expected at most 2, since each takes 1 CPU of one node and the cluster has 2 CPU"
    )
    base = (*own, "--run-dir", tmp_path / "run", "--workers", 3)
    assert_refused((*BRIEF_SEARCH, *base), text, "got 3. Ask for fewer workers")
    with pytest.raises(InputError, match=text):
        run_search(tmp_path / "run", workers=3)
    with pytest.raises(InputError, match=text):
        raynas.check_search(small_supernet(), small_data(), run_dir=tmp_path / "run", workers=3)
    assert not list(tmp_path.iterdir())


def test_a_run_directory_in_use(own: tuple[object, ...], finished: Path) -> None:
    before = contents(finished)
    base = (*BRIEF_SEARCH, *own, "--run-dir", finished)
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
    save(tiny_supernet(), other)
    base = (*BRIEF_SEARCH, *TINY, "--weights", other, "--run-dir", finished, "--resume")
    assert_refused(base, "resume: expected the supernet that the run was started with")
    export = ("export", *DIGITS, *TINY, "--weights", other, "--out", tmp_path / "best")
    assert_refused((*export, finished), "run_dir: expected the supernet that was searched")
    assert contents(finished) == before
    assert not (tmp_path / "best").exists()


@pytest.mark.parametrize("resume", [(), ("--resume",)])
def test_a_run_directory_below_a_file(
    resume: tuple[str, ...], own: tuple[object, ...], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("mine")
    base = (*BRIEF_SEARCH, *own, "--run-dir", tmp_path / "file" / "run")
    assert_refused((*base, *resume), "run_dir: expected a directory that can be created")
    assert contents(tmp_path) == {"file": b"mine"}


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--architecture", "0,0"), "architecture: expected 3 choices, one per block, got 2"),
        (
            ("--architecture", "0,0,4"),
            "for block 2 one of identity, sequential_0, sequential_1, or an index from 0",
        ),
        (("--architecture=-1,0,0",), "or an index from 0 to 2, got '-1'."),
        (
            ("--architecture", "a,b"),
            "architecture: expected 3 choices, one per block, got 2: ['a', ",
        ),
        (
            ("--architecture", "0,0,b"),
            "for block 2 one of identity, sequential_0, sequential_1, or",
        ),
        (("--architecture", ""), "architecture: expected 3 choices, one per block, got 1: ['']."),
        ((), "architecture: expected either --architecture or a run directory, got neither."),
        (("--architecture", "0", "x"), "or a run directory, got both."),
        (("absent",), "run_dir: expected the directory of a search"),
        (("--architecture", "0,0,0", "--batch-norm", "x"), "invalid choice 'x' for argument"),
    ],
)
def test_exports_that_cannot_be(
    options: tuple[str, ...], text: str, own: tuple[object, ...], tmp_path: Path
) -> None:
    base = ("export", *DIGITS, *own, "--out", tmp_path / "best")
    assert_refused((*base, *options), text)
    assert not list(tmp_path.iterdir())


def test_an_export_is_not_overwritten_by_another(own: tuple[object, ...], tmp_path: Path) -> None:
    target = tmp_path / "best"
    target.mkdir()
    (target / "architecture.json").write_text('{"architecture": [0, 0, 1]}')
    before = contents(tmp_path)
    base = ("export", *DIGITS, *own, "--out", target)
    assert_refused((*base, "--architecture", "0,0,0"), "export directory: expected")
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--epochs", 0), "epochs: expected at least 1, got 0."),
        (("--batch-size", 1), "batch_size: expected at least 2, for batch norm, got 1."),
        (("--learning-rate", 0), "learning_rate: expected a positive finite number, got 0.0."),
        (("--device", "tpu"), "device: expected one of ['cpu'"),
        (("--learning-rate", "x"), "--learning-rate: expected a number, got 'x'. See raynas train"),
        (("--epochs", "1e3"), "--epochs: expected a whole number, got '1e3'."),
        (("--seed", -1), "seed: expected a whole number from 0 to below 2**64, got -1."),
        (("--seed", HUGE), "seed: expected a whole number from 0 to below 2**64"),
        (("--schedule", "stairs"), "invalid choice 'stairs'"),
        (("--supernet", "weights.st"), "supernet: expected package.module:function, got"),
        (("--supernet", "command_runs:image_supernet"), "expected 10 classes, as digits has"),
        (("--supernet", "command_runs:linear_supernet"), "expected a task"),
    ],
)
def test_trainings_that_cannot_be(options: tuple[object, ...], text: str, tmp_path: Path) -> None:
    base = ("train", "--data", "digits", "--out", tmp_path / "new" / "supernet.safetensors")
    assert_refused((*base, *options), text)
    assert not list(tmp_path.iterdir())


def test_a_training_does_not_take_the_weights_of_another_network(tmp_path: Path) -> None:
    save(small_supernet(), tmp_path / "other.st")
    before = contents(tmp_path)
    assert_refused(
        ("train", *DIGITS, *TINY, "--out", tmp_path / "other.st"),
        "out: expected a new file, or the ",
        "Write to another file (--out), or train the supernet that this one is of.",
    )
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("options", "texts"),
    [
        (
            (*TINY, "--weights", "nope.st"),
            ("weights: expected a readable", "got nope.st (No such file or directory). "),
        ),
        (("--supernet", "my.networks"), ("module my.networks, write my.networks:build",)),
        (("--supernet", "nets.py"), ("supernet: ", "a Python file", "write nets:build")),
        (("--supernet", "no such.st"), ("got no such.st (No such file or directory). Check the",)),
        (
            (*TINY, "--latency-table", "bytes"),
            ("latency-table: ", "got bytes (bytes that are no text). Measure"),
        ),
        (
            (*TINY, "--latency-table", "nets.py"),
            ("latency-table: ", "got nets.py (no JSON at line 1, column 1). Measure"),
        ),
    ],
)
def test_files_are_told_by_their_option_and_once(
    options: tuple[object, ...],
    texts: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("nets.py").write_text("nothing = 1\n")
    Path("bytes").write_bytes(b"\xff\xfe\x00")
    assert_refused(("describe", *DIGITS, *options), *texts)


def test_a_training_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    base = ("train", *DIGITS, "--epochs", 1, "--out")
    assert_refused((*base, tmp_path / "file" / "supernet.st"), "out: ", "use another directory")
    assert_refused((*base, tmp_path / "file" / "new" / "supernet.st"), "out: ")
    assert_refused((*base, tmp_path / ("x" * 250)), "out: ", "File name too long")
    assert_refused((*base, tmp_path), "out: expected a new file, or a readable", "Is a directory")
    assert contents(tmp_path) == {"file": b"mine"}


@pytest.mark.parametrize("name", ["describe", "evaluate"])
@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--bits", 7), "bits: expected 32 or 16 or 8 or 4, got 7."),
        (("--workers", -3), "workers: expected 0 (this process)"),
        (("--supernet", "absent.st"), "absent.st"),
        (("--data", "nowhere"), "data: expected one of digits"),
    ],
)
def test_looks_that_cannot_be(
    name: str, options: tuple[object, ...], text: str, own: tuple[object, ...]
) -> None:
    wanted = {"describe": ("--paths", 1), "evaluate": ("--architectures", "0,0,0")}[name]
    named = () if "--supernet" in options else own
    data = () if "--data" in options else DIGITS
    assert_refused((name, *data, *named, *wanted, *options), text)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--paths", 0), "paths: expected at least 1, got 0."),
        (("--paths", "x"), "--paths: expected a whole number, got 'x'."),
        (("--seed", -1), "seed: expected a whole number from 0 to below 2**64, got -1."),
        (("--seed", HUGE), "seed: expected a whole number from 0 to below 2**64"),
        (("--population", -4), "population: expected at least 1, got -4."),
        (("--generations", 0), "generations: expected at least 1, got 0."),
        (("--flops", "1%"), "constraint: expected a limit of at least"),
    ],
)
def test_descriptions_that_cannot_be(
    options: tuple[object, ...], text: str, own: tuple[object, ...]
) -> None:
    assert_refused(("describe", *DIGITS, *own, *options), text)


@pytest.mark.parametrize(
    ("architectures", "text"),
    [
        (("0,0",), "architecture: expected 3 choices, one per block, got 2"),
        (("0,0,0", "0,0,3"), "or an index from 0 to 2, got '3'."),
        (("-1,0,0",), "or an index from 0 to 2, got '-1'."),
        (("a",), "architecture: expected 3 choices, one per block, got 1: ['a']."),
        (("--3,0,0",), "or an index from 0 to 2, got '--3'."),
        ((), "architectures: expected at least one, got none."),
    ],
)
def test_architectures_that_cannot_be_evaluated(
    architectures: tuple[str, ...], text: str, own: tuple[object, ...], tmp_path: Path
) -> None:
    ledger = ("--ledger", tmp_path / "scores.sqlite")
    assert_refused(("evaluate", *DIGITS, *own, *ledger, "--architectures", *architectures), text)


def test_a_ledger_that_is_none(own: tuple[object, ...], tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    wanted = ("--architectures", "0,0,0", "--ledger", tmp_path / "mine")
    assert_refused(("evaluate", *DIGITS, *own, *wanted), "ledger: expected a SQLite file")
    assert contents(tmp_path) == {"mine": b"mine"}


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((), f"expected one of {{{', '.join(COMMANDS)}}}. See raynas --help."),
        (("destroy",), "unrecognized options: destroy. Available subcommands: train, describe,"),
        (("search", "--data", "digits"), "missing --supernet. See raynas search --help."),
        (("train", "--data", "digits"), "missing --out. See raynas train --help."),
        (("export", "--colour", "red"), "--data, --supernet. See raynas export --help."),
        ((*BRIEF_SEARCH, *TINY, "--colour", "red"), "unrecognized options: --colour, red. See"),
        ((*BRIEF_SEARCH, *TINY, "--seed"), "missing value for argument '--seed'. Expected 1"),
        ((*BRIEF_SEARCH, *TINY, "--stratgy", "ea"), "ea. Perhaps you meant --strategy. See"),
        ((*BRIEF_SEARCH, *TINY, "--strategy", "pcfes"), "invalid choice 'pcfes' for argument"),
        (("export", *DIGITS, *TINY, "--out", "x", "--workers", "2"), "options: --workers 2. See"),
        (("ledger",), "expected one of {list, export, verify}. See raynas ledger --help."),
        (("ledger", "list"), "missing PATH. See raynas ledger --help."),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_arguments_that_are_none_end_with_one_line(
    arguments: tuple[object, ...], text: str, encoding: str
) -> None:
    assert_refused(arguments, text, encoding=encoding)


def test_the_package_runs_as_the_command(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "raynas", "destroy"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("error: unrecognized options: destroy. ")
    assert ended.stderr.endswith(" See python -m raynas --help.\n")


def test_output_that_nobody_reads_is_no_error(own: tuple[object, ...], tmp_path: Path) -> None:
    code = "import sys; sys.argv[0] = 'raynas'; from raynas.commands.main import main; main()"
    wanted = ("evaluate", *DIGITS, *own, "--architectures", "0,0,0", "1,1,1")
    ended = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, wanted)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])},
    )
    with ended:
        assert ended.stdout is not None
        assert ended.stderr is not None
        ended.stdout.close()
        assert ended.stderr.read() == ""
        assert ended.wait() == 1
