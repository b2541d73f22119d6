"""PONAS in benchmarks: the networks of its Table 3, and what its training costs."""

from __future__ import annotations

import pytest
from common.progressive import Stages
from specialization import worst_paths

import raynas


def test_blocks_are_mended_by_how_much_they_matter() -> None:
    table = raynas.AccuracyTable(
        names=(("a", "b"),) * 4,
        accuracies=((0.9, 0.5), (0.7, 0.8), (0.6, 0.9), (0.9, 0.85)),
        best=(0, 1, 1, 0),
        weights="",
    )
    assert worst_paths(table) == {
        "worst": (1, 0, 0, 1),
        # The last block loses 5 points at most, the second one 10, the first one 40.
        "worst + least important": (1, 1, 0, 0),
        "worst + most important": (0, 0, 0, 1),
    }


@pytest.mark.parametrize("epochs", [2, 4, 12])
def test_a_progressive_training_costs_what_it_may(epochs: int) -> None:
    batch, images, choices = 64, 49_984, (6,) * 12
    stages = Stages(epochs * images, images, 1_000, 1 / 3.33, choices)
    samples = stages.block_samples(batch)
    cost = stages.largest * images + sum(choices) * samples + stages.compared_cost
    assert samples % batch == 0
    assert cost <= stages.budget
    assert cost + sum(choices) * batch > stages.budget
    assert stages.largest == epochs // 2
