"""Ledgers that several processes write to, or one that is killed or finds the disk full."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from ledger_entries import KEY, content, make_entry, plain

from raynas.errors import InputError
from raynas.ledger import file as ledger_file
from raynas.ledger.ledger import Ledger

ADDING = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from ledger_entries import KEY, make_entry
from raynas.ledger import file
from raynas.ledger.ledger import Ledger
file.BUSY_SECONDS = 3600.0
start, stop, step = map(int, sys.argv[3:])
assert "torch" not in sys.modules
print("ready", flush=True)
sys.stdin.readline()
with Ledger(sys.argv[2]) as ledger:
    for first in range(start, stop, step):
        ledger.add(KEY, [make_entry(n) for n in range(first, first + step)])
        print(first, flush=True)
"""


def start_adding(path: Path, start: int, stop: int, step: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", ADDING, str(Path(__file__).parent), str(path)]
    process = subprocess.Popen(
        [*command, *map(str, (start, stop, step))],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_processes_that_start_at_once_share_one_ledger(tmp_path: Path):
    path = tmp_path / "new" / "scores.sqlite"
    ranges = ((0, 60), (30, 90), (0, 90))
    running = [start_adding(path, start, stop, 5) for start, stop in ranges]
    for process in running:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in running:
        process.communicate()
        assert process.returncode == 0
    with Ledger(path, read_only=True) as ledger:
        assert ledger.verify() == []
        wanted = [plain(KEY, make_entry(number)) for number in range(90)]
        assert sorted(content(ledger)) == sorted(wanted)


@pytest.mark.parametrize("acknowledged", [1, 4, 9])
def test_a_killed_process_leaves_whole_transactions(acknowledged: int, tmp_path: Path):
    path, step = tmp_path / "scores.sqlite", 7
    process = start_adding(path, 0, 70_000, step)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("go\n")
    process.stdin.flush()
    for _ in range(acknowledged):
        assert process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    with Ledger(path) as ledger:
        assert ledger.verify() == []
        found = content(ledger)
        assert len(found) % step == 0
        assert len(found) >= acknowledged * step, "what was acknowledged is there"
        assert found == [plain(KEY, make_entry(number)) for number in range(len(found))]
        ledger.add(KEY, [make_entry(80_000)])


def test_a_writer_waits_for_another_and_then_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(ledger_file, "BUSY_SECONDS", 0.1)
    with Ledger(tmp_path / "scores") as ledger:
        other = sqlite3.connect(tmp_path / "scores", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(InputError, match=r"locked\). Let the process that writes"):
            ledger.add(KEY, [make_entry(1)])
        assert ledger.known(KEY, [(1,)]) == {}, "readers do not wait"
        other.execute("ROLLBACK")
        other.close()
        ledger.add(KEY, [make_entry(1)])


FILLING = """
import resource, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from ledger_entries import KEY, make_entry
from raynas.errors import InputError
from raynas.ledger.ledger import Ledger
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
added = 0
with Ledger(sys.argv[2]) as ledger:
    try:
        while True:
            ledger.add(KEY, [make_entry(n) for n in range(added, added + 20)])
            added += 20
    except InputError as error:
        print(added, len(list(ledger.rows())), error)
"""


def test_a_full_disk_loses_nothing_that_was_added(tmp_path: Path):
    path = tmp_path / "scores"
    command = [sys.executable, "-c", FILLING, str(Path(__file__).parent), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    added, there, text = done.stdout.split(" ", 2)
    assert added == there
    assert int(added) >= 20
    assert text.startswith(
        f"ledger: expected a SQLite file that can be read and written, got {path}"
    )
    assert text.endswith(
        "Free some space, and try again; a search goes on with resume (--resume).\n"
    )
    with Ledger(path) as ledger:
        assert ledger.verify() == []
        assert len(content(ledger)) == int(added)
        ledger.add(KEY, [make_entry(90_000)])
