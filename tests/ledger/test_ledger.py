"""The ledger: what goes in comes out, under its key only, whatever happens to a process."""

from __future__ import annotations

import math
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
from raynas.evaluation.scores import CandidateScore
from raynas.ledger import file as ledger_file
from raynas.ledger.ledger import Ledger
from raynas.ledger.rows import Entry
from raynas.ledger.score_key import ScoreKey

SAMPLES = 21
KEY = ScoreKey("supernet", "data", {"batch_norm": "recalibrate", "threads": 1}, SAMPLES)


def make_entry(number: int, samples: int = SAMPLES) -> Entry:
    """The only entry of its architecture: what every process would find."""
    rng = np.random.default_rng(number)
    bits = rng.random(samples) < 0.7
    correct = int(bits.sum())
    architecture = tuple(int(digit) for digit in f"{number:06d}")
    score = CandidateScore(
        architecture, correct, samples, correct / samples, 1.0, float(rng.random()), True
    )
    return Entry(score, bits)


def content(ledger: Ledger, key: ScoreKey | None = None) -> list[Any]:
    return [plain(p, entry) for p, entry in ledger.rows(key)]


def plain(key: ScoreKey, entry: Entry) -> tuple[Any, ...]:
    """Compares as the entry does to the last bit, the sign of zero and NaN included."""
    assert entry.bits.dtype == bool
    return key.text, repr(entry.score), entry.bits.tolist()


shares = st.floats(0, 1)
losses = st.one_of(st.floats(0, 1e9), st.sampled_from([-0.0, math.inf, math.nan, 5e-324, 3.0]))


@st.composite
def entries(draw: st.DrawFn, samples: int) -> list[Entry]:
    choices = st.lists(st.integers(0, 300), min_size=1, max_size=5).map(tuple)
    made = []
    for architecture in draw(st.sets(choices, max_size=6)):
        bits = draw(st.lists(st.booleans(), min_size=samples, max_size=samples))
        score = CandidateScore(
            architecture, sum(bits), samples, draw(shares), draw(shares), draw(losses),
            draw(st.booleans()),
        )  # fmt: skip
        made.append(Entry(score, np.array(bits, dtype=bool)))
    return made


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)  # fmt: skip


@settings(max_examples=15, deadline=None, derandomize=True)
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


@pytest.mark.parametrize("change", ["loss", "top1", "bits", "finite"])
def test_another_score_under_the_same_protocol_is_refused(change: str, tmp_path: Path):
    first, kept = make_entry(1), make_entry(2)
    changes: dict[str, Any] = {"loss": 0.25, "top1": first.score.top1 / 2, "finite": False}
    bits = first.bits if change != "bits" else np.roll(first.bits, 1)
    score = first.score if change == "bits" else replace(first.score, **{change: changes[change]})
    with Ledger(tmp_path / "scores") as ledger:
        ledger.add(KEY, [first])
        before = content(ledger)
        with pytest.raises(InputError) as caught:
            ledger.add(KEY, [kept, Entry(score, bits)])
        assert content(ledger) == before, "nothing of a refused addition stays"
        text = str(caught.value)
        assert text.startswith("ledger: expected one score of an architecture under one key")
        assert KEY.digest in text
        assert text.count(f"{first.score.correct} of {SAMPLES}") == 2, "both are named"
        ledger.add(KEY, [kept, first])
        assert len(content(ledger)) == 2


def test_bits_that_are_not_those_of_the_score_are_refused():
    good = make_entry(1)
    wrong = [
        Entry(replace(good.score, correct=good.score.correct - 1), good.bits),
        Entry(good.score, good.bits[:-1]),
        make_entry(1, SAMPLES - 1),
    ]
    with Ledger() as ledger:
        for entry in wrong:
            with pytest.raises(InputError, match="entries: expected bits of the 21 samples"):
                ledger.add(KEY, [make_entry(2), entry])
        assert content(ledger) == []


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
            found, count = ledger.complete(KEY, wanted, evaluate)
            assert [entry.score.architecture for entry in found] == wanted
            assert (count, asked) == (known, missing)


def test_the_best_of_a_protocol():
    scores = [make_entry(n).score for n in (1, 2, 3, 4)]
    best = replace(scores[1], correct=21, top1=1.0, loss=0.5)
    ranked = [
        replace(scores[0], correct=21, top1=1.0, loss=math.inf, finite=False),
        replace(scores[3], correct=21, top1=1.0, loss=0.6),
        best,
        replace(scores[2], correct=21, top1=0.9, loss=0.1),
    ]
    with Ledger() as ledger:
        ledger.add(KEY, [Entry(score, np.ones(SAMPLES, dtype=bool)) for score in ranked])
        (context,) = ledger.contexts()
        assert (context.architectures, context.best) == (4, best)


ADDING = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_ledger import KEY, make_entry
from raynas.ledger.ledger import Ledger
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
        process.communicate(timeout=60)
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
    process.communicate(timeout=60)
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


BROKEN = {
    "empty": (lambda path: path.touch(), "expected a ledger of raynas"),
    "text": (lambda path: path.write_text("mine\n" * 400), "file is not a database"),
    "short": (lambda path: path.write_text("mine"), "file is not a database"),
    "folder": (lambda path: path.mkdir(), "which is not a file"),
    "foreign": (foreign, "expected a ledger of raynas"),
    "newer": (newer, "of format 2. Use the version of raynas that wrote it"),
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
        ("UPDATE scores SET top1 = 0.5 WHERE id = 2", "another checksum"),
        ("UPDATE scores SET loss = 'none' WHERE id = 2", "another checksum"),
        ("UPDATE scores SET bits = x'00' WHERE id = 2", "another checksum"),
        ("UPDATE scores SET architecture = '0,0,0,0,0,9' WHERE id = 2", "another checksum"),
        ("UPDATE scores SET bits = 5, checksum = x'' WHERE id = 2", "another checksum"),
        ("UPDATE protocols SET content = replace(content, 'data', 'atad')", "another digest"),
        ("UPDATE scores SET protocol = 7 WHERE id = 2", "row 2 has no key"),
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
        if "top1" in statement:
            with pytest.raises(InputError, match="another checksum"):
                ledger.known(KEY, [make_entry(1).score.architecture])


def test_bits_that_contradict_the_count_are_found(tmp_path: Path):
    from raynas.ledger.rows import checksum, damage, row_of

    row = list(row_of(KEY, make_entry(1)))
    assert damage(KEY.digest, tuple(row)) is None
    row[1] -= 1
    row[-1] = checksum(KEY.digest, tuple(row[:-1]))
    found = damage(KEY.digest, tuple(row))
    assert found is not None
    assert "correct samples" in found
