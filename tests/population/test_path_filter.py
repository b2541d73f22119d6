"""Losses of paths while a supernet is trained, against the supernet's own forward."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from random_chains import Scene, build_scene, random_shards
from torch import Tensor, nn

from raynas import PerSample
from raynas.data import ArrayImages
from raynas.errors import InputError
from raynas.evaluation import Evaluation
from raynas.population.evaluated import Splits
from raynas.population.evaluator import PopulationEvaluator
from raynas.population.path_filter import PathFilter, groups, open_path_filter
from raynas.shards.shard import make_shards
from raynas.space import Architecture
from raynas.supernets import ChainSupernet, Normalize, spos_8x8
from raynas.training import GreedyPaths, GreedySettings, TrainingSettings, train
from raynas.workers.pool import LocalPool
from raynas.workers.training_pool import TrainingPool

SETTINGS = Evaluation(batch_norm="inherit", device="cpu")
TRAINING = TrainingSettings(epochs=2, batch_size=16, learning_rate=0.1, seed=3, device="cpu")


def plain_losses(
    supernet: ChainSupernet, shards: list[Any], paths: list[Architecture]
) -> list[float]:
    """The mean loss of each path by a plain loop."""
    found = []
    training = supernet.training
    supernet.eval()
    with torch.no_grad():
        for path in paths:
            losses = [
                F.cross_entropy(
                    supernet(torch.tensor(s.features), path),
                    torch.tensor(s.targets),
                    reduction="none",
                )
                for s in shards
            ]
            found.append(float(torch.cat(losses).mean()))
    supernet.train(training)
    return found


def scene(seed: int = 2) -> Scene:
    return build_scene(seed)


def shake(supernet: ChainSupernet, seed: int) -> None:
    """Change weights and statistics in place, as training does."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in supernet.state_dict().items():
            if tensor.is_floating_point():
                noise = torch.rand(tensor.shape, generator=generator) * 0.2
                tensor.add_(noise if name.endswith("running_var") else noise - 0.1)


@pytest.mark.parametrize(
    ("seed", "workers"), [(2, 0), (3, 0), (5, 0), pytest.param(2, 2, marks=pytest.mark.ray)]
)
def test_losses_follow_the_weights(seed: int, workers: int, request: pytest.FixtureRequest) -> None:
    if workers:
        request.getfixturevalue("ray_cluster")
    given = scene(seed)
    paths = given.candidates(6)
    rng = np.random.default_rng(0)
    with open_path_filter(
        given.supernet, given.validation, workers=workers, evaluation=SETTINGS, samples=10**6
    ) as scorer:
        for step in range(3):
            found = scorer.losses(paths, rng)
            expected = plain_losses(given.supernet, list(given.validation), paths)
            np.testing.assert_allclose(found, expected, rtol=2e-5)
            shake(given.supernet, step)


class Remembers(nn.Module):
    """Divides by what training measures, in buffers that no checkpoint has."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.register_buffer("rms", torch.ones(()), persistent=False)
        self.register_buffer("seen", None, persistent=False)
        self.register_buffer("first", torch.ones(3), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        if self.training:
            self.rms.mul_(0.5).add_(0.5 * y.detach().square().mean().sqrt())
            self.seen = self.rms.clone().expand(2)
            self.first = None
        scale = self.rms if self.seen is None else self.seen.sum()
        return y / scale + (0.0 if self.first is None else self.first.sum())


def test_losses_follow_buffers_that_are_not_persistent() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        stem = nn.Sequential(Normalize((0.5,) * 3, (0.3,) * 3), nn.Conv2d(3, 4, 3, padding=1))
        head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
        supernet = ChainSupernet(
            stem, [[Remembers(), nn.Identity()]], head, image_shape=(3, 6, 6), num_classes=3
        ).eval()
    shards = random_shards(supernet, "validation", 12, 6, seed=0)
    paths: list[Architecture] = [(0,), (1,)]
    with open_path_filter(supernet, shards, evaluation=SETTINGS) as scorer:
        for _ in range(2):
            found = scorer.losses(paths, np.random.default_rng(0))
            np.testing.assert_allclose(found, plain_losses(supernet, shards, paths), rtol=2e-5)
            supernet.train()(torch.tensor(shards[0].features), (0,))
            supernet.eval()


def test_the_bits_are_those_of_a_new_evaluator() -> None:
    """Whatever weights a replica had before, nothing of them is left."""
    given = scene(3)
    paths = given.candidates(5)
    pool = TrainingPool(LocalPool(given.supernet, SETTINGS))
    scorer = PathFilter(given.supernet, pool, given.validation, SETTINGS, 10**6)
    for step in range(3):
        found = scorer.losses(paths, np.random.default_rng(0))
        fresh = PopulationEvaluator(
            LocalPool(given.supernet, SETTINGS), Splits((), given.validation), SETTINGS, 0
        )
        assert found == [score.loss for score in fresh.score(paths)]
        shake(given.supernet, step)


def test_recalibrated_scores_follow_the_weights_too() -> None:
    given = scene(2)
    settings = Evaluation(device="cpu")
    pool = TrainingPool(LocalPool(given.supernet, settings))
    splits = Splits(given.calibration, given.validation)
    evaluator = PopulationEvaluator(pool, splits, settings, 0)
    paths = given.candidates(5)
    for step in range(2):
        pool.take(given.supernet)
        fresh = PopulationEvaluator(LocalPool(given.supernet, settings), splits, settings, 0)
        assert evaluator.score_again(paths) == fresh.score(paths)
        shake(given.supernet, step)
    assert pool.busy.keys() == {"calibrate", "score"}, "by what takes the time"
    assert pool.read_meters() == []


def test_prefixes_are_shared() -> None:
    """Paths that differ in the last block only run the others once."""
    supernet = spos_8x8()
    shards = random_shards(supernet, "validation", 12, 6, seed=0)
    paths = [(0,) * 7 + (choice,) for choice in range(4)]
    with open_path_filter(supernet, shards, evaluation=SETTINGS) as scorer:
        scorer.losses(paths, np.random.default_rng(0))
        assert scorer.block_forwards == 12 * (7 + 4)


def test_a_round_takes_one_group_at_random() -> None:
    given = scene(2)
    shards = random_shards(given.supernet, "validation", 12, 4, seed=1)
    paths = given.candidates(3)
    alone = [plain_losses(given.supernet, [shard], paths) for shard in shards]
    with open_path_filter(given.supernet, shards, evaluation=SETTINGS, samples=1) as scorer:
        rng = np.random.default_rng(1)
        rounds = [scorer.losses(paths, rng) for _ in range(12)]
    met = {
        index
        for found in rounds
        for index, each in enumerate(alone)
        if np.allclose(found, each, rtol=2e-5)
    }
    assert len(met) > 1
    assert all(any(np.allclose(found, each, rtol=2e-5) for each in alone) for found in rounds)


def test_groups_hold_enough_samples_each() -> None:
    supernet = spos_8x8()
    shards = random_shards(supernet, "validation", 23, 4, seed=0)
    rows = [[shard.rows for shard in group] for group in groups(shards, 8)]
    assert rows == [[4, 4], [4, 4]]
    assert [len(group) for group in groups(shards, 100)] == [6]
    with pytest.raises(InputError, match="validation"):
        groups([], 8)
    with pytest.raises(InputError, match="samples"):
        groups(shards, 0)


def test_samples_that_do_not_fit_are_refused() -> None:
    supernet = spos_8x8()
    (shard,) = random_shards(supernet, "validation", 6, 6, seed=0)
    images, labels = shard.features, shard.labels
    for given, found, split, message in (
        ((images / 255).astype(np.float32), labels, "validation", "validation images: .*uint8"),
        (images[..., 1:], labels, "validation", "validation images: expected shape"),
        (images, labels + 9, "validation", "validation labels: expected 0 to 9"),
        (images, labels, "test", "validation: expected shards of the validation split"),
    ):
        shards = make_shards(given, found, split=split, shard_size=3)
        with (
            pytest.raises(InputError, match=message),
            open_path_filter(supernet, shards, evaluation=SETTINGS),
        ):
            pass


def test_other_statistics_are_refused() -> None:
    given = scene(2)
    with (
        pytest.raises(InputError, match="inherit"),
        open_path_filter(given.supernet, given.validation, evaluation=Evaluation()),
    ):
        pass


def digits_like(supernet: ChainSupernet) -> ArrayImages:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, 96)
    images = (rng.integers(0, 60, (96, 1, 8, 8)) + 19 * labels[:, None, None, None]).astype("uint8")
    return ArrayImages(images, labels)


def greedy_training(
    checkpoint: Path | None = None, stop_after: int = 9, samples: int = 24
) -> tuple[Any, Any]:
    """A greedy training, interrupted after some epochs; its weights and its pool."""
    torch.manual_seed(0)
    supernet = spos_8x8(stages=((16, 2, 1), (24, 1, 2)), head_channels=16)
    shards = random_shards(supernet, "validation", samples, 12, seed=0)
    settings = GreedySettings(
        sampled=6, kept=3, pool=8, warm_up=2, steps=12, window=4, tolerance=None
    )

    class Stopped(Exception):
        pass

    def observe(report: Any) -> None:
        if report.epoch == stop_after:
            raise Stopped

    with open_path_filter(supernet, shards, evaluation=SETTINGS) as scorer:
        paths = GreedyPaths(supernet.space, scorer, settings)
        try:
            train(
                supernet, digits_like(supernet), TRAINING, paths=paths, checkpoint=checkpoint,
                observer=observe,
            )  # fmt: skip
        except Stopped:
            return None, None
    return supernet.state_dict(), paths.state()


def test_a_killed_greedy_training_resumes_to_the_same_pool_and_weights(tmp_path: Path) -> None:
    weights, learned = greedy_training()
    file = tmp_path / "checkpoint.pt"
    assert greedy_training(file, stop_after=1) == (None, None)
    resumed, relearned = greedy_training(file)
    assert json.dumps(relearned) == json.dumps(learned)
    assert learned["evaluations"] > 0
    assert weights.keys() == resumed.keys()
    assert all(torch.equal(weights[name], resumed[name]) for name in weights)


def test_a_training_ends_when_its_sampler_has_finished() -> None:
    supernet = spos_8x8(stages=((16, 1, 1), (24, 1, 2)), head_channels=16)
    shards = random_shards(supernet, "validation", 24, 12, seed=0)
    settings = GreedySettings(
        sampled=6, kept=3, pool=3, warm_up=0, steps=12, window=3, tolerance=1.0
    )
    with open_path_filter(supernet, shards, evaluation=SETTINGS) as scorer:
        paths = GreedyPaths(supernet.space, scorer, settings)
        reports = train(supernet, digits_like(supernet), TRAINING, paths=paths)
    assert paths.finished
    assert len(reports) == 1 < TRAINING.epochs


def by_margin(outputs: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    losses = F.multi_margin_loss(outputs, targets, reduction="none")
    return -losses, losses


def test_terms_tell_filters_apart() -> None:
    given = scene(2)
    shards = random_shards(given.supernet, "validation", 12, 4, seed=1)

    def terms(validation: Any = shards, **changes: Any) -> str:
        options = {"evaluation": SETTINGS, "samples": 8} | changes
        with open_path_filter(given.supernet, validation, **options) as scorer:
            return GreedyPaths(given.supernet.space, scorer, GreedySettings(pool=0)).terms()

    usual = terms()
    assert terms(evaluation=replace(SETTINGS, threads=2, prefix_sharing=False)) == usual
    shake(given.supernet, 0)
    assert terms() == usual
    others = [
        terms(shards[1:]),
        terms(random_shards(given.supernet, "validation", 12, 4, seed=2)),
        terms(samples=4),
        terms(task=PerSample(by_margin)),
        terms(evaluation=replace(SETTINGS, fold_batch_norm=True)),
    ]
    assert len({usual, *others}) == 1 + len(others)


def test_a_scorer_without_terms_is_named() -> None:
    with pytest.raises(InputError, match="scorer"):
        GreedyPaths(scene(2).supernet.space, object())  # type: ignore[arg-type]


def test_a_greedy_training_is_not_resumed_with_another_filter(tmp_path: Path) -> None:
    file = tmp_path / "checkpoint.pt"
    assert greedy_training(file, stop_after=1) == (None, None)
    with pytest.raises(InputError, match="paths 'GreedyPaths"):
        greedy_training(file, samples=36)
