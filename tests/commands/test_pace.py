"""The time that is left of a generation and of a search, by hand."""

from __future__ import annotations

from generation_records import record, timing

from raynas.commands.pace import Pace
from raynas.workers.call_progress import CallProgress


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        """The time."""
        return self.now


def run(pace: Pace, clock: Clock, operation: str, calls: int, seconds: float) -> list[float | None]:
    """Play calls that take equally long; the seconds left of the generation after each of them."""
    pace.calls(CallProgress(operation, 0, calls))
    left = [pace.generation_left]
    for done in range(1, calls + 1):
        clock.now += seconds
        pace.calls(CallProgress(operation, done, calls))
        left.append(pace.generation_left)
    return left


def test_nothing_is_estimated_before_it_was_seen() -> None:
    clock = Clock()
    pace = Pace(5, clock)
    assert (pace.generation_left, pace.search_left) == (None, None)
    assert run(pace, clock, "calibrate", 2, 3.0) == [None, None, None], "the scoring is unknown"
    assert run(pace, clock, "score", 4, 1.0) == [None, 3.0, 2.0, 1.0, 0.0]
    assert pace.elapsed == 10.0


def test_a_scoring_lasts_in_proportion_to_its_calibration() -> None:
    clock = Clock()
    pace = Pace(5, clock)
    run(pace, clock, "calibrate", 2, 3.0)
    run(pace, clock, "score", 4, 1.0)
    pace.generation(record(generation=0), timing(seconds=10.0))
    assert (pace.generation_left, pace.search_left) == (10.0, 40.0)
    # Half as long as the one before, behind a prefix: so will the scoring be.
    assert run(pace, clock, "calibrate", 2, 1.5) == [10.0, 3.5, 2.0]
    assert run(pace, clock, "score", 4, 0.5) == [2.0, 1.5, 1.0, 0.5, 0.0]
    pace.generation(record(generation=1), timing(seconds=6.0))
    assert pace.search_left == 6.0 + 2 * 8.0, "two more of the mean"


def test_a_freeze_is_followed_by_a_calibration_and_a_scoring() -> None:
    clock = Clock()
    pace = Pace(5, clock)
    run(pace, clock, "calibrate", 1, 4.0)
    run(pace, clock, "score", 1, 2.0)
    pace.generation(record(), timing(seconds=6.0))
    assert run(pace, clock, "advance", 2, 1.0) == [None, 7.0, 6.0]
    assert run(pace, clock, "advance", 1, 1.0) == [8.0, 6.0], "as the last advance: 2 s"


def test_a_network_without_batch_norm_is_only_scored() -> None:
    clock = Clock()
    pace = Pace(5, clock)
    assert run(pace, clock, "score", 2, 1.0) == [None, 1.0, 0.0]
    pace.generation(record(), timing(seconds=2.0))
    assert run(pace, clock, "score", 2, 1.0) == [2.0, 1.0, 0.0]


def test_records_alone_are_enough_for_a_watcher() -> None:
    clock = Clock()
    pace = Pace(20, clock)
    for number, seconds in enumerate((9.0, 4.0, 3.0, 2.0)):
        pace.generation(record(generation=number), timing(seconds=seconds), ago=0.5)
    assert pace.elapsed == 0.5
    assert pace.generation_left == 1.5, "as the last one"
    assert pace.search_left == 1.5 + 15 * 3.0, "the mean of the last three"
    clock.now += 60.0
    assert pace.generation_left == 0.0, "late, and never less than nothing"


def test_the_last_generation_and_lost_metrics() -> None:
    clock = Clock()
    pace = Pace(3, clock)
    pace.generation(record(generation=2), {})
    assert (pace.generation_left, pace.search_left) == (None, None)
    pace.generation(record(generation=2), timing(seconds=4.0))
    assert pace.search_left == 4.0
    assert Pace(None, clock).search_left is None
