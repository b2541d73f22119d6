"""Which samples are kept, with which weights, and what the weighted sums estimate."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from raynas.evaluation.importance import inclusion_probabilities, select_samples

LOSSES = arrays.arrays(np.float32, st.integers(1, 60), elements=st.floats(0.0, 1e4, width=32))
WILD = arrays.arrays(
    np.float32,
    st.integers(1, 60),
    elements=st.one_of(
        st.floats(0.0, width=32, allow_infinity=True),
        st.sampled_from([0.0, 1.0, np.inf, np.nan]),
    ),
)
PERCENT = st.integers(1, 100)
SEEDS = st.integers(0, 2**32 - 1)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def expected_size(percent: int, samples: int) -> int:
    return -(-percent * samples // 100)


@given(LOSSES, PERCENT)
@example(np.ones(100, np.float32), 55)
def test_top_keeps_the_largest_losses_first_of_equals(losses, percent):
    rows, weights = select_samples(losses, percent / 100, "top", rng())
    ranked = sorted(range(len(losses)), key=lambda i: (-losses[i], i))
    assert rows.tolist() == sorted(ranked[: expected_size(percent, len(losses))])
    assert weights.tolist() == [1.0] * len(rows)


@given(WILD, PERCENT, st.sampled_from(["top", "weighted"]), SEEDS)
def test_any_losses_give_distinct_ascending_rows_of_the_asked_number(losses, percent, mode, seed):
    rows, weights = select_samples(losses, percent / 100, mode, rng(seed))
    assert len(rows) == len(weights) == expected_size(percent, len(losses))
    assert (np.diff(rows) > 0).all()
    assert ((rows >= 0) & (rows < len(losses))).all()
    assert np.isfinite(weights).all()
    assert (weights >= 1.0).all()


@given(LOSSES, PERCENT, SEEDS)
def test_weights_are_inverse_inclusion_probabilities(losses, percent, seed):
    kept = expected_size(percent, len(losses))
    inclusion = inclusion_probabilities(losses.astype(np.float64), kept)
    assert inclusion.sum() == pytest.approx(kept)
    assert ((inclusion > 0.0) & (inclusion <= 1.0)).all()
    rows, weights = select_samples(losses, percent / 100, "weighted", rng(seed))
    np.testing.assert_allclose(weights, 1.0 / inclusion[rows])
    assert set(np.flatnonzero(inclusion == 1.0)) <= set(rows)


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
        counts[select_samples(losses, 0.3, "weighted", rng(seed))[0]] += 1
    deviation = np.abs(counts / draws - inclusion)
    assert (deviation <= 5 * np.sqrt(inclusion * (1 - inclusion) / draws) + 1e-3).all()


def test_weighted_sums_estimate_the_sums_over_all_samples():
    losses = rng(2).exponential(1.0, 50)
    quantity = rng(3).random(50) < 1 / (1 + losses)
    estimates = []
    for seed in range(4000):
        rows, weights = select_samples(losses, 0.4, "weighted", rng(seed))
        estimates.append((weights * quantity[rows]).sum())
    error = np.std(estimates) / np.sqrt(len(estimates))
    assert np.mean(estimates) == pytest.approx(quantity.sum(), abs=4 * error)
    assert np.std(estimates) > 0.0


def test_a_generator_determines_the_rows_and_another_draws_others():
    losses = rng(4).exponential(1.0, 200)
    first = select_samples(losses, 0.2, "weighted", rng(5))
    again = select_samples(losses, 0.2, "weighted", rng(5))
    other = select_samples(losses, 0.2, "weighted", rng(6))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])


@pytest.mark.parametrize("value", [0.0, 2.5, np.nan, np.inf])
def test_equal_losses_are_drawn_equally(value):
    losses = np.full(20, value)
    rows, weights = select_samples(losses, 0.25, "weighted", rng())
    assert weights == pytest.approx(4.0)
    assert np.diff(rows).tolist() == [4] * 4
    assert select_samples(losses, 0.25, "top", rng())[0].tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("mode", ["top", "weighted"])
def test_losses_that_are_not_finite_count_as_the_largest(mode):
    losses = np.array([0.1, np.nan, 0.2, 5.0, np.inf, 0.1])
    assert {1, 3, 4} <= set(select_samples(losses, 0.5, mode, rng())[0])
    broken = np.array([0.1, np.nan, 0.2, 0.3, np.inf, 0.3])
    capped = np.where(np.isfinite(broken), broken, 0.3)
    for given_losses in (broken, capped):
        rows, weights = select_samples(given_losses, 0.5, mode, rng(1))
        expected = select_samples(capped, 0.5, mode, rng(1))
        assert rows.tolist() == expected[0].tolist()
        assert weights.tolist() == expected[1].tolist()


@pytest.mark.parametrize("mode", ["top", "weighted"])
def test_the_full_rate_keeps_everything_unweighted(mode):
    rows, weights = select_samples(rng(0).exponential(1.0, 30), 1.0, mode, rng(1))
    assert rows.tolist() == list(range(30))
    assert weights == pytest.approx(1.0)
