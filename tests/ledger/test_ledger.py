"""The ledger: what goes in comes out, under its key only, whatever happens to a process."""

from __future__ import annotations

import math
import os
import signal
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raynas.errors import InputError
from raynas.ledger import file as ledger_file
from raynas.ledger.ledger import Ledger
from raynas.ledger.rows import Entry, digest_of_outcomes
from raynas.ledger.score_key import ScoreKey
from raynas.score import Score

SAMPLES = 21
KEY = ScoreKey("supernet", "data", {"batch_norm": "recalibrate", "threads": 1}, SAMPLES)


def make_entry(number: int, samples: int = SAMPLES) -> Entry:
    """The only entry of its architecture: what every process would find."""
    rng = np.random.default_rng(number)
    bits = rng.random(samples) < 0.7
    correct = int(bits.sum())
    architecture = tuple(int(digit) for digit in f"{number:06d}")
    objectives = {"top1": correct / samples, "top5": 1.0}
    score = Score(architecture, objectives, float(rng.random()), True, samples, correct)
    return Entry(score, digest_of_outcomes(bits))


def content(ledger: Ledger, key: ScoreKey | None = None) -> list[Any]:
    return [plain(p, entry) for p, entry in ledger.rows(key)]


def plain(key: ScoreKey, entry: Entry) -> tuple[Any, ...]:
    """Compares as the entry does to the last bit: the sign of zero, NaN, and order included."""
    return key.text, repr(entry.score), entry.outcomes_digest.hex()


numbers = st.floats() | st.sampled_from([-0.0, math.inf, math.nan, 5e-324, 0.1, 3.0])


@st.composite
def entries(draw: st.DrawFn, samples: int) -> list[Entry]:
    choices = st.lists(st.integers(0, 300), min_size=1, max_size=5).map(tuple)
    objectives = st.dictionaries(st.text(max_size=5), numbers, min_size=1, max_size=3)
    made = []
    for architecture in draw(st.sets(choices, max_size=6)):
        score = Score(
            architecture, draw(objectives), draw(numbers), draw(st.booleans()), samples,
            draw(st.none() | st.integers(0, samples)),
        )  # fmt: skip
        made.append(Entry(score, draw(st.binary(min_size=16, max_size=16))))
    return made


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)  # fmt: skip


@settings(max_examples=15, derandomize=True)
@given(st.integers(1, 40), st.dictionaries(st.text(), json_values, max_size=3), st.data())
def test_what_goes_in_comes_out(tmp_path_factory, samples, evaluation, data):
    key = ScoreKey("s", "d", evaluation, samples)
    added = data.draw(entries(samples))
    wanted = [plain(key, entry) for entry in added]
    path = tmp_path_factory.mktemp("ledger") / "scores?#%.sqlite"
    with Ledger(path) as ledger, Ledger() as memory:
        for each in (ledger, memory):
            each.add(key, added[:2])
            each.add(key, added)
            assert content(each) == wanted
    with Ledger(path) as ledger:
        assert content(ledger, ScoreKey.parse(key.text)) == wanted
        found = ledger.known(key, [entry.score.architecture for entry in added] * 2)
        assert [plain(key, found[e.score.architecture]) for e in added] == wanted
        assert ledger.known(key, [(9, 9, 9, 9, 9, 9)]) == {}
        assert ledger.verify() == []
    assert [p.name for p in path.parent.iterdir()] == [path.name], "no file is left beside it"


def test_more_architectures_than_one_query_takes():
    with Ledger() as ledger:
        ledger.add(KEY, [make_entry(number) for number in range(0, 2400, 2)])
        found = ledger.known(KEY, [make_entry(n).score.architecture for n in range(2400)])
        assert len(found) == 1200


@pytest.mark.parametrize(
    "changes",
    [
        {"supernet": "another"},
        {"data": "another"},
        {"samples": SAMPLES + 1},
        {"evaluation": {"batch_norm": "inherit", "threads": 1}},
        {"evaluation": {"batch_norm": "recalibrate"}},
        {"evaluation": {"batch_norm": "recalibrate", "threads": 1, "more": None}},
    ],
)
def test_every_part_of_a_protocol_separates(changes: dict[str, Any]):
    other = replace(KEY, **changes)
    assert other.digest != KEY.digest
    with Ledger() as ledger:
        ledger.add(KEY, [make_entry(1)])
        assert ledger.known(other, [make_entry(1).score.architecture]) == {}
        ledger.add(other, [make_entry(1, other.samples)])
        assert len(content(ledger, KEY)) == len(content(ledger, other)) == 1
        assert [context.key for context in ledger.contexts()] == [KEY, other]


def test_a_protocol_is_its_content():
    turned = {"threads": 1, "batch_norm": "recalibrate"}
    assert ScoreKey("supernet", "data", turned, SAMPLES) == KEY
    assert ScoreKey("supernet", "data", turned, SAMPLES).digest == KEY.digest
    assert ScoreKey("s", "d", {"a": (1, 2)}, 1) == ScoreKey("s", "d", {"a": [1, 2]}, 1)
    for text in ("[]", "{}", KEY.text + " ", '{"supernet": 1}'):
        with pytest.raises(ValueError, match=r".+"):
            ScoreKey.parse(text)


@pytest.mark.parametrize("change", ["loss", "objectives", "outcomes", "finite", "correct"])
def test_another_score_under_the_same_key_is_refused(change: str, tmp_path: Path):
    first, kept = make_entry(1), make_entry(2)
    assert first.score.correct is not None
    changes: dict[str, Any] = {
        "loss": 0.25,
        "objectives": {**first.score.objectives, "top5": 0.5},
        "finite": False,
        "correct": first.score.correct - 1,
    }
    if change == "outcomes":
        other = replace(first, outcomes_digest=digest_of_outcomes(np.ones(SAMPLES, dtype=bool)))
    else:
        other = replace(first, score=replace(first.score, **{change: changes[change]}))
    with Ledger(tmp_path / "scores") as ledger:
        ledger.add(KEY, [first])
        before = content(ledger)
        with pytest.raises(InputError) as caught:
            ledger.add(KEY, [kept, other])
        assert content(ledger) == before, "nothing of a refused addition stays"
        text = str(caught.value)
        assert text.startswith("ledger: expected one score of an architecture under one key")
        assert KEY.digest in text
        for entry in (first, other):
            assert f"{entry.score.correct} of {SAMPLES} samples" in text, "both are named"
            assert entry.outcomes_digest[:4].hex() in text
        ledger.add(KEY, [kept, first])
        assert len(content(ledger)) == 2


def test_entries_that_are_not_those_of_the_key_are_refused():
    good = make_entry(1)
    wrong = [
        make_entry(1, SAMPLES - 1),
        replace(good, outcomes_digest=b"short"),
        replace(good, score=replace(good.score, objectives={})),
    ]
    with Ledger() as ledger:
        for entry in wrong:
            with pytest.raises(InputError, match="entries: expected scores of the 21 samples"):
                ledger.add(KEY, [make_entry(2), entry])
        assert content(ledger) == []


def test_outcomes_are_told_apart_by_value_type_shape_and_order():
    one, other = np.array([True, False, True, True]), np.array([0.5, 1.0, -0.0, 2.0], np.float32)
    different = [
        (one,), (other,), (one, other), (other, one), (~one,), (one.astype(np.uint8),),
        (one.reshape(2, 2),), (np.roll(one, 1),), (other.astype(np.float64),), (np.abs(other),),
        (one[:2], one[2:]),
    ]  # fmt: skip
    digests = [digest_of_outcomes(*arrays) for arrays in different]
    assert len(set(digests)) == len(different)
    assert all(len(digest) == 16 for digest in digests)
    strided = np.repeat(one, 2)[::2]
    assert digest_of_outcomes(strided, other) == digest_of_outcomes(one, other.copy())
    # Written down, so that ledgers stay readable.
    assert digest_of_outcomes(one).hex() == "873f400d79f4ed4b7ec0f54e32aae27b"


def test_only_what_is_missing_is_evaluated():
    asked: list[list[Any]] = []
    numbers = {make_entry(n).score.architecture: n for n in range(9)}

    def evaluate(architectures: list[Any]) -> list[Entry]:
        asked.append(architectures)
        return [make_entry(numbers[a]) for a in architectures]

    a, b, c, *_ = numbers
    with Ledger() as ledger:
        for wanted, known, missing in (
            ([b, a, b], 0, [[b, a]]), ([c, a, b], 2, [[c]]), ([a, a, c], 3, [])
        ):  # fmt: skip
            asked.clear()
            found, count = ledger.complete(lambda: KEY, wanted, evaluate)
            assert [entry.score.architecture for entry in found] == wanted
            assert (count, asked) == (known, missing)


def test_the_best_of_a_key_is_the_best_of_a_search():
    def score(number: int, first: float, loss: float, **changes: Any) -> Score:
        objectives = {"mean": first, "other": 9.0 - number}
        return Score((number,), objectives, loss, samples=SAMPLES, **changes)

    best = score(2, 1.0, 0.5)
    ranked = [
        score(0, 2.0, math.inf, finite=False),
        score(1, 1.0, 0.6),
        score(10, 1.0, 0.5),
        best,
        score(3, 0.9, 0.1),
        score(4, math.nan, 0.1),
        score(5, -3.0, math.nan),
    ]
    with Ledger() as ledger:
        ledger.add(KEY, [Entry(each, bytes(16)) for each in ranked])
        (context,) = ledger.contexts()
        assert (context.architectures, context.best) == (7, best)
        assert ledger.counts() == [(KEY, 7)]


ADDING = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_ledger import KEY, make_entry
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


def write_ledger(path: Path, count: int = 300) -> bytes:
    with Ledger(path) as ledger:
        ledger.add(KEY, [make_entry(number) for number in range(count)])
    return path.read_bytes()


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
from test_ledger import KEY, content
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


FILLING = """
import resource, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_ledger import KEY, make_entry
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


@pytest.mark.parametrize("mask", [0o022, 0o002, 0o077])
def test_a_ledger_has_the_permissions_that_the_user_gives_new_files(mask: int, tmp_path: Path):
    before = os.umask(mask)
    try:
        write_ledger(tmp_path / "scores", 1)
    finally:
        os.umask(before)
    assert (tmp_path / "scores").stat().st_mode & 0o777 == 0o666 & ~mask
