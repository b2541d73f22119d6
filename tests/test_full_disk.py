"""A disk without room: one error that names the place, and nothing that was recorded is lost."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from small_search import SETTINGS, contents, determined, history, run_search

from raynas.errors import InputError
from raynas.files import append_line, replace_bytes
from raynas.ledger.ledger import Ledger
from raynas.runlog import RunLog

CONFIG: dict[str, Any] = {"seed": 5, "strategy": {"strategy": "EA", "population": 8}}
EA = SETTINGS["ea, limited"]


@contextmanager
def room(size: int) -> Iterator[None]:
    """No file can grow beyond a size, as if the disk were full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def write_run(directory: Path, *, resume: bool = False) -> None:
    """Three generations, whose metrics are longer than they are, and a result."""
    with RunLog(directory, CONFIG, resume=resume) as log:
        for number in range(len(log.generations), 3):
            record = {"generation": number, "population": [number] * 20}
            log.append(record, {"generation": number, "seconds": [0.5] * 30})
        log.finish({"top1": 0.5, "finalists": [1] * 300})


def refusal(directory: Path, size: int) -> InputError | None:
    """The error of a run that is written where there is little room."""
    try:
        with room(size):
            write_run(directory)
    except InputError as error:
        return error
    return None


def test_a_run_that_found_no_room_goes_on_as_if_there_had_been(tmp_path: Path) -> None:
    write_run(tmp_path / "whole")
    whole = contents(tmp_path / "whole")
    longest = max(map(len, whole.values()))
    for size in range(0, longest + 1, 47):
        directory = tmp_path / str(size)
        error = refusal(directory, size)
        assert (error is None) == (size >= longest)
        if error is not None:
            assert (error.argument, error.expected) == ("run_dir", "room on the disk")
            assert str(directory) in str(error.got)
            assert "--resume" in error.remedy
            left = contents(directory)
            assert all(whole[name].startswith(text) for name, text in left.items())
            # Nothing is half-written, even before a resume cuts it off.
            assert all(text[-1:] in (b"", b"\n") for text in left.values())
            write_run(directory, resume=True)
        assert contents(directory) == whole
    assert longest > 20 * 47


@pytest.mark.parametrize("size", [100, 1_500, 4_000])
def test_a_search_that_found_no_room_has_the_same_history(size: int, tmp_path: Path) -> None:
    run_search(tmp_path / "whole", EA)
    with room(size), pytest.raises(InputError, match=r"run_dir: expected room on the disk"):
        run_search(tmp_path / "cut", EA)
    run_search(tmp_path / "cut", EA, resume=True)
    assert history(tmp_path / "cut") == history(tmp_path / "whole")
    assert determined(tmp_path / "cut") == determined(tmp_path / "whole")


def test_a_result_that_is_missing_is_made_again(tmp_path: Path) -> None:
    run_search(tmp_path, EA)
    before = determined(tmp_path)
    (tmp_path / "result.json").unlink()
    (tmp_path / ".result.json.part").write_text('{"top1": 0.')
    (tmp_path / ".config.json.part").write_text("{")
    run_search(tmp_path, EA, resume=True)
    assert determined(tmp_path) == before


def test_a_search_whose_ledger_cannot_grow_goes_on(tmp_path: Path) -> None:
    run_search(tmp_path / "whole", EA)
    ledger = tmp_path / "scores.sqlite"
    Ledger(ledger).close()
    size = max(ledger.stat().st_size, 2**15) + 9_000
    with room(size), pytest.raises(InputError, match=r"ledger: .*Free some space"):
        run_search(tmp_path / "cut", EA, ledger=ledger)
    with Ledger(ledger) as kept:
        assert kept.verify() == []
    run_search(tmp_path / "cut", EA, ledger=ledger, resume=True)
    assert history(tmp_path / "cut") == history(tmp_path / "whole")


@pytest.mark.parametrize("size", [0, 5_000, 20_000])
def test_a_ledger_that_does_not_fit_leaves_no_file(size: int, tmp_path: Path) -> None:
    with room(size), pytest.raises(InputError, match=r"ledger: .*Free some space"):
        Ledger(tmp_path / "scores.sqlite")
    assert not list(tmp_path.iterdir())


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    replace_bytes(path, b"old")
    with room(5), pytest.raises(OSError, match="large"):
        replace_bytes(path, b"new and too long")
    assert contents(tmp_path) == {"file": b"old"}
    append_line(path, {"a": 1})
    with room(path.stat().st_size + 4), pytest.raises(OSError, match="large"):
        append_line(path, {"a": 1})
    assert path.read_bytes() == b'old{"a": 1}\n'


def test_a_place_that_is_not_writable_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with RunLog(tmp_path, CONFIG, resume=False) as log:
        # Root may write anywhere, so that a folder in the place of a file stands for it.
        (tmp_path / "metrics.jsonl").mkdir()
        with pytest.raises(InputError, match=r"run_dir: .*metrics\.jsonl.*Change its permissions"):
            log.append({"generation": 0}, {"generation": 0})
        (tmp_path / "result.json").mkdir()
        with pytest.raises(InputError, match=r"run_dir: .*result\.json.*Change its permissions"):
            log.finish({})


@pytest.mark.parametrize("mask", [0o022, 0o002, 0o077])
def test_records_have_the_permissions_that_the_user_gives_new_files(
    mask: int, tmp_path: Path
) -> None:
    before = os.umask(mask)
    try:
        write_run(tmp_path / "run")
    finally:
        os.umask(before)
    modes = {path.stat().st_mode & 0o777 for path in (tmp_path / "run").iterdir()}
    assert modes == {0o666 & ~mask}
    assert (tmp_path / "run").stat().st_mode & 0o777 == 0o777 & ~mask
