"""`raynas watch`: it follows, it ends, it says what seems dead, and it touches nothing."""

from __future__ import annotations

import json
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from command_runs import command
from generation_records import record, timing
from rich.console import Console
from small_search import Setting, run_search

import raynas
from raynas.commands import watch
from raynas.commands.live import search_view
from raynas.report.read import read_run
from raynas.runlog import RunLog

CONFIG: dict[str, Any] = {
    "seed": 5,
    "strategy": {"strategy": "PCFES", "generations": 4},
    "data": {"name": "digits"},
}


def append(log: RunLog, **changes: Any) -> None:
    """Record the next generation."""
    number = len(log.generations)
    log.append(record(generation=number, **changes), timing(generation=number))


def state(directory: Path) -> dict[str, tuple[bytes, int, int, int]]:
    """Content, mode and times of change of every file, and of the folder."""
    found = {}
    for path in (directory, *sorted(directory.rglob("*"))):
        now = path.stat()
        content = path.read_bytes() if path.is_file() else b""
        found[str(path)] = (content, now.st_mode, now.st_mtime_ns, now.st_ctime_ns)
    return found


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a search that has ended."""
    run = tmp_path_factory.mktemp("finished") / "run"
    run_search(run, Setting(raynas.RandomSearch(population=4, generations=2, top_k=2)))
    return run


def test_a_finished_search_is_shown_whole(finished: Path) -> None:
    before = state(finished)
    done = command("watch", finished)
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    generations = len(read_run(finished).generations)
    assert lines[0] == f"{finished}: RandomSearch on noise, seed 2, already finished"
    shown = [line[:14] for line in lines if line.startswith("generation ")]
    assert shown == [f"generation {number + 1:3d}" for number in range(generations)]
    assert "Search result" in done.out
    assert "\x1b" not in done.out
    assert state(finished) == before


def test_a_search_is_followed_to_its_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    looks = 0
    with RunLog(tmp_path, CONFIG, resume=False) as log:

        def pause() -> None:
            """Stands for the time in which the search goes on."""
            nonlocal looks
            looks += 1
            if looks == 1:
                assert capsys.readouterr().out == ""
                append(log)
                append(log)
            elif looks == 2:
                assert len(capsys.readouterr().out.splitlines()) == 2
                append(log, finished="all blocks frozen")
            elif looks == 3:
                (line,) = capsys.readouterr().out.splitlines()
                assert line.startswith("generation   3"), "none is shown twice"
                log.finish({"architecture": [0, 1]})

        with search_view(Console(force_terminal=False, width=200), 4) as view:
            records = watch.follow_run(view, tmp_path, pause)
    assert looks == 3
    assert records.result == {"architecture": [0, 1]}


def test_a_search_that_is_written_to_is_only_read(tmp_path: Path) -> None:
    with RunLog(tmp_path, CONFIG, resume=False) as log:
        append(log)
        with (tmp_path / "generations.jsonl").open("a") as file:
            file.write('{"generation": 1, "cut')
        before = state(tmp_path)
        done = command("watch", tmp_path, "--no-follow")
        assert state(tmp_path) == before
    assert done.code == 0
    told = done.out.splitlines()
    assert told[0] == f"{tmp_path}: PCFES on digits, seed 5"
    assert told[1].startswith("generation   1  best")
    assert told[2].startswith(f"under way: process {os.getpid()} writes; last record 0:0")


@contextmanager
def without_permissions(directory: Path) -> Iterator[None]:
    """Nothing below a directory can be written, by whoever runs the tests, be it root."""
    for path in (directory, *directory.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
        directory.chmod(0o755)


def test_a_reader_needs_no_permission_to_write(finished: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        run = Path(folder) / "run"
        run.mkdir()
        for name in ("config.json", "generations.jsonl", "metrics.jsonl", "result.json"):
            (run / name).write_bytes((finished / name).read_bytes())
        with without_permissions(run):
            with pytest.raises(PermissionError):
                (run / "new").touch()
            before = state(run)
            done = command("watch", run)
            assert state(run) == before
        assert (done.code, done.err) == (0, "")
        assert "Search result" in done.out
        assert stat.S_IMODE((run / "config.json").stat().st_mode) == 0o444


def test_what_was_interrupted_seems_dead_after_a_while(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with RunLog(tmp_path, CONFIG, resume=False) as log:
        append(log)
    done = command("watch", tmp_path, "--no-follow")
    assert "nobody on this machine is seen to write: it may run on another" in done.out
    for name in ("config.json", "generations.jsonl", "metrics.jsonl"):
        os.utime(tmp_path / name, (1000, 1000))
    done = command("watch", tmp_path, "--no-follow")
    assert "\nseems dead: last record " in done.out
    assert "--resume continues it, unless it runs on another machine" in done.out
    pauses: list[str] = []

    def pause() -> None:
        """Look a few times, then resume the search."""
        pauses.append(capsys.readouterr().out)
        if len(pauses) == 3:
            with RunLog(tmp_path, CONFIG, resume=True) as log:
                append(log)
        if len(pauses) == 4:
            with RunLog(tmp_path, CONFIG, resume=True) as log:
                log.finish({})

    with search_view(Console(force_terminal=False, width=200), 6) as view:
        assert watch.follow_run(view, tmp_path, pause).finished
    assert [text.count("seems dead") for text in pauses] == [1, 0, 0, 0], "it is said once"
    assert [text.startswith("generation ") for text in pauses] == [True, False, False, True]


def test_a_search_with_a_scorer_of_the_users_ends_without_a_result(tmp_path: Path) -> None:
    config = {"seed": 1, "strategy": CONFIG["strategy"], "evaluator": {"name": "Table"}}
    with RunLog(tmp_path, config, resume=False) as log:
        append(log)
        assert not watch.has_ended(read_run(tmp_path))
        append(log, finished="generation limit")
    done = command("watch", tmp_path)
    assert done.code == 0
    assert done.out.startswith(f"{tmp_path}: PCFES on Table, seed 1, already finished\n")
    assert "Search result" not in done.out


@pytest.mark.parametrize(("made", "text"), [(True, "has none"), (False, "is missing")])
def test_what_is_no_run_directory_is_refused_by_name(made: bool, text: str, tmp_path: Path) -> None:
    directory = tmp_path / "run"
    if made:
        directory.mkdir()
    done = command("watch", directory)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error: run_dir: expected the directory of a search")
    assert str(directory) in done.err
    assert text in done.err
    assert done.err.count("\n") == 1


@pytest.mark.parametrize("every", ["0", "-1", "nan", "inf"])
def test_looks_take_a_positive_time(every: str, finished: Path) -> None:
    done = command("watch", finished, "--every", every)
    assert done.code == 2
    assert done.err.startswith("error: every: expected a number of seconds above 0")


def test_damage_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    (tmp_path / "generations.jsonl").write_text("{\n")
    done = command("watch", tmp_path)
    assert done.code == 2
    assert "generations.jsonl: expected one JSON object per line" in done.err


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("config.json", '{"strategy": "EA"}'),
        ("generations.jsonl", '{"generation": 0, "best": 0.5}\n'),
        (
            "generations.jsonl",
            '{"generation": 0, "best": {"top1": "best"}, "frozen": 0, "samples": 1, "rescored": '
            '[], "population": [{"architecture": [0]}], "refused": null, "finished": null}\n',
        ),
        (
            "result.json",
            '{"architecture": [], "objectives": [], "costs": {}, "names": [], "front": []}',
        ),
    ],
)
def test_records_of_another_program_are_refused_by_name(
    name: str, text: str, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    (tmp_path / name).write_text(text)
    done = command("watch", tmp_path, "--no-follow")
    assert done.code == 2
    assert done.err.startswith("error: run_dir: expected records as this version of raynas writes")
    assert str(tmp_path) in done.err


def test_a_missing_field_is_named(tmp_path: Path) -> None:
    with RunLog(tmp_path, CONFIG, resume=False) as log:
        log.append({"population": [], "rescored": []}, timing(generation=0))
    done = command("watch", tmp_path, "--no-follow")
    assert done.code == 2
    assert f"got others in {tmp_path}: one without the field generation. Use" in done.err
    assert "Error" not in done.err


def test_records_that_are_gone_are_told(finished: Path, tmp_path: Path) -> None:
    for path in finished.glob("*.json*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    lines = (tmp_path / "generations.jsonl").read_bytes()
    (tmp_path / "generations.jsonl").write_bytes(lines[:20])
    done = command("watch", tmp_path)
    assert done.code == 0
    assert "Search result" in done.out
    (warning,) = done.err.splitlines()
    assert warning.startswith(f"warning: {tmp_path}/generations.jsonl tells of 0 of the ")
    assert " that result.json counts: it was cut, " in warning


def test_records_of_a_newer_format_are_refused_as_by_a_report(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({**CONFIG, "format": 4}))
    done = command("watch", tmp_path)
    assert done.code == 2
    assert "run_dir: expected records of at most format 3, " in done.err
    assert f"got {tmp_path}, of format 4. Install the version of raynas that wrote it" in done.err


def test_ctrl_c_ends_the_watching(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    with RunLog(tmp_path, CONFIG, resume=False) as log:
        append(log)
        monkeypatch.setattr(watch.time, "sleep", interrupted)
        done = command("watch", tmp_path)
    assert done.code == 130
    assert "generation   1" in done.out
    assert "Traceback" not in done.err
