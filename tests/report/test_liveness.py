"""Signs of life of a search: who holds its lock, and how long nothing has been written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from raynas.report.liveness import LOCKS, Liveness, liveness_of, writer_of
from raynas.report.read import read_run
from raynas.runlog import RunLog


def write_run(directory: Path, *seconds: float) -> Path:
    with RunLog(directory, {"seed": 5}, resume=False) as log:
        for number, each in enumerate(seconds):
            log.append({"generation": number}, {"generation": number, "seconds": each})
    return directory


@pytest.mark.skipif(not LOCKS.exists(), reason="the kernel lists no locks")
def test_the_process_that_writes_is_found_and_not_one_that_has_ended(tmp_path: Path) -> None:
    assert writer_of(tmp_path) is None, "no run"
    with RunLog(tmp_path / "run", {"seed": 5}, resume=False):
        assert writer_of(tmp_path / "run") == os.getpid()
        write_run(tmp_path / "other")
        assert writer_of(tmp_path / "other") is None, "the lock of another directory"
    assert writer_of(tmp_path / "run") is None


def test_lines_of_other_locks_are_passed_over(tmp_path: Path) -> None:
    run, locks = write_run(tmp_path / "run"), tmp_path / "locks"
    file = (run / ".lock").stat()
    device = f"{os.major(file.st_dev):02x}:{os.minor(file.st_dev):02x}"
    others = [
        f"1: POSIX  ADVISORY  WRITE 11 {device}:{file.st_ino} 0 EOF",
        f"2: FLOCK  ADVISORY  WRITE 12 {device}:{file.st_ino + 1} 0 EOF",
        f"3: FLOCK  ADVISORY  WRITE 13 ff:ff:{file.st_ino} 0 EOF",
        f"3: -> FLOCK  ADVISORY  WRITE 14 {device}:{file.st_ino} 0 EOF",
        "",
        "4: something else",
    ]
    locks.write_text("\n".join(others))
    assert writer_of(run, locks) is None
    locks.write_text(
        "\n".join([*others, f"5: FLOCK ADVISORY WRITE 15 {device}:{file.st_ino} 0 EOF"])
    )
    assert writer_of(run, locks) == 15
    assert writer_of(run, tmp_path / "none") is None, "another system"


def test_silence_is_counted_from_the_last_record(tmp_path: Path) -> None:
    run = write_run(tmp_path, 2.0, 30.0, 1.0)
    for name, when in (("config.json", 1000), ("generations.jsonl", 1400), ("metrics.jsonl", 1300)):
        os.utime(run / name, (when, when))
    signs = liveness_of(read_run(run), now=1475.0, locks=tmp_path / "none")
    assert signs == Liveness(silence=75.0, usual=30.0, writer=None)
    ahead = liveness_of(read_run(run), now=900.0, locks=tmp_path / "none")
    assert ahead.silence == 0.0, "the clock of another machine"


@pytest.mark.parametrize(
    ("silence", "usual", "writer", "dead"),
    [
        (59.0, 1.0, None, False),
        (61.0, 1.0, None, True),
        (149.0, 30.0, None, False),
        (151.0, 30.0, None, True),
        (9999.0, 1.0, 4059, False),
    ],
)
def test_when_a_search_seems_dead(
    silence: float, usual: float, writer: int | None, dead: bool
) -> None:
    assert Liveness(silence, usual, writer).seems_dead == dead
