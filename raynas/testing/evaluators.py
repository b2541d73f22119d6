"""The contracts of whoever scores: candidate evaluators, and pools of workers.

For a scorer of your own, and for a pool of your own over a small supernet::

    check_evaluator(MyScorer(), raynas.supernets.spos_8x8().space)
    check_pool(MyPool(supernet, evaluation), supernet, data)
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from raynas.data.splits import SearchData
from raynas.errors import InputError
from raynas.evaluation.evaluator import Evaluator
from raynas.evaluation.scores import Outcomes
from raynas.evaluation.settings import Arithmetic
from raynas.evolution.strategy import Proposal, State
from raynas.metering.sampler import Snapshot
from raynas.population.interface import CandidateEvaluator
from raynas.score import Score
from raynas.shards.shard import Shard
from raynas.space import Architecture, SearchSpace
from raynas.supernets import ChainSupernet
from raynas.workers.calls import Advance, Calibrate, Call, GatherShards, ScoreShard
from raynas.workers.pool import Pool
from raynas.workers.replicas import private_copy


def check_evaluator(
    evaluator: CandidateEvaluator, space: SearchSpace, *, count: int = 6, seed: int = 0
) -> None:
    """Check what a search relies on when it scores its populations.

    One score for each candidate, in their order, the same whenever and beside whomever it is
    asked for; records that can be read back; totals that only grow; and the same behind a prefix.

    Args:
        evaluator: fresh; it is left behind a frozen prefix.
        space: that its candidates are from.
        count: how many candidates to score at a time.
        seed: of the candidates.

    Raises:
        AssertionError: a broken promise, by name.
    """
    rng = np.random.default_rng(seed)
    chosen = list(dict.fromkeys(space.sample(rng) for _ in range(count)))
    assert evaluator.score([]) == [], "scores of no candidates"
    evaluator.follow(Proposal((), tuple(chosen)), State())
    scores = check_scores(evaluator, chosen)
    best = max(scores, key=lambda score: score.value).architecture
    prefix = best[: max(1, space.blocks // 2)]
    behind = list(dict.fromkeys((*prefix, *each[len(prefix) :]) for each in chosen))
    told = State(1, population=tuple(chosen), top=tuple(scores), seen=frozenset(chosen))
    evaluator.follow(Proposal(prefix, tuple(behind[1:]), tuple(behind[:1])), told)
    check_scores(evaluator, behind)
    full = evaluator.score_in_full(chosen)
    assert_answers(chosen, full)
    assert_equal_scores(evaluator.score_in_full(chosen), full, "in full")
    tested = evaluator.test(best)
    assert tested is None or tested.architecture == best, "tested another architecture"


def check_scores(evaluator: CandidateEvaluator, wanted: Sequence[Architecture]) -> list[Score]:
    """Check the scores of one protocol, and return them."""
    before = evaluator.counters
    scores = evaluator.score(wanted)
    after = evaluator.counters
    assert_answers(wanted, scores)
    for name in ("block_forwards", "halvings", "known"):
        assert getattr(after, name) >= getattr(before, name), f"the counter {name} went down"
    assert_equal_scores(evaluator.score(wanted[::-1])[::-1], scores, "in another order")
    assert_equal_scores(evaluator.score(wanted[:1]), scores[:1], "by itself")
    assert_equal_scores(evaluator.score_again(wanted[:1]), scores[:1], "again")
    return scores


def assert_answers(wanted: Sequence[Architecture], scores: Sequence[Score]) -> None:
    """Raise `AssertionError` unless each candidate has its score, which survives its record."""
    given = [score.architecture for score in scores]
    assert given == list(wanted), f"scores of {given} instead of {list(wanted)}"
    names = {tuple(score.objectives) for score in scores}
    assert len(names) <= 1, f"scores with different objectives: {names}"
    for score in scores:
        again = Score.from_record(json.loads(json.dumps(score.record())))
        assert again.finite == score.finite, f"{score} is another after it was recorded"
        assert not score.finite or again == score, f"{score} is recorded as {again}"


def assert_equal_scores(found: Sequence[Score], expected: Sequence[Score], how: str) -> None:
    """Raise `AssertionError` unless the scores are the same to the bit."""
    pairs = [(repr(one), repr(other)) for one, other in zip(found, expected, strict=True)]
    differing = [pair for pair in pairs if pair[0] != pair[1]]
    assert not differing, f"scored {how}: {differing[0][0]} instead of {differing[0][1]}"


def check_pool(pool: Pool, supernet: ChainSupernet, data: SearchData) -> None:
    """Check that a pool runs calls as one evaluator in this process does, to the bit.

    Args:
        pool: of the supernet; its settings say under which protocol and task.
        supernet: of at least two blocks.
        data: two or more validation shards; calibration shards where there is batch norm.

    Raises:
        AssertionError: a broken promise, by name.
    """
    pool.wait()
    protocol, task = pool.settings.evaluation, pool.settings.task
    reference = Evaluator(private_copy(supernet), protocol, task)
    assert pool.machine == reference.machine, f"{pool.machine}, but here {reference.machine}"
    assert pool.device == reference.device.type, f"the device is {pool.device}"
    calls = score_calls(supernet, data.validation)
    expected = [call.run(reference) for call in calls]
    assert pool.run([]) == [], "results of no calls"
    assert pool.run([], keep=True) == [], "results of no calls that are kept"
    assert_same(pool.run(calls), expected, "results in the order of the calls")
    check_meters(pool)
    shared = {id(shard): pool.put(shard) for shard in data.validation}
    mode: Any = pool.put("inherited")
    placed = [replace(call, shard=shared[id(call.shard)], statistics=mode) for call in calls]
    assert_same(pool.run(placed), expected, "what was put stands for itself")
    check_kept(pool, reference, supernet, data.validation)
    check_gathered(pool, reference, data.validation)
    check_refusal(pool, calls, expected)
    check_told(pool, calls, expected)
    calibrations = [
        Calibrate(shard, [architectures(supernet, 1)[0]], Arithmetic())
        for shard in data.calibration
    ]
    found = pool.run(calibrations)
    for one, call in zip(found, calibrations, strict=True):
        vectors = call.run(reference).statistics
        assert one.statistics.keys() == vectors.keys(), "statistics of other nodes"
        for path, vector in vectors.items():
            assert np.array_equal(one.statistics[path], vector), f"statistics of {path}"


def architectures(supernet: ChainSupernet, count: int) -> list[Architecture]:
    """Random architectures, the same in every process."""
    rng = np.random.default_rng(0)
    return [supernet.space.sample(rng) for _ in range(count)]


def score_calls(supernet: ChainSupernet, shards: Sequence[Shard]) -> list[ScoreShard]:
    """Calls of very different lengths, the longest first."""
    chosen = architectures(supernet, 8)
    return [
        ScoreShard(shard, chosen[:count], "inherited", Arithmetic())
        for count in (8, 1, 5, 2)
        for shard in shards
    ]


def check_meters(pool: Pool) -> None:
    """Check that a pool that has scored says how long its workers were busy, and with what."""
    busy = pool.busy
    assert busy.get("score", 0.0) > 0, f"busy for {busy} after calls that score"
    found = pool.read_meters()
    assert all(isinstance(each, Snapshot) for each in found), f"its meters tell {found}"
    assert pool.busy == busy, "busy with reading its meters"


def check_kept(
    pool: Pool, reference: Evaluator, supernet: ChainSupernet, shards: Sequence[Shard]
) -> None:
    """Check that what stays in the store stands for itself in later calls."""
    (architecture,) = architectures(supernet, 1)
    prefix = architecture[: len(architecture) // 2]
    advances = [Advance(shard, prefix, "inherited", Arithmetic()) for shard in shards]
    wanted = [call.run(reference) for call in advances]
    kept = pool.run(advances, keep=True)
    for (_, one), (_, other) in zip(kept, wanted, strict=True):
        assert one.block_forwards == other.block_forwards, "the second part of a kept result"
    behind = [ScoreShard(shard, [architecture], "inherited", Arithmetic()) for shard, _ in kept]
    calls = [ScoreShard(shard, [architecture], "inherited", Arithmetic()) for shard, _ in wanted]
    assert_same(pool.run(behind), [call.run(reference) for call in calls], "what was kept")


def check_gathered(pool: Pool, reference: Evaluator, shards: Sequence[Shard]) -> None:
    """Check that shards in the store can be gathered one by one."""
    rows = [np.arange(0, shard.rows, 2) for shard in shards]
    weights = np.linspace(1.0, 2.0, sum(map(len, rows)))
    first, *more = map(pool.put, shards)
    [(found, count)] = pool.run([GatherShards(first, rows, weights, tuple(more))])
    call = GatherShards(shards[0], rows, weights, tuple(shards[1:]))
    wanted, _ = call.run(reference)
    assert count == len(weights), f"{count} samples were gathered instead of {len(weights)}"
    assert found.batch.equals(wanted.batch, check_metadata=True), "another shard was gathered"


def check_refusal(pool: Pool, calls: Sequence[ScoreShard], expected: Sequence[Outcomes]) -> None:
    """Check that an `InputError` of a call arrives as itself, and that the pool goes on."""
    impossible = (*calls[0].architectures[0][:-1], 10**6)
    broken: list[Call[Outcomes]] = [calls[0], replace(calls[0], architectures=[impossible])]
    caught: Exception | None = None
    try:
        pool.run(broken)
    except Exception as error:
        caught = error
    assert type(caught) is InputError, f"{caught!r} instead of an InputError"
    assert caught.argument == "architecture", f"an error of {caught.argument}"
    assert_same(pool.run(calls), expected, "calls after an error")


def check_told(pool: Pool, calls: Sequence[ScoreShard], expected: Sequence[Outcomes]) -> None:
    """Check that a pool tells how many calls are done, and gives the same results then."""
    told: list[int] = []
    assert_same(pool.run(calls, finished=told.append), expected, "results of calls that are told")
    assert told == sorted(told), f"fewer calls were done than before: {told}"
    assert told[-1:] == [len(calls)], f"{told[-1:]} of {len(calls)} calls were done at the end"


def assert_same(found: Sequence[Outcomes], expected: Sequence[Outcomes], what: str) -> None:
    """Raise `AssertionError` unless outcomes are the same to the bit."""
    assert len(found) == len(expected), f"{what}: {len(found)} of {len(expected)}"
    for index, (one, other) in enumerate(zip(found, expected, strict=True)):
        place = f"{what}: result {index}"
        assert one.values.keys() == other.values.keys(), f"{place} has other objectives"
        for name, values in other.values.items():
            assert np.array_equal(one.values[name], values), f"{place} differs in {name}"
        assert np.array_equal(one.losses, other.losses, equal_nan=True), f"{place}: losses"
        assert np.array_equal(one.finite, other.finite), f"{place}: finite"
        assert one.block_forwards == other.block_forwards, f"{place}: block-forwards"
