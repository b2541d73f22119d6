"""Progress of calls: every operation of a search is told, and nothing depends on who listens."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from small_search import PCF, SAMPLED, history, records, run_search, small_data

import raynas
from raynas.errors import InputError
from raynas.population.evaluated import Splits
from raynas.population.evaluator import PopulationEvaluator
from raynas.testing.supernets import small_supernet
from raynas.workers.call_progress import CallProgress, run_calls
from raynas.workers.calls import Call
from raynas.workers.pool import LocalPool


class OldPool:
    """A pool of an earlier version, that tells nobody anything."""

    def run(self, calls: Sequence[Call[Any]], *, keep: bool = False) -> list[Any]:
        return [(call, keep) for call in calls]


def test_a_pool_is_asked_to_tell_only_where_somebody_listens() -> None:
    pool: Any = OldPool()
    calls: Any = ["one", "two"]
    assert run_calls(pool, calls, None, keep=True) == [("one", True), ("two", True)]
    told: list[CallProgress] = []
    assert run_calls(pool, [], told.append) == []
    assert told == []
    with pytest.raises(TypeError, match="finished"):
        run_calls(pool, [raynas.workers.calls.Calibrate], told.append)  # type: ignore[list-item]


@pytest.fixture(scope="module")
def observed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[list[CallProgress]]]:
    """A search that freezes, and what was told before each generation's end, and after the last."""
    run = tmp_path_factory.mktemp("observed") / "run"
    told: list[list[CallProgress]] = [[]]
    run_search(
        run,
        call_observer=lambda progress: told[-1].append(progress),
        observer=lambda record, metrics: told.append([]),
    )
    return run, told


def operations(told: list[CallProgress]) -> list[tuple[str, int]]:
    """The operations by name, with their calls; each begins at 0, and all of it is done."""
    found: list[tuple[str, list[int], int]] = []
    for each in told:
        if each.done == 0:
            found.append((each.operation, [], each.planned))
        name, done, planned = found[-1]
        assert (each.operation, each.planned) == (name, planned)
        done.append(each.done)
    assert all(done == list(range(planned + 1)) for _, done, planned in found)
    return [(name, planned) for name, _, planned in found]


def test_every_operation_is_told_in_its_order(
    observed: tuple[Path, list[list[CallProgress]]],
) -> None:
    run, told = observed
    generations = records(run)
    scored = [bool(each["rescored"] or each["population"]) for each in generations]
    assert len(told) == len(generations) + 1
    frozen = [0, *(each["frozen"] for each in generations)]
    for number, scores in enumerate(scored):
        names = [name for name, _ in groupby(name for name, _ in operations(told[number]))]
        if not scores:
            assert names == []
        elif frozen[number + 1] == frozen[number]:
            # Half of the samples are kept from the first freeze on, in two shards.
            shards = 2 if frozen[number] else 3
            assert operations(told[number]) == [("calibrate", 2), ("score", shards)]
        else:
            assert names[-3:] == ["advance", "calibrate", "score"]
    assert any("gather" in dict(operations(each)) for each in told), "samples were selected"
    # The finalists, and the winner's test: two shards.
    assert operations(told[-1])[:2] == [("calibrate", 2), ("score", 3)]
    assert operations(told[-1])[-1] == ("score", 2)


def test_who_listens_changes_nothing(
    observed: tuple[Path, list[list[CallProgress]]], tmp_path: Path
) -> None:
    run_search(tmp_path / "run")
    assert history(tmp_path / "run") == history(observed[0])


def evaluator_of(**settings: Any) -> PopulationEvaluator:
    """An evaluator of the small supernet in this process."""
    protocol, data = raynas.Evaluation(device="cpu", **settings), small_data()
    pool = LocalPool(small_supernet(), protocol)
    return PopulationEvaluator(pool, Splits(data.calibration, data.validation), protocol, seed=0)


def test_an_observer_that_fails_ends_the_scoring() -> None:
    def fail(progress: CallProgress) -> None:
        raise RuntimeError("the observer's own")

    evaluator = evaluator_of()
    evaluator.watch(fail)
    with pytest.raises(RuntimeError, match="the observer's own"):
        evaluator.score([(0,) * 8])


@pytest.mark.parametrize("observer", ["print", 3])
def test_what_cannot_be_called_is_refused(observer: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="call_observer: expected a function"):
        run_search(tmp_path / "run", call_observer=observer)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("sharing", [True, False])
def test_what_sharing_saves_is_counted(sharing: bool) -> None:
    evaluator = evaluator_of(prefix_sharing=sharing)
    trunks = [(0, 1, 2, 3, 0, 1), (0, 1, 2, 0, 0, 0), (3, 1, 2, 3, 0, 1)]
    population = [(*trunk, choice, 0) for trunk in trunks for choice in (0, 2)]
    evaluator.score(population)
    counters = evaluator.counters
    # 32 calibration and 62 validation samples.
    assert counters.block_forwards_alone == 6 * 8 * 94
    # Trunks of 6, 3 and 6 blocks of their own, and two for each candidate.
    assert counters.block_forwards == (15 + 6 * 2 if sharing else 6 * 8) * 94


def test_frozen_blocks_are_saved_too(observed: tuple[Path, list[list[CallProgress]]]) -> None:
    assert SAMPLED.strategy is PCF
    selected = False
    for record, metrics in zip(
        records(observed[0]), records(observed[0], "metrics.jsonl"), strict=True
    ):
        alone = metrics["block_forwards_alone"]
        # Half of the validation samples are kept from the first freeze on, by the losses of one
        # candidate on all of them.
        reference = 8 * 94 if record["samples"] < 62 and not selected else 0
        selected = selected or reference > 0
        assert alone == metrics["candidates"] * 8 * (32 + record["samples"]) + reference
        assert (metrics["block_forwards"] < alone) == (alone > 0)
    assert selected
