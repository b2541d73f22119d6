"""The dispatch order: own shards first, then untouched ones, then those of others."""

from __future__ import annotations

from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raynas.workers import dispatch
from raynas.workers.dispatch import Residence, Waiting

HOMES = st.lists(st.sampled_from(["a", "b", "c", "d", None]), max_size=20)
WORKERS = st.integers(0, 3)


def take_plainly(homes, waiting, had, worker):
    """The oracle: a scan of all waiting calls, in order."""
    known = set().union(*had.values())
    own = [index for index in waiting if homes[index] is not None and homes[index] in had[worker]]
    fresh = [index for index in waiting if homes[index] not in known]
    if own or fresh:
        return (own or fresh)[0]
    queue = [homes[index] for index in waiting]
    longest = max(map(queue.count, queue))
    return next(index for index in waiting if queue.count(homes[index]) == longest)


@given(HOMES, st.dictionaries(WORKERS, st.sets(st.sampled_from("abcd"))), st.data())
def test_calls_are_taken_as_a_plain_scan_would(homes, known, data):
    residence, had = Residence(), defaultdict(set)
    for worker, shards in known.items():
        had[worker] = set(shards)
        for home in shards:
            residence.settle(worker, home)
    queue = Waiting(homes, residence)
    waiting = list(range(len(homes)))
    while waiting:
        assert len(queue) == len(waiting)
        worker = data.draw(WORKERS)
        index = queue.take(worker)
        assert index == take_plainly(homes, waiting, had, worker)
        waiting.remove(index)
        if homes[index] is not None:
            had[worker].add(homes[index])
    assert len(queue) == 0


STEPS = st.lists(st.tuples(st.sampled_from(["take", "finish", "return"]), WORKERS), max_size=30)


@given(HOMES, STEPS)
def test_every_call_is_done_once_though_some_come_back(homes, steps):
    queue = Waiting(homes, Residence())
    held: list[int] = []
    done: list[int] = []
    for step, worker in steps:
        if step == "take" and len(queue):
            held.append(queue.take(worker))
        elif step == "finish" and held:
            done.append(held.pop())
        elif step == "return" and held:
            queue.give_back(held.pop(0))
    done += held + [queue.take(0) for _ in range(len(queue))]
    assert sorted(done) == list(range(len(homes)))


def test_a_call_that_comes_back_keeps_its_place():
    queue = Waiting([None] * 4, Residence())
    assert [queue.take("x") for _ in range(3)] == [0, 1, 2]
    queue.give_back(1)
    queue.give_back(0)
    assert [queue.take("y") for _ in range(3)] == [0, 1, 3]


def test_the_shards_of_the_last_run_are_taken_first():
    residence = Residence()
    first = Waiting(["a", "b", "c"], residence)
    assert [first.take(worker) for worker in ("x", "y", "x")] == [0, 1, 2]
    second = Waiting(["a", "b", "c"], residence)
    assert [second.take(worker) for worker in ("y", "x", "x")] == [1, 0, 2]


def test_who_has_nothing_left_takes_from_whom_most_calls_wait_for():
    residence = Residence()
    for worker, home in (("x", "a"), ("y", "b")):
        residence.settle(worker, home)
    queue = Waiting(["a", "b", "b", "b"], residence)
    assert [queue.take("z") for _ in range(4)] == [1, 2, 3, 0]


def test_what_a_worker_had_goes_with_it():
    residence = Residence()
    residence.settle("x", "a")
    residence.forget("x")
    residence.forget("never seen")
    assert residence.all() == set()
    assert Waiting(["b", "a"], residence).take("x") == 0


def test_only_the_latest_shards_are_remembered(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(dispatch, "MEMORY", 2)
    residence = Residence()
    for home in "abac":
        residence.settle("x", home)
    assert list(residence.of("x")) == ["a", "c"]
