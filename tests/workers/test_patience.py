"""How long workers that do not start are waited for, at whatever speed the clock goes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raynas.workers.patience import Patience, Verdict

NONE, SOON, LONG, VERY_LONG = 0.0, 10.0, 45.0, 600.0


@pytest.mark.parametrize(
    ("without_room", "loading", "ready", "verdicts"),
    [
        (0, 0, 2, ["go on", "go on", "go on", "go on"]),
        (1, 0, 1, ["wait", "go on", "go on", "go on"]),
        (0, 1, 1, ["wait", "wait", "wait", "go on"]),
        (1, 1, 1, ["wait", "wait", "wait", "go on"]),
        (2, 0, 0, ["wait", "wait", "give up", "give up"]),
        (0, 2, 0, ["wait", "wait", "wait", "give up"]),
        (1, 1, 0, ["wait", "wait", "wait", "give up"]),
    ],
)
def test_verdicts(without_room: int, loading: int, ready: int, verdicts: list[Verdict]):
    found = [
        Patience().verdict(seconds, without_room=without_room, loading=loading, ready=ready)
        for seconds in (NONE, SOON, LONG, VERY_LONG)
    ]
    assert found == verdicts


@given(st.floats(0, 1e6), st.integers(0, 3), st.integers(0, 3), st.integers(0, 3))
def test_whoever_is_ready_is_never_given_up(
    seconds: float, without_room: int, loading: int, ready: int
):
    verdict = Patience().verdict(seconds, without_room=without_room, loading=loading, ready=ready)
    assert verdict != "give up" or ready == 0
    assert verdict != "go on" or ready or without_room + loading == 0
