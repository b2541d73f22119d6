"""Which calls are recorded, how many are kept, and what happens to those that cannot be."""

from __future__ import annotations

import warnings
from collections import Counter
from functools import partial

import pytest
import torch
from recorders import CAPTURING, DEVICES, NO_MEMORY, Casts, Mimic, Refuses, Rehearses, replays_of
from torch import Tensor, nn

from raynas.evaluation.device import cuda_graphs
from raynas.evaluation.device.cuda_graphs import Function, Replays, Tensors, replays_on


@pytest.mark.parametrize("device", DEVICES)
def test_only_what_comes_again_is_recorded(device: str):
    replays = replays_of(device)
    x, y = torch.ones(3, device=device), torch.ones(4, device=device)
    calls: list[int] = []

    def double(x: Tensor) -> Tensors:
        calls.append(len(x))
        return (x * 2,)

    results = [replays.run("a", double, (each,))[0] for each in (x, y)]
    assert replays.recorded == 0
    results += [replays.run("a", double, (each,))[0] for each in (y, 2 * x)]
    assert replays.recorded == 2
    results += [replays.run("a", double, (value * x,))[0] for value in (3, 4, 5)]
    assert replays.run("b", double, (x,))[0].tolist() == [2.0] * 3
    assert replays.recorded == 2
    assert [each.sum().item() for each in results] == [6, 8, 8, 12, 18, 24, 30]
    if device == "cuda":
        assert Counter(calls) == {3: 3, 4: 2}, "as it is and recorded, and as it is under b"


def test_no_more_than_a_few_recordings_are_kept(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cuda_graphs, "KEPT", 2)
    mimic = Mimic()
    replays = Replays(lambda: mimic)
    for key in "aaabbbacccb":
        replays.run(key, lambda x: (x + 1,), (torch.zeros(2),))
    assert (replays.recorded, mimic.plays) == (4, 8)


@pytest.mark.parametrize("device", DEVICES)
def test_recordings_make_room_for_what_does_not_fit_beside_them(device: str):
    replays = replays_of(device)
    x = torch.zeros(2, device=device)
    failures = [NO_MEMORY]

    def tight() -> int:
        if failures:
            raise failures.pop()
        return 5

    def other() -> list[float]:
        return replays.run("other", lambda x: (x + 2,), (x,))[0].tolist()

    with pytest.raises(torch.OutOfMemoryError):
        replays.retry_unrecorded(tight)
    assert [other() for _ in range(4)] == [[2.0, 2.0]] * 4
    failures.append(NO_MEMORY)
    assert replays.retry_unrecorded(tight) == 5
    assert [other() for _ in range(3)] == [[2.0, 2.0]] * 3
    assert replays.recorded == 2
    failures.append(ValueError("something else"))
    with pytest.raises(ValueError, match="something else"):
        replays.retry_unrecorded(tight)


def test_without_memory_for_a_recording_calls_run_as_they_are():
    refuses = Refuses(NO_MEMORY)
    replays = Replays(lambda: refuses)
    x = torch.zeros(2)
    for _ in range(6):
        assert replays.run("a", lambda x: (x + 1,), (x,))[0].tolist() == [1.0, 1.0]
    assert (refuses.attempts, replays.recorded) == (1, 0)


def test_what_cannot_be_recorded_runs_as_it_is():
    refuses = Refuses(CAPTURING)
    replays = Replays(lambda: refuses)
    x = torch.zeros(2)

    def run() -> list[float]:
        return replays.run("a", lambda x: (x + 1,), (x,))[0].tolist()

    assert run() == [1.0, 1.0]
    message = r"one by one .*: operation not permitted .* capturing\. "
    with pytest.warns(RuntimeWarning, match=message):
        assert run() == [1.0, 1.0]
    assert [run(), run()] == [[1.0, 1.0]] * 2
    assert (refuses.attempts, replays.recorded) == (1, 0)


def test_what_waits_for_the_device_is_not_recorded():
    class Notices(Mimic):
        def rehearse(self, function: Function, inputs: Tensors) -> tuple[Tensors, str | None]:
            return function(*inputs), "called something that waits"

    replays = Replays(Notices)
    x = torch.zeros(2)
    with pytest.warns(RuntimeWarning, match="one by one .*: called something that waits"):
        results = [replays.run("a", lambda x: (x + 1,), (x,))[0] for _ in range(4)]
    assert [result.tolist() for result in results] == [[1.0, 1.0]] * 4
    assert replays.recorded == 0


def test_the_first_error_of_a_recording_counts():
    class Wraps(Refuses):
        def record(self, function: Function, inputs: Tensors) -> Function:
            try:
                return super().record(function, inputs)
            finally:
                raise RuntimeError("operation failed due to a previous error during capture")

    for error, message in ((NO_MEMORY, None), (CAPTURING, "operation not permitted")):
        replays = Replays(partial(Wraps, error))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for _ in range(4):
                replays.run("a", lambda x: (x + 1,), (torch.zeros(2),))
        assert [message in str(warning.message) for warning in caught] == [True] * bool(message)


def test_a_second_attempt_records_nothing():
    replays = Replays(Mimic)
    x = torch.zeros(2)

    def attempt() -> None:
        for key in "ab":
            for _ in range(4):
                replays.run(key, lambda x: (x + 1,), (x,))
        if replays._recordings:
            raise NO_MEMORY

    replays.retry_unrecorded(attempt)
    assert replays.recorded == 2
    with pytest.raises(torch.OutOfMemoryError):
        attempt()


def test_recordings_give_way_to_a_new_one():
    """One that does not fit beside others is recorded once they are gone."""

    class Tight(Mimic):
        def record(self, function: Function, inputs: Tensors) -> Function:
            if replays._recordings:
                raise NO_MEMORY
            return super().record(function, inputs)

    replays = Replays(Tight)
    x = torch.zeros(2)
    for key, times in (("a", 3), ("b", 3), ("b", 2), ("a", 3)):
        for _ in range(times):
            assert replays.run(key, lambda x: (x + 1,), (x,))[0].tolist() == [1.0, 1.0]
    assert replays.recorded == 3


def test_a_recording_casts_weights_that_were_cast_before():
    weight = nn.Parameter(torch.ones(2, 2))
    counts = []

    class Counts(Rehearses):
        def record(self, function: Function, inputs: Tensors) -> Function:
            with Casts() as casts:
                function(*inputs)
            counts.append(sum(cast.shape == weight.shape for cast in casts.found))
            return function

    replays = Replays(Counts)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        for _ in range(3):
            replays.run("a", lambda x: (x @ weight,), (torch.ones(3, 2),))
    assert counts == [1]


def test_the_processor_records_nothing():
    assert replays_on(torch.device("cpu")).run("a", lambda x: (x,), (torch.ones(1),))[0] == 1
