"""The ledger: what goes in comes out, under its key only."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_entries import KEY, SAMPLES, content, make_entry, plain

from raynas.errors import InputError
from raynas.ledger.ledger import Ledger
from raynas.ledger.rows import Entry, digest_of_outcomes
from raynas.ledger.score_key import ScoreKey
from raynas.score import Score

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


@settings(max_examples=15)
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
