"""Greedy paths against their definition, with losses that are known."""

from __future__ import annotations

import json
from collections.abc import Sequence
from math import comb, nan
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_training import SETTINGS, digits, small_supernet

from raynas.errors import InputError
from raynas.space import Architecture, SearchSpace
from raynas.training import GreedyPaths, GreedySettings, train
from raynas.training.candidate_pool import CandidatePool

SPACE = SearchSpace((3,) * 6)
SMALL_POOL = GreedySettings(pool=700)


class Sums:
    """The loss of a path is the sum of its choices; all that was asked is kept."""

    def __init__(self) -> None:
        self.asked: list[list[Architecture]] = []

    def losses(self, paths: Sequence[Architecture], rng: np.random.Generator) -> list[float]:
        self.asked.append(list(paths))
        return [float(sum(path)) for path in paths]

    def terms(self) -> str:
        return "sums"


def greedy(scorer: Any = None, **settings: Any) -> GreedyPaths:
    values = {"warm_up": 0, "steps": 1000, "pool": 20, "window": 50, **settings}
    return GreedyPaths(SPACE, scorer or Sums(), GreedySettings(**values))


def walk(sampler: GreedyPaths, steps: int, seed: int = 0) -> list[Architecture]:
    rng = np.random.default_rng(seed)
    taken = [sampler.sample(rng) for _ in range(steps)]
    assert {len(step) for step in taken} == {1}
    return [path for (path,) in taken]


def test_the_best_k_of_m_are_trained_best_first() -> None:
    scorer = Sums()
    paths = walk(greedy(scorer, sampled=10, kept=5), 40)
    assert [len(asked) for asked in scorer.asked] == [10] * 8
    for number, asked in enumerate(scorer.asked):
        assert len(set(asked)) == 10
        best = sorted(asked, key=lambda path: (sum(path), path))[:5]
        assert paths[5 * number : 5 * number + 5] == best


def test_the_warm_up_is_uniform_and_scores_nothing() -> None:
    scorer = Sums()
    paths = walk(greedy(scorer, warm_up=300), 300)
    assert scorer.asked == []
    firsts = [path[0] for path in paths]
    assert all(70 < firsts.count(choice) < 130 for choice in range(3))


def test_a_training_that_is_all_warm_up_is_refused() -> None:
    """Its paths would be uniform, and nobody would notice."""
    with pytest.raises(InputError, match="fewer than the 18 steps") as caught:
        train(small_supernet(), digits(), SETTINGS, paths=GreedyPaths(SPACE, Sums(), SMALL_POOL))
    assert caught.value.argument == "warm_up"


def test_a_second_training_forgets_the_first() -> None:
    sampler = greedy(warm_up=3, pool=6, window=7)
    expected = walk(sampler, 30)
    learned = sampler.state()
    sampler.begin(1000)
    assert (sampler.evaluations, len(sampler.pool), sampler.fresh) == (0, 0, None)
    assert walk(sampler, 30) == expected
    assert sampler.state() == learned


def test_settings_suit_the_length_of_a_training() -> None:
    shortened = GreedySettings.for_steps(18, SPACE, kept=2)
    assert shortened == GreedySettings(pool=729, kept=2, warm_up=1, steps=18, window=1)
    assert GreedySettings.for_steps(100_000, SearchSpace((4,) * 20)) == GreedySettings()
    for wrong in (0, 1.5, "18"):
        with pytest.raises(InputError, match="steps: expected a whole number, at least 1"):
            GreedySettings.for_steps(wrong, SPACE)  # type: ignore[arg-type]
    scorer = Sums()
    supernet = small_supernet()
    settings = GreedySettings.for_steps(18, supernet.space, tolerance=None)
    train(supernet, digits(), SETTINGS, paths=GreedyPaths(supernet.space, scorer, settings))
    assert len(scorer.asked) == 4, "17 steps behind the warm-up, of five paths each"


def test_the_pool_holds_the_smallest_losses_that_were_met() -> None:
    scorer = Sums()
    sampler = greedy(scorer, pool=7, exploit=0.0)
    walk(sampler, 100)
    kept = {
        path
        for asked in scorer.asked
        for path in sorted(asked, key=lambda path: (sum(path), path))[:5]
    }
    assert list(sampler.pool) == sorted(kept, key=lambda path: (sum(path), path))[:7]


def test_the_share_from_the_pool_rises_linearly() -> None:
    settings = GreedySettings(warm_up=100, steps=500, exploit=0.8)
    assert [settings.exploit_at(step) for step in (0, 100, 300, 500, 900)] == [0, 0, 0.4, 0.8, 0.8]
    scorer = Sums()
    sampler = GreedyPaths(
        SearchSpace((4,) * 12),
        scorer,
        GreedySettings(warm_up=0, steps=2000, exploit=0.8, pool=1000, window=10_000),
    )
    rng = np.random.default_rng(0)
    shares = []
    for _ in range(400):
        known = set(sampler.pool)
        for _ in range(5):
            sampler.sample(rng)
        shares.append(np.mean([path in known for path in scorer.asked[-1]]))
    early, late = np.mean(shares[:50]), np.mean(shares[-50:])
    assert early < 0.15
    assert late == pytest.approx(0.75, abs=0.08)


def test_without_a_pool_everything_is_uniform() -> None:
    sampler = greedy(pool=0, exploit=0.8)
    walk(sampler, 50)
    assert len(sampler.pool) == 0
    assert not sampler.finished


def test_the_training_stops_when_the_pool_is_steady() -> None:
    sampler = greedy(pool=5, window=50, exploit=0.8, steps=400, tolerance=0.08)
    rng = np.random.default_rng(0)
    steps = 0
    while not sampler.finished:
        sampler.sample(rng)
        steps += 1
        assert steps < 5000
    assert steps % 50 == 0
    assert sampler.fresh is not None
    assert sampler.fresh <= 0.08


def test_it_does_not_stop_before_the_pool_is_full() -> None:
    sampler = greedy(pool=700, window=5, tolerance=1.0)
    walk(sampler, 50)
    assert sampler.fresh is None
    assert not sampler.finished


@given(st.integers(0, 60), st.integers(0, 2**32 - 1))
def test_a_restored_sampler_goes_on_alike(cut: int, seed: int) -> None:
    whole, first, second = (greedy(warm_up=3, pool=6, window=7) for _ in range(3))
    rng = np.random.default_rng(seed)
    expected = [whole.sample(rng) for _ in range(60)]
    rng = np.random.default_rng(seed)
    found = [first.sample(rng) for _ in range(cut)]
    second.restore(json.loads(json.dumps(first.state())))
    found += [second.sample(rng) for _ in range(60 - cut)]
    assert found == expected
    assert second.state() == whole.state()
    assert second.evaluations == whole.evaluations


def test_losses_that_are_not_finite_lose() -> None:
    class Broken(Sums):
        def losses(self, paths: Sequence[Architecture], rng: np.random.Generator) -> list[float]:
            return [nan if path[0] else float(sum(path)) for path in paths]

    paths = walk(greedy(Broken(), sampled=12, kept=1, exploit=0.0), 30)
    assert sum(path[0] == 0 for path in paths) > 25


def test_small_spaces_are_sampled_whole() -> None:
    scorer = Sums()
    sampler = GreedyPaths(
        SearchSpace((2, 2)), scorer, GreedySettings(warm_up=0, steps=100, pool=4, window=10)
    )
    walk(sampler, 20)
    assert all(len(set(asked)) == len(asked) <= 4 for asked in scorer.asked)


def test_theorem_1_of_the_paper() -> None:
    """At least 5 of 10 paths are good with these probabilities, and drawing agrees."""

    def probability(q: float) -> float:
        return sum(comb(10, j) * q**j * (1 - q) ** (10 - j) for j in range(5, 11))

    assert probability(0.6) == pytest.approx(0.83376, abs=1e-5)
    assert probability(0.8) == pytest.approx(0.99363, abs=1e-5)
    rng = np.random.default_rng(0)
    space = SearchSpace(
        (5,) + (4,) * 9
    )  # Good is whoever begins with one of three choices of five.
    drawn = [[space.sample(rng)[0] < 3 for _ in range(10)] for _ in range(4000)]
    assert np.mean([sum(each) >= 5 for each in drawn]) == pytest.approx(0.83376, abs=0.02)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 5)), max_size=40), st.integers(1, 6))
def test_pool_against_a_list(added: list[tuple[int, int]], size: int) -> None:
    pool = CandidatePool(size)
    kept: dict[Architecture, float] = {}
    for number, loss in added:
        pool.add((number,), loss)
        kept[number,] = loss
        if len(kept) > size:
            worst = max(kept, key=lambda path: (kept[path], path))
            del kept[worst]
    assert list(pool) == sorted(kept, key=lambda path: (kept[path], path))
    assert {path: pool.loss(path) for path in pool} == kept


def test_overlap_by_hand() -> None:
    pool = CandidatePool(4)
    for number in range(4):
        pool.add((number,), number)
    assert pool.overlap([(0,), (1,), (7,)]) == 0.5
    with pytest.raises(InputError, match="at least one path"):
        CandidatePool(3).overlap([])


@pytest.mark.parametrize(
    ("settings", "argument"),
    [
        ({"sampled": 4, "kept": 5}, "kept"),
        ({"sampled": 0}, "sampled"),
        ({"pool": -1}, "pool"),
        ({"exploit": 1.1}, "exploit"),
        ({"tolerance": nan}, "tolerance"),
        ({"warm_up": 1000}, "warm_up"),
        ({"window": 0}, "window"),
        ({"pool": 730}, "pool"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, Any], argument: str) -> None:
    with pytest.raises(InputError) as caught:
        greedy(**settings)
    assert caught.value.argument == argument
