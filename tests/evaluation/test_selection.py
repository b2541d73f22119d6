"""Which samples are kept, with which weights, and what the weighted sums estimate."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from plain_scoring import classified

from raynas.evaluation.selection import (
    inclusion_probabilities,
    select_random,
    select_samples,
    select_top,
    select_weighted,
)

LOSSES = arrays.arrays(np.float32, st.integers(1, 60), elements=st.floats(0.0, 1e4, width=32))
WILD = arrays.arrays(
    np.float32,
    st.integers(1, 60),
    elements=st.one_of(
        st.floats(0.0, width=32, allow_infinity=True),
        st.sampled_from([0.0, 1.0, np.inf, np.nan]),
    ),
)
MODES = ("top", "weighted", "disagreement", "random")
PERCENT = st.integers(1, 100)
SEEDS = st.integers(0, 2**32 - 1)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def select(mode: str, losses: np.ndarray, percent: int, seed: int):
    """A selection from the scores of one subnet."""
    bits = np.zeros((1, len(losses)), bool)
    finite = np.isfinite(losses).all(keepdims=True)
    scored = classified(bits, bits, losses[None], finite)
    return select_samples([scored], mode, percent / 100, rng(seed))


def expected_size(percent: int, samples: int) -> int:
    return -(-percent * samples // 100)


@given(LOSSES, PERCENT)
@example(np.ones(100, np.float32), 55)
def test_top_keeps_the_largest_losses_first_of_equals(losses, percent):
    kept = select_top(losses, percent / 100)
    ranked = sorted(range(len(losses)), key=lambda i: (-losses[i], i))
    assert kept.rows.tolist() == sorted(ranked[: expected_size(percent, len(losses))])
    assert kept.weights.tolist() == [1.0] * len(kept.rows)


@given(WILD, PERCENT, st.sampled_from(MODES), SEEDS)
def test_any_losses_give_distinct_ascending_rows_of_the_asked_number(losses, percent, mode, seed):
    kept = select(mode, losses, percent, seed)
    assert len(kept.rows) == len(kept.weights) == expected_size(percent, len(losses))
    assert (np.diff(kept.rows) > 0).all()
    assert ((kept.rows >= 0) & (kept.rows < len(losses))).all()
    assert np.isfinite(kept.weights).all()
    assert (kept.weights >= 1.0).all()
    assert np.isfinite([*kept.dropped.values.values(), kept.dropped.loss]).all()


@given(LOSSES, PERCENT, SEEDS)
def test_weights_are_inverse_inclusion_probabilities(losses, percent, seed):
    kept = expected_size(percent, len(losses))
    inclusion = inclusion_probabilities(losses.astype(np.float64), kept)
    assert inclusion.sum() == pytest.approx(kept)
    assert ((inclusion > 0.0) & (inclusion <= 1.0)).all()
    drawn = select_weighted(losses, percent / 100, rng(seed))
    np.testing.assert_allclose(drawn.weights, 1.0 / inclusion[drawn.rows])
    assert set(np.flatnonzero(inclusion == 1.0)) <= set(drawn.rows)


@given(LOSSES, PERCENT)
def test_probabilities_below_one_are_proportional_to_loss(losses, percent):
    known = losses.astype(np.float64)
    inclusion = inclusion_probabilities(known, expected_size(percent, len(known)))
    free = (inclusion < 1.0) & (known > 0.01 * known.mean())
    ratios = inclusion[free] / known[free]
    assert ratios.size == 0 or ratios.max() <= ratios.min() * 1.001
    largest = np.argsort(-known, kind="stable")
    assert (np.diff(inclusion[largest]) <= 1e-12).all()


def test_every_sample_is_drawn_with_its_probability():
    losses = rng(1).exponential(1.0, 40)
    losses[3] = 0.0
    inclusion = inclusion_probabilities(losses, 12)
    draws = 4000
    counts = np.zeros(40)
    for seed in range(draws):
        counts[select_weighted(losses, 0.3, rng(seed)).rows] += 1
    deviation = np.abs(counts / draws - inclusion)
    assert (deviation <= 5 * np.sqrt(inclusion * (1 - inclusion) / draws) + 1e-3).all()


def test_weighted_sums_estimate_the_sums_over_all_samples():
    losses = rng(2).exponential(1.0, 50)
    quantity = rng(3).random(50) < 1 / (1 + losses)
    estimates = []
    for seed in range(4000):
        drawn = select_weighted(losses, 0.4, rng(seed))
        estimates.append((drawn.weights * quantity[drawn.rows]).sum())
    error = np.std(estimates) / np.sqrt(len(estimates))
    assert np.mean(estimates) == pytest.approx(quantity.sum(), abs=4 * error)
    assert np.std(estimates) > 0.0


@pytest.mark.parametrize("mode", ["weighted", "random"])
def test_a_generator_determines_the_rows_and_another_draws_others(mode):
    losses = rng(4).exponential(1.0, 200)
    first, again, other = (select(mode, losses, 20, seed) for seed in (5, 5, 6))
    assert np.array_equal(first.rows, again.rows)
    assert np.array_equal(first.weights, again.weights)
    assert not np.array_equal(first.rows, other.rows)


@pytest.mark.parametrize("value", [0.0, 2.5, np.nan, np.inf])
def test_equal_losses_are_drawn_equally(value):
    losses = np.full(20, value)
    drawn = select_weighted(losses, 0.25, rng())
    assert drawn.weights == pytest.approx(4.0)
    assert np.diff(drawn.rows).tolist() == [4] * 4
    assert select_top(losses, 0.25).rows.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("mode", ["top", "weighted"])
def test_losses_that_are_not_finite_count_as_the_largest(mode):
    losses = np.array([0.1, np.nan, 0.2, 5.0, np.inf, 0.1])
    assert {1, 3, 4} <= set(select(mode, losses, 50, 0).rows)
    broken = np.array([0.1, np.nan, 0.2, 0.3, np.inf, 0.3])
    capped = np.where(np.isfinite(broken), broken, 0.3)
    found, expected = select(mode, broken, 50, 1), select(mode, capped, 50, 1)
    assert found.rows.tolist() == expected.rows.tolist()
    assert found.weights.tolist() == expected.weights.tolist()
    assert found.dropped == expected.dropped


@pytest.mark.parametrize("mode", MODES)
def test_the_full_rate_keeps_everything_unweighted(mode):
    kept = select(mode, rng(0).exponential(1.0, 30), 100, 1)
    assert kept.rows.tolist() == list(range(30))
    assert kept.weights == pytest.approx(1.0)
    assert (kept.dropped.samples, kept.dropped.loss) == (0, 0.0)
    assert not any(kept.dropped.values.values())


def test_every_sample_is_drawn_uniformly():
    counts = np.zeros(30)
    for seed in range(3000):
        counts[select_random(30, 0.2, rng(seed)).rows] += 1
    assert np.abs(counts / 3000 - 0.2).max() <= 5 * np.sqrt(0.2 * 0.8 / 3000)
