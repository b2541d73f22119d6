"""What every device used between two moments, whichever processes came and went."""

from __future__ import annotations

import pytest
from fake_machines import HERE, RANGE_J, THERE, gpu, package, snapshot
from hypothesis import given
from hypothesis import strategies as st

from raynas.metering.gauges import PROCESSORS, Gauge, Unit
from raynas.metering.spending import Spending, spending
from raynas.metering.tallies import (
    JUMPED,
    LARGEST_WATTS,
    RESTARTED,
    Account,
    Tally,
    advance,
)


def test_processes_that_share_a_device_count_it_once() -> None:
    before = [
        snapshot("driver", 100.0, package(9_000.0)),
        snapshot("one", 50.0, package(4_000.0), gpu(700.0)),
        snapshot("two", 40.0, package(3_000.0), gpu(600.0)),
    ]
    after = [
        snapshot("two", 50.0, package(4_000.0), gpu(3_600.0)),
        snapshot("one", 60.0, package(5_000.0), gpu(3_700.0)),
        snapshot("driver", 110.0, package(10_000.0)),
    ]
    assert spending(before, after, 10.0) == [
        Spending(HERE, "GPU-a", "gpu", 10.0, 3_000.0),
        Spending(HERE, "package-0", "cpu", 10.0, 1_000.0),
    ]


def test_the_same_names_on_two_hosts_are_two_devices() -> None:
    before = [snapshot("a", 1.0, package(0.0)), snapshot("b", 1.0, package(0.0), host=THERE)]
    after = [snapshot("a", 2.0, package(50.0)), snapshot("b", 2.0, package(70.0), host=THERE)]
    assert [(each.host, each.joules) for each in spending(before, after, 1.0)] == [
        (HERE, 50.0),
        (THERE, 70.0),
    ]


def test_a_device_is_told_by_the_process_that_knows_most_of_the_time() -> None:
    before = [snapshot("a", 10.0, package(100.0, unknown=0.0)), snapshot("b", 10.0, package(5.0))]
    after = [
        snapshot("a", 20.0, package(150.0, unknown=5.0, reason="held up")),
        snapshot("b", 20.0, package(105.0)),
    ]
    assert spending(before, after, 10.0) == [Spending(HERE, "package-0", "cpu", 10.0, 100.0)]
    assert spending(before[:1], after[:1], 10.0) == [
        Spending(HERE, "package-0", "cpu", 10.0, 50.0, 5.0, "held up")
    ]


def test_a_process_that_cannot_read_is_silent_beside_one_that_can() -> None:
    def blind(age: float) -> Tally:
        return Tally(PROCESSORS, "cpu", 0.0, age, "no counters")

    before = [snapshot("container", 5.0, blind(5.0)), snapshot("driver", 5.0, package(0.0))]
    after = [snapshot("container", 6.0, blind(6.0)), snapshot("driver", 6.0, package(80.0))]
    assert spending(before, after, 1.0) == [Spending(HERE, "package-0", "cpu", 1.0, 80.0)]
    (alone,) = spending(before[:1], after[:1], 1.0)
    assert alone == Spending(HERE, PROCESSORS, "cpu", 1.0, 0.0, 1.0, "no counters")


def test_a_machine_that_was_lost_is_named() -> None:
    before = [
        snapshot("a", 5.0, package(0.0)),
        snapshot("b", 5.0, package(0.0), gpu(0.0), host=THERE),
    ]
    after = [snapshot("a", 15.0, package(900.0))]
    lost = [each for each in spending(before, after, 10.0) if each.host == THERE]
    assert [(each.joules, each.unknown, each.reason) for each in lost] == [
        (0.0, 10.0, "the machine was lost")
    ] * 2


def test_a_worker_that_was_lost_leaves_its_machine() -> None:
    before = [snapshot("a", 5.0, package(0.0)), snapshot("b", 5.0, package(0.0), gpu(0.0))]
    after = [snapshot("a", 15.0, package(900.0))]
    device, rest = spending(before, after, 10.0)
    assert (device.device, device.reason) == ("GPU-a", "the worker on it was lost")
    assert rest == Spending(HERE, "package-0", "cpu", 10.0, 900.0)


def test_a_machine_that_joined_counts_from_then_on() -> None:
    after = [snapshot("new", 4.0, package(360.0, counter=5e4), gpu(1_200.0, counter=8e6))]
    assert spending([], after, 10.0) == [
        Spending(HERE, "GPU-a", "gpu", 4.0, 1_200.0),
        Spending(HERE, "package-0", "cpu", 4.0, 360.0),
    ]


def test_a_machine_that_did_not_answer_at_the_beginning_is_unknown() -> None:
    (part,) = spending([], [snapshot("old", 400.0, gpu(1e6))], 10.0)
    assert (part.joules, part.unknown) == (0.0, 10.0)
    assert part.reason == "it was not read at the beginning"


@pytest.mark.parametrize(
    ("counters", "seconds", "joules", "reason"),
    [
        ((100.0, 900.0), 10.0, 800.0, ""),
        ((RANGE_J - 50.0, 30.0), 10.0, 80.0, ""),
        ((RANGE_J / 2, 30.0), 10.0, 20.0, "the worker on it was replaced"),
        ((100.0, 900.0), 100.0, 20.0, "the worker on it was replaced"),
    ],
    ids=["goes on", "wrapped", "began anew", "may have wrapped unseen"],
)
def test_a_counter_goes_on_where_its_worker_was_replaced(
    counters: tuple[float, float], seconds: float, joules: float, reason: str
) -> None:
    before = [snapshot("dead", 60.0, package(500.0, counter=counters[0], range_j=RANGE_J))]
    after = [snapshot("new", 2.0, package(20.0, counter=counters[1], range_j=RANGE_J))]
    (part,) = spending(before, after, seconds)
    assert (part.seconds, part.joules, part.reason) == (seconds, pytest.approx(joules), reason)
    assert part.unknown == (0.0 if not reason else seconds - 2.0)


def test_a_power_that_was_sampled_has_no_counter_that_goes_on() -> None:
    before = [snapshot("dead", 60.0, gpu(500.0, counter=None))]
    after = [snapshot("new", 4.0, gpu(800.0, counter=None))]
    (part,) = spending(before, after, 10.0)
    assert (part.joules, part.unknown) == (800.0, 6.0)
    assert part.reason == "the worker on it was replaced"


def test_work_that_took_no_time() -> None:
    same = [snapshot("a", 5.0, package(3.0))]
    assert spending(same, same, 0.0) == [Spending(HERE, "package-0", "cpu", 0.0, 0.0)]
    blind = [snapshot("a", 5.0, Tally(PROCESSORS, "cpu", 0.0, 5.0, "no counters"))]
    assert spending(blind, blind, 0.0)[0].joules == 0.0
    assert spending([], [], 1.0) == []


@given(st.lists(st.floats(0.0, 4_000.0), min_size=1, max_size=60), st.floats(0.0, RANGE_J))
def test_readings_that_are_close_enough_add_up_however_often_the_counter_wraps(
    parts: list[float], start: float
) -> None:
    total, position = 0.0, start % RANGE_J
    for joules in parts:
        after = (position + joules) % RANGE_J
        gone = advance(position, after, 5.0, RANGE_J)
        assert not isinstance(gone, str)
        total, position = total + gone, after
    assert total == pytest.approx(sum(parts), rel=1e-6, abs=1e-4)


def test_a_counter_that_went_back_is_not_a_negative_energy() -> None:
    assert advance(5.0, 3.0, 1.0, None) == RESTARTED
    assert advance(5.0, 5.0, 1.0, None) == 0.0


def test_a_counter_that_jumps_ahead_is_not_believed() -> None:
    # The most that 10 s, and the second by which a counter may lag, can hold.
    most = 11.0 * LARGEST_WATTS
    for range_j in (None, 1e9):
        assert advance(5.0, 5.0 + most, 10.0, range_j) == most
        assert advance(5.0, 6.0 + most, 10.0, range_j) == JUMPED
    assert advance(5.0, float("inf"), 10.0, None) == JUMPED


class Sensor(Gauge):
    """A power sensor that tells these watts, one after another."""

    def __init__(self, *watts: float) -> None:
        self.device, self.kind = "GPU-a", "gpu"
        self.watts = list(watts)

    @property
    def unit(self) -> Unit:
        return "W"

    def read(self) -> float:
        return self.watts.pop(0)


def test_a_power_that_no_device_has_is_not_believed() -> None:
    account = Account(Sensor(100.0, 300.0, 1e6, 300.0, 100.0), 0.0)
    for now in (1.0, 2.0, 3.0, 4.0):
        account.take(now)
    assert (account.tally.joules, account.tally.unknown) == (400.0, 2.0)
    assert account.tally.reason == "its power was read as 1e+06 W"
