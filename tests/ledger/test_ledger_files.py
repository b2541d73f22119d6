"""Files that are no ledger, are damaged, or cannot be written to: refused by name, and kept."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from ledger_entries import KEY, content, make_entry, write_ledger

from raynas.errors import InputError
from raynas.ledger import file as ledger_file
from raynas.ledger.ledger import Ledger


def foreign(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE mine (value)")
    connection.commit()
    connection.close()


def newer(path: Path) -> None:
    write_ledger(path)
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {ledger_file.FORMAT + 1}")
    connection.close()


def older(path: Path) -> None:
    """A ledger of format 1, as it was written before scores had named objectives."""
    connection = sqlite3.connect(path)
    connection.executescript(
        f"""
        CREATE TABLE protocols (id INTEGER PRIMARY KEY, key TEXT NOT NULL, content TEXT NOT NULL);
        CREATE TABLE scores (id INTEGER PRIMARY KEY, protocol INTEGER, bits BLOB NOT NULL);
        PRAGMA application_id = {ledger_file.APPLICATION};
        PRAGMA user_version = 1;
        """
    )
    connection.close()


BROKEN = {
    "older": (older, "expected a ledger of format 2, got .* of format 1. Use the version"),
    "empty": (lambda path: path.touch(), "expected a ledger of raynas"),
    "text": (lambda path: path.write_text("mine\n" * 400), "file is not a database"),
    "short": (lambda path: path.write_text("mine"), "file is not a database"),
    "folder": (lambda path: path.mkdir(), "which is not a file"),
    "foreign": (foreign, "expected a ledger of raynas"),
    "newer": (newer, "of format 3. Use the version of raynas that wrote it"),
    "cut": (lambda path: path.write_bytes(write_ledger(path)[:5000]), "malformed"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_file_that_is_no_ledger_is_refused_and_kept(name: str, tmp_path: Path):
    make, text = BROKEN[name]
    path = tmp_path / "scores"
    make(path)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    checks = [Ledger, lambda path: Ledger(path, read_only=True).contexts()]
    if name != "cut":
        checks.append(ledger_file.require_usable)
    for attempt in checks:
        with pytest.raises(InputError, match=text) as caught:
            attempt(path)
        assert caught.value.argument == "ledger"
        assert "\n" not in str(caught.value)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_places_that_cannot_be_used(tmp_path: Path):
    (tmp_path / "file").write_text("mine")
    unusable = r"ledger: .*Check the path, its permissions"
    with pytest.raises(InputError, match=unusable):
        Ledger(Path("/proc/scores.sqlite"))
    for attempt in (Ledger, ledger_file.require_usable):
        with pytest.raises(InputError, match=unusable):
            attempt(tmp_path / "file" / "scores")
    with pytest.raises(InputError, match="which is missing"):
        Ledger(tmp_path / "none", read_only=True)
    ledger_file.require_usable(tmp_path / "deep" / "scores")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_file_that_may_only_be_read_is_no_place_for_scores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "scores"
    write_ledger(path, 3)
    uri = ledger_file.uri
    # Root may write to any file, so SQLite is told to open this one for reading.
    monkeypatch.setattr(ledger_file, "uri", lambda path, options: uri(path, "mode=ro"))
    with pytest.raises(InputError, match="readonly"):
        Ledger(path)
    with Ledger(path, read_only=True) as ledger:
        assert len(content(ledger)) == 3


def test_damage_to_pages_is_found_and_named(tmp_path: Path):
    path = tmp_path / "scores"
    good = bytearray(write_ledger(path))
    page = len(good) // 4096 // 2 * 4096
    path.write_bytes(good[:page] + bytes(4096) + good[page + 4096 :])
    with Ledger(path, read_only=True) as ledger:
        problems = ledger.verify()
        assert problems
        assert problems[0].startswith("SQLite: ")
        with pytest.raises(InputError, match="raynas ledger verify"):
            content(ledger)


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        ("UPDATE scores SET objectives = '{\"top1\": 0.5}' WHERE id = 2", "another checksum"),
        ("UPDATE scores SET correct = NULL WHERE id = 2", "another checksum"),
        ("UPDATE scores SET loss = 'none' WHERE id = 2", "another checksum"),
        ("UPDATE scores SET outcomes = x'00' WHERE id = 2", "another checksum"),
        ("UPDATE scores SET architecture = '0,0,0,0,0,9' WHERE id = 2", "another checksum"),
        ("UPDATE scores SET outcomes = 5, checksum = x'' WHERE id = 2", "another checksum"),
        ("UPDATE keys SET content = replace(content, 'data', 'atad')", "another digest"),
        ("UPDATE scores SET key = 7 WHERE id = 2", "row 2 has no key"),
    ],
)
def test_a_changed_row_is_found_named_and_not_used(statement: str, problem: str, tmp_path: Path):
    path = tmp_path / "scores"
    write_ledger(path, 3)
    connection = sqlite3.connect(path)
    connection.execute(statement)
    connection.commit()
    connection.close()
    with Ledger(path) as ledger:
        problems = ledger.verify()
        assert len(problems) == 1
        assert problem in problems[0]
        if "another checksum" in problem:
            with pytest.raises(InputError, match="another checksum"):
                content(ledger)
        if "objectives" in statement:
            with pytest.raises(InputError, match="another checksum"):
                ledger.known(KEY, [make_entry(1).score.architecture])


READING = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from ledger_entries import KEY, content
from raynas.errors import InputError
from raynas.ledger import file as ledger_file
from raynas.ledger.ledger import Ledger
path = Path(sys.argv[2])
try:
    with Ledger(path, read_only=True) as ledger:
        print(len(content(ledger)), ledger.contexts()[0].architectures, ledger.verify())
except InputError as error:
    print("read", error)
for attempt in (ledger_file.require_usable, Ledger):
    try:
        attempt(path)
    except InputError as error:
        print("write", error)
"""


def read_on_read_only_disk(folder: Path, *files: Path) -> list[str]:
    """The lines that a process prints of a ledger on a read-only file system of its own."""
    mount = folder / "disk"
    mount.mkdir()
    python = f"{sys.executable} -c '{READING}' {Path(__file__).parent} {mount}/scores"
    copies = " && ".join(f"cp {file} {mount}/" for file in files)
    script = (
        f"mount -t tmpfs none {mount} && {copies} && mount -o remount,ro {mount} || exit 77; "
        f"{python}"
    )
    done = subprocess.run(["unshare", "-m", "bash", "-c", script], capture_output=True, text=True)
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip("no mount namespace of its own here")
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_ledger_on_a_read_only_disk_is_read_and_not_written(tmp_path: Path):
    write_ledger(tmp_path / "scores", 3)
    read, early, late = read_on_read_only_disk(tmp_path, tmp_path / "scores")
    assert read == "3 3 []"
    for line in (early, late):
        assert line.startswith("write ledger: expected a SQLite file that can be read and written")


def test_scores_in_a_log_on_a_read_only_disk_are_not_left_out(tmp_path: Path):
    path = tmp_path / "scores"
    write_ledger(path, 3)
    kept = tmp_path / "copy"
    kept.mkdir()
    with Ledger(path) as ledger:
        ledger.add(KEY, [make_entry(5)])
        for name in ("scores", "scores-wal"):
            (kept / name).write_bytes((tmp_path / name).read_bytes())
    with Ledger(kept / "scores", read_only=True) as ledger:
        assert len(content(ledger)) == 4, "where it can be written to, the log is read"
    with Ledger(path) as ledger:
        ledger.add(KEY, [make_entry(6)])
        read, *_ = read_on_read_only_disk(tmp_path, path, tmp_path / "scores-wal")
    assert read.startswith("read ledger: expected one whose log is empty")
    assert "Copy scores and scores-wal" in read


def test_a_ledger_that_cannot_be_written_to_is_refused_early(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "scores"
    write_ledger(path, 3)
    for place in (path, tmp_path):
        # Root may write anywhere, so the answer of the system is that of another user.
        monkeypatch.setattr(ledger_file, "may_write", lambda p, place=place: p != place)
        with pytest.raises(InputError, match=f"ledger: .*{place} cannot be written to"):
            ledger_file.require_usable(path)


@pytest.mark.parametrize("mask", [0o022, 0o002, 0o077])
def test_a_ledger_has_the_permissions_that_the_user_gives_new_files(mask: int, tmp_path: Path):
    before = os.umask(mask)
    try:
        write_ledger(tmp_path / "scores", 1)
    finally:
        os.umask(before)
    assert (tmp_path / "scores").stat().st_mode & 0o777 == 0o666 & ~mask
