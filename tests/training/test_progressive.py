"""Progressive training: its table against `raynas.evaluate`, its paths, and its resumption."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_training import (
    SETTINGS,
    Images,
    digits,
    few_digits,
    same,
    small_bottlenecks,
    small_supernet,
    state,
)

import raynas
from raynas.costs.table_identity import identity_text
from raynas.errors import InputError
from raynas.evaluation import Evaluation
from raynas.population.variant_scorer import VariantScorer, open_variant_scorer
from raynas.score import Score
from raynas.space import Architecture
from raynas.supernets.checkpoints import weights_digest
from raynas.supernets.cropping import crop_block
from raynas.training import (
    ProgressivePaths,
    ProgressiveSettings,
    TrainingSettings,
    train,
    train_progressively,
)
from raynas.training.progressive import part_of

TRAINING = TrainingSettings(epochs=2, batch_size=32, learning_rate=0.1, seed=3, device="cpu")
TUNING = ProgressiveSettings(block_epochs=2, block_learning_rate=0.02)
LARGEST = (3, 3, 3)
STEPS = 2
"""Of an epoch."""


def images() -> Images:
    return digits(32 * STEPS)


class Watched:
    """A scorer that keeps what it was asked and what it said, and may do something first."""

    def __init__(self, scorer: VariantScorer, first: Callable[..., None] = lambda *_: None) -> None:
        self._scorer = scorer
        self._first = first
        self.said: list[list[Score]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._scorer, name)

    def scores(self, paths: Sequence[Architecture]) -> list[Score]:
        self._first(paths)
        self.said.append(self._scorer.scores(paths))
        return self.said[-1]


def test_the_table_is_what_evaluate_says_of_every_variant_at_that_moment() -> None:
    """Scores, prefixes and suffixes, fairness, weights that move, and what sharing saves."""
    supernet, given = small_bottlenecks(), few_digits()
    expected: list[list[Score]] = []
    steps: list[tuple[Architecture, ...]] = []
    moments: list[dict[str, Any]] = []

    def evaluated(paths: Sequence[Architecture]) -> None:
        moments.append(state(supernet))
        now = copy.deepcopy(supernet).eval()
        settings = Evaluation(device="cpu")
        expected.append(raynas.evaluate(now, given, paths, evaluation=settings))

    with open_variant_scorer(supernet, given, evaluation=Evaluation(device="cpu")) as opened:
        scorer = Watched(opened, evaluated)
        paths = ProgressivePaths(supernet, scorer, TUNING)  # type: ignore[arg-type]
        sample = paths.sample

        def noted(rng: np.random.Generator) -> tuple[Architecture, ...]:
            steps.append(sample(rng))
            return steps[-1]

        paths.sample = noted  # type: ignore[method-assign]
        reports = train_progressively(supernet, images(), TRAINING, paths)
        table = paths.table()

    table.require_of(supernet)
    assert table.supernet == identity_text(supernet)
    assert [report.epoch for report in reports] == list(range(1, 9))
    assert {report.epochs for report in reports} == {8}
    rates = [report.learning_rate for report in reports]
    assert rates[2:] == [0.02] * 6, "the second stage keeps its rate"

    for mine, theirs in zip(scorer.said, expected, strict=True):
        assert [s.objectives for s in mine] == [s.objectives for s in theirs]
        assert [s.loss for s in mine] == [s.loss for s in theirs]
    assert [list(row) for row in table.accuracies] == [[s.top1 for s in row] for row in expected]

    best = list(LARGEST)
    assert steps[: 2 * STEPS] == [(LARGEST,)] * (2 * STEPS)
    for block, row in enumerate(expected):
        variants = {(*best[:block], each, *best[block + 1 :]) for each in range(4)}
        own = steps[2 * STEPS * (1 + block) : 2 * STEPS * (2 + block)]
        assert all(len(step) == 4 and set(step) == variants for step in own), "each choice once"
        assert {score.architecture for score in row} == variants
        best[block] = min(row, key=lambda s: (-s.top1, s.loss, s.architecture)).architecture[block]
    assert table.best == tuple(best)
    assert len({tuple(step) for step in steps if len(step) == 4}) > 6, "in random orders"
    moved(moments, best)

    rows = 30 + 12
    assert table.alone == 3 * 4 * 3 * rows
    # Of 4 variants of block b, 3 need not execute the b blocks before it.
    assert table.alone - table.executed == 3 * (0 + 1 + 2) * rows
    assert table.saved == pytest.approx(0.25)
    assert table.weights == weights_digest(supernet)
    assert (table.names, table.data, table.objective) == (supernet.names, "few", "top1")
    assert table.inputs == tuple(supernet.inputs.shape)
    table.require_of(supernet)


def moved(moments: list[dict[str, Any]], best: list[int]) -> None:
    """While a block is trained, all weights of its paths move, and no others."""
    for block, (before, after) in enumerate(pairwise(moments), start=1):
        changed_names = {
            name
            for name in after
            if "num_batches" not in name and not torch.equal(before[name], after[name])
        }
        on_path = {f"blocks.{place}.{c}." for place, c in enumerate([*best[:block], 3, 3, 3][:3])}
        on_path |= {f"blocks.{block}.{choice}." for choice in range(4)}
        prefixes = (*on_path, "stem.", "head.")
        assert all(name.startswith(prefixes) for name in changed_names)
        assert all(any(name.startswith(each) for name in changed_names) for each in prefixes)


def trained(
    checkpoint: Path | None = None, stop_at: int | str | None = None, **changes: Any
) -> tuple[dict[str, Any], raynas.AccuracyTable, int] | None:
    """A progressive training, ended in an epoch or while the first block is scored."""
    supernet = small_bottlenecks(changes.pop("seed", 0), first=1)

    class Killed(Exception):
        pass

    def after(report: Any) -> None:
        if report.epoch == stop_at:
            raise Killed

    def first(paths: Any) -> None:
        if stop_at == "scoring":
            raise Killed

    options = {"settings": TRAINING, "tuning": TUNING, "data": few_digits()} | changes
    evaluation = Evaluation(batch_norm="inherit", device="cpu")
    with open_variant_scorer(supernet, options["data"], evaluation=evaluation) as opened:
        scorer: Any = Watched(opened, first)
        paths = ProgressivePaths(supernet, scorer, options["tuning"])
        try:
            reports = train_progressively(
                supernet, images(), options["settings"], paths,
                checkpoint=checkpoint, observer=after,
            )  # fmt: skip
        except Killed:
            return None
        return state(supernet), paths.table(), len(reports)


def test_a_training_that_is_killed_again_and_again_ends_as_if_it_never_was(tmp_path: Path) -> None:
    """In the first stage, while choices are scored, and in a block."""
    whole = trained()
    assert whole is not None
    file = tmp_path / "checkpoint.pt"
    for stop_at in (1, "scoring", 5):
        assert trained(file, stop_at) is None
    resumed = trained(file)
    assert resumed is not None
    assert same(resumed[0], whole[0])
    assert resumed[1:] == whole[1:]
    assert {path.name for path in tmp_path.iterdir()} == {file.name}, "one checkpoint is left"
    again = trained(file)
    assert again is not None
    assert same(again[0], whole[0])
    assert again[1:] == whole[1:]

    for change in (
        {"data": few_digits(20)},
        {"tuning": ProgressiveSettings(block_epochs=1)},
    ):
        with pytest.raises(InputError, match="a training on the same terms"):
            trained(file, **change)


def test_the_checkpoint_of_a_block_of_another_training_is_not_continued(tmp_path: Path) -> None:
    """It is removed where nothing is to go on, and refused beside another's checkpoint."""
    short = {
        "settings": replace(TRAINING, epochs=1),
        "tuning": replace(TUNING, block_epochs=1),
    }
    other, mine = ({**short, "seed": seed} for seed in (1, 2))
    file, block = tmp_path / "checkpoint.pt", tmp_path / "checkpoint.pt.2"
    assert trained(file, 3, **other) is None
    stale = block.read_bytes()
    file.unlink()
    assert trained(file, 3, **mine) is None, "begins anew"

    own = block.read_bytes()
    block.write_bytes(stale)
    with pytest.raises(InputError, match="a training on the same terms") as caught:
        trained(file, **mine)
    assert "begun with" in str(caught.value)
    assert str(block) in str(caught.value)

    block.write_bytes(own)
    clean, resumed = trained(**mine), trained(file, **mine)
    assert clean is not None
    assert resumed is not None
    assert same(resumed[0], clean[0])
    assert resumed[1:] == clean[1:]


def test_the_largest_path_is_trained_as_any_training_would() -> None:
    """And the first block begins with crops of it."""
    alone, supernet = small_bottlenecks(), small_bottlenecks()
    train(alone, images(), TRAINING, paths=Largest())
    crop_block(alone, 0, 3)
    begun: list[dict[str, Any]] = []
    with open_variant_scorer(supernet, few_digits()) as scorer:
        paths = ProgressivePaths(supernet, scorer, TUNING)
        enter = paths.enter

        def noted(block: int | None) -> None:
            enter(block)
            begun.append(state(supernet))
            if block is not None:
                raise KeyboardInterrupt

        paths.enter = noted  # type: ignore[method-assign]
        with pytest.raises(KeyboardInterrupt):
            train_progressively(supernet, images(), TRAINING, paths)
    assert same(begun[1], state(alone))


class Largest(raynas.training.PathSampler):
    """The largest path, and nothing else."""

    def sample(self, rng: np.random.Generator) -> tuple[Architecture, ...]:
        rng.permutation(1)
        return (LARGEST,)


class Said:
    """Scores that are told; nothing is evaluated."""

    data, samples, objective, executed, alone = "none", "none", "top1", 0, 0

    def __init__(self, values: Sequence[float]) -> None:
        self._values = values

    def scores(self, paths: Sequence[Architecture]) -> list[Score]:
        pairs = zip(paths, self._values, strict=True)
        return [Score(path, {"top1": v}, 0.0 if v == v else nan, v == v) for path, v in pairs]

    def terms(self) -> str:
        return "said"


def told(values: Sequence[float]) -> ProgressivePaths:
    paths = ProgressivePaths(small_bottlenecks(), Said(values))
    for block in (None, 0, 1, 2):
        paths.enter(block)
        paths.leave()
    return paths


def test_scores_that_are_not_finite_are_no_accuracies() -> None:
    paths = told((0.3, nan, 0.5, 0.5))
    table = paths.table()
    assert table.accuracies == ((0.3, None, 0.5, 0.5),) * 3
    assert table.best == (2, 2, 2), "the first of equal ones"
    copied = ProgressivePaths(small_bottlenecks(), Said(()))
    copied.restore(json.loads(json.dumps(paths.state())))
    assert copied.state() == paths.state()
    assert copied.rows == paths.rows
    with pytest.raises(InputError, match="finite outputs of some choice of block 0"):
        told((nan,) * 4)


def test_what_cannot_be_trained_is_refused() -> None:
    supernet = small_bottlenecks()
    paths = ProgressivePaths(supernet, Said((0.0,) * 4))
    with pytest.raises(InputError, match=r"Train with .*train_progressively"):
        train(supernet, images(), TRAINING, paths=paths)
    with pytest.raises(InputError, match="paths: expected 3 blocks that were trained, got 0"):
        paths.table()
    with pytest.raises(InputError, match="those of the supernet that is trained"):
        train_progressively(small_bottlenecks(), images(), TRAINING, paths)
    with pytest.raises(InputError, match="paths: expected a ProgressivePaths"):
        train_progressively(supernet, images(), TRAINING, None)
    with pytest.raises(InputError, match="supernet: expected inverted bottlenecks"):
        ProgressivePaths(small_supernet(), Said(()))
    with (
        pytest.raises(InputError, match="data: expected validation samples"),
        open_variant_scorer(supernet, few_digits(0)),
    ):
        pass
    with (
        pytest.raises(InputError, match="calibration"),
        open_variant_scorer(supernet, few_digits(10, 0)),
    ):
        pass


@pytest.mark.parametrize(
    ("settings", "argument"),
    [
        ({"block_epochs": 0}, "block_epochs"),
        ({"block_learning_rate": -1.0}, "block_learning_rate"),
        ({"block_learning_rate": nan}, "block_learning_rate"),
        ({"channels": "last"}, "channels"),
        ({"block_samples": 0}, "block_samples"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, Any], argument: str) -> None:
    with pytest.raises(InputError) as caught:
        ProgressiveSettings(**settings)
    assert caught.value.argument == argument


def test_settings_of_a_block() -> None:
    """A hundredth of the rate, which stays, and batches in another order for each block."""
    first, second = (ProgressiveSettings().of_block(SETTINGS, block) for block in (1, 2))
    assert first.learning_rate == SETTINGS.learning_rate / 100
    assert [first.learning_rate_at(step, 10) for step in (0, 29)] == [first.learning_rate] * 2
    assert len({first.seed, second.seed, SETTINGS.seed}) == 3
    assert first.epochs == 3


def test_a_block_may_see_a_part_of_the_samples() -> None:
    """The first batches of a random order, another in each epoch."""
    part = part_of(digits(200), 96)
    assert len(part) == 96
    epochs = [list(part.batches(32, seed=1, epoch=epoch)) for epoch in (0, 1)]
    for epoch, batches in enumerate(epochs):
        every = list(digits(200).batches(32, seed=1, epoch=epoch))
        assert len(batches) == 3
        for mine, theirs in zip(batches, every, strict=False):
            assert all(torch.equal(a, b) for a, b in zip(mine, theirs, strict=True))
    assert not torch.equal(epochs[0][0][0], epochs[1][0][0])
    whole = digits(50)
    assert part_of(whole, 50) is part_of(whole, None) is whole

    paths = ProgressivePaths(
        small_bottlenecks(first=1),
        Said((0.0,) * 4),
        ProgressiveSettings(block_epochs=1, block_samples=32),
    )
    steps: list[tuple[int, int]] = []
    train_progressively(
        paths.supernet, images(), TRAINING, paths,
        step_observer=lambda step: steps.append((step.epoch, step.steps)),
    )  # fmt: skip
    assert steps == [(1, 2), (1, 2), (2, 2), (2, 2), (3, 1), (4, 1)]
