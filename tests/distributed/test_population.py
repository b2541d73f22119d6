"""`PopulationEvaluator`: what it executes, keeps apart, leaves alone and makes again."""

from __future__ import annotations

import copy
import gc
import weakref
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_scoring import calibrated_copy, score_plainly
from random_chains import CLASSES, Scene, build_scene, random_shards, scenes
from torch import Tensor, nn

from raynas.data.shard import Shard
from raynas.distributed.pool import Call, LocalPool, LostObjectError
from raynas.distributed.population import RECOVERIES, PopulationEvaluator
from raynas.errors import InputError
from raynas.evaluation import Evaluation, batchnorm
from raynas.evaluation.importance import select_samples
from raynas.space import Architecture
from raynas.supernets import ChainSupernet, Normalize, digest, spos
from raynas.supernets.chain import batch_norms

SEED = 11


def small_spos() -> Scene:
    """Four blocks of four choices, no module of which is used twice."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        supernet = spos(
            CLASSES, image_size=12, stem_channels=4, stages=((8, 2, 1), (16, 2, 2)),
            head_channels=24,
        ).eval()  # fmt: skip
    calibration = random_shards(supernet, "calibration", 12, 4, seed=1)
    return Scene(supernet, calibration, random_shards(supernet, "validation", 40, 9, seed=2), 3)


def open_evaluator(scene: Scene, pool: Any = None, **options: Any) -> PopulationEvaluator:
    protocol = Evaluation(device="cpu", **options)
    return PopulationEvaluator(
        pool or LocalPool(scene.supernet, protocol),
        scene.calibration,
        scene.validation,
        protocol,
        SEED,
    )


def rows(shards: Sequence[Shard]) -> int:
    return sum(shard.rows for shard in shards)


def count_calls(supernet: ChainSupernet) -> Counter[Any]:
    """Counts forwards of `"stem"`, `(block, choice)` and `"head"` from now on."""
    counts: Counter[Any] = Counter()

    def watch(name: Any, module: nn.Module) -> None:
        module.register_forward_hook(lambda *_: counts.update([name]))

    watch("stem", supernet.stem)
    watch("head", supernet.head)
    for block, choices in enumerate(supernet.blocks):
        for index, choice in enumerate(choices):
            watch((block, index), choice)
    return counts


@pytest.mark.parametrize("sharing", [True, False])
@pytest.mark.parametrize("batch_norm", ["recalibrate", "inherit"])
@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_nothing_below_the_prefix_is_executed_after_the_freeze(depth, batch_norm, sharing):
    scene = small_spos()
    prefix = scene.candidates(1)[0][:depth]
    protocol = Evaluation(batch_norm=batch_norm, prefix_sharing=sharing, device="cpu")
    pool = LocalPool(scene.supernet, protocol)
    counts = count_calls(pool.evaluator.supernet)
    evaluator = open_evaluator(scene, pool, batch_norm=batch_norm, prefix_sharing=sharing)
    shards = scene.validation + (scene.calibration if batch_norm == "recalibrate" else [])

    evaluator.freeze(prefix, scene.candidates(1, prefix)[0])
    assert counts == {
        "stem": len(shards),
        **{(block, choice): len(shards) for block, choice in enumerate(prefix)},
    }
    assert evaluator.block_forwards == depth * rows(shards)

    counts.clear()
    before = evaluator.block_forwards
    population = scene.candidates(6, prefix)
    evaluator.score(population)
    chains = [a[: k + 1] for a in population for k in range(depth, len(a))]
    nodes = set(chains) if sharing else chains
    heads = set(population) if sharing else population
    executed = Counter((len(path) - 1, path[-1]) for path in nodes)
    assert counts == {
        "head": len(heads) * len(shards),
        **{name: count * len(shards) for name, count in executed.items()},
    }
    assert evaluator.block_forwards - before == len(nodes) * rows(shards)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(scenes, st.booleans(), st.data())
def test_counted_forwards_are_those_of_a_naive_count(scene: Scene, sharing, data):
    trunk = scene.candidates(1)[0]
    depth = data.draw(st.integers(0, len(trunk)))
    evaluator = open_evaluator(scene, prefix_sharing=sharing)
    if depth:
        evaluator.freeze(trunk[:depth], trunk)
    images = rows(scene.calibration) + rows(scene.validation)
    assert evaluator.block_forwards == depth * images
    population = scene.candidates(5, trunk[:depth])
    evaluator.score(population)
    chains = [a[: k + 1] for a in population for k in range(depth, len(a))]
    executed = len(set(chains) if sharing else chains)
    assert evaluator.block_forwards == (depth + executed) * images


class Poison(nn.Module):
    """A choice whose output is not finite."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, x: Tensor) -> Tensor:
        return x * self.value


def poisoned(value: float) -> Scene:
    """Three blocks; the last choice of the first two is poison."""

    def conv(kernel: int) -> nn.Module:
        return nn.Sequential(nn.Conv2d(4, 4, kernel, padding=kernel // 2), nn.BatchNorm2d(4))

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        stem = nn.Sequential(Normalize((0.5,), (0.2,)), nn.Conv2d(1, 4, 3))
        head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, CLASSES))
        blocks = [[conv(1), conv(3), Poison(value)] for _ in range(2)] + [[conv(1), conv(3)]]
        supernet = ChainSupernet(
            stem, blocks, head, image_shape=(1, 6, 6), num_classes=CLASSES
        ).eval()
    calibration = random_shards(supernet, "calibration", 9, 5, seed=1)
    return Scene(supernet, calibration, random_shards(supernet, "validation", 13, 5, seed=2), 0)


@pytest.mark.parametrize("sharing", [True, False])
@pytest.mark.parametrize("batch_norm", ["recalibrate", "inherit"])
@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_candidates_that_are_not_finite_are_marked_and_change_no_other(value, batch_norm, sharing):
    scene = poisoned(value)
    everyone = list(scene.supernet.space.enumerate())
    clean = [a for a in everyone if 2 not in a]
    options = {"batch_norm": batch_norm, "prefix_sharing": sharing}
    alone = open_evaluator(scene, **options).score(clean)
    together = {s.architecture: s for s in open_evaluator(scene, **options).score(everyone)}
    assert [together[a] for a in clean] == alone
    assert all(score.finite for score in alone)
    for architecture in set(everyone) - set(clean):
        assert not together[architecture].finite
        assert together[architecture].loss == float("inf")
        assert 0.0 <= together[architecture].top1 <= 1.0


@pytest.mark.parametrize("bits", [32, 16])
def test_poison_in_a_frozen_prefix_is_still_noticed(bits):
    scene = poisoned(float("inf"))
    evaluator = open_evaluator(scene, bits=bits)
    evaluator.freeze((2,), (2, 0, 0))
    assert [score.finite for score in evaluator.score([(2, 0, 0), (2, 1, 1)])] == [False, False]


@settings(max_examples=15, deadline=None, derandomize=True)
@given(scenes, st.randoms(use_true_random=False))
def test_scores_depend_neither_on_the_order_nor_on_the_company(scene: Scene, random):
    population = scene.candidates(6)
    evaluator = open_evaluator(scene)
    known = {score.architecture: score for score in evaluator.score(population)}
    shuffled = random.sample(population, len(population))
    assert evaluator.score(shuffled) == [known[a] for a in shuffled]
    assert [evaluator.score([a])[0] for a in population] == [known[a] for a in population]


def test_the_users_supernet_is_left_as_it_was():
    scene = build_scene(7)
    supernet = scene.supernet
    supernet.train()
    marks = copy.deepcopy({name: vars(m).get("momentum") for name, m in supernet.named_modules()})
    tensors = {name: (t.data_ptr(), t.stride()) for name, t in supernet.state_dict().items()}
    before = digest(supernet)
    trunk = scene.candidates(1)[0]
    evaluator = open_evaluator(scene, sample_rate=0.5, bits=16)
    evaluator.score(scene.candidates(3))
    evaluator.freeze(trunk[:1], trunk)
    evaluator.score(scene.candidates(3, trunk[:1]))
    evaluator.score_in_full([trunk])
    evaluator.test(trunk, scene.validation)
    assert digest(supernet) == before
    assert all(module.training for module in supernet.modules())
    assert {n: vars(m).get("momentum") for n, m in supernet.named_modules()} == marks
    after = {name: (t.data_ptr(), t.stride()) for name, t in supernet.state_dict().items()}
    assert after == tensors


@pytest.mark.parametrize("mode", ["top", "weighted"])
@settings(max_examples=10, deadline=None, derandomize=True)
@given(scene=scenes, percent=st.integers(20, 90))
def test_after_the_first_freeze_scores_are_those_of_the_selected_samples(mode, scene, percent):
    trunk = scene.candidates(1)[0]
    evaluator = open_evaluator(scene, sample_rate=percent / 100, sampling=mode)
    plain = {
        a: score_plainly(scene.supernet, a, scene.calibration, scene.validation)
        for a in {trunk, *scene.candidates(4, trunk[:1])}
    }
    whole = {score.architecture: score for score in evaluator.score(list(plain))}
    kept, weights = select_samples(
        plain[trunk].losses, percent / 100, mode, np.random.default_rng([SEED, 0])
    )
    for depth in sorted({1, len(trunk)}):
        evaluator.freeze(trunk[:depth], trunk)
        assert evaluator.samples == len(kept)
        behind = [a for a in plain if a[:depth] == trunk[:depth]]
        for score in evaluator.score(behind):
            expected = plain[score.architecture]
            assert score.correct == expected.correct[kept].sum()
            assert score.samples == len(kept)
            for found, values in (
                (score.top1, expected.correct),
                (score.top5, expected.correct_top5),
                (score.loss, expected.losses),
            ):
                assert found == pytest.approx(np.average(values[kept], weights=weights), abs=1e-5)
    assert evaluator.score_in_full(list(plain)) == [whole[a] for a in plain]


def test_16_bits_stay_close_to_32_after_advancing_twice():
    scene = small_spos()
    trunk = scene.candidates(1)[0]
    population = scene.candidates(5, trunk[:2])
    losses = {}
    for bits in (32, 16):
        evaluator = open_evaluator(scene, bits=bits)
        evaluator.freeze(trunk[:1], trunk)
        evaluator.freeze(trunk[:2], trunk)
        losses[bits] = np.array([score.loss for score in evaluator.score(population)])
        full = evaluator.score_in_full(population)
        assert [s.loss for s in full] == open_losses(scene, population)
    assert losses[16] == pytest.approx(losses[32], rel=1e-3)
    assert (losses[16] != losses[32]).all()
    assert np.ptp(losses[32]) > 10 * np.abs(losses[16] - losses[32]).max()


def open_losses(scene: Scene, population: Sequence[Architecture]) -> list[float]:
    return [score.loss for score in open_evaluator(scene).score(population)]


class WatchedPool(LocalPool):
    """Notes the shards that it was told to keep, without keeping them."""

    def __init__(self, scene: Scene) -> None:
        super().__init__(scene.supernet, Evaluation(device="cpu"))
        self.kept: list[weakref.ref[Shard]] = []

    def run(self, method: str, calls: Sequence[Call], *, keep: bool = False) -> list[Any]:
        results = super().run(method, calls, keep=keep)
        if keep:
            self.kept += [weakref.ref(shard) for shard, _ in results]
        return results


def test_shards_of_an_earlier_prefix_are_not_kept():
    scene = small_spos()
    trunk = scene.candidates(1)[0]
    pool = WatchedPool(scene)
    evaluator = open_evaluator(scene, pool)
    for depth in (1, 2, 4):
        evaluator.freeze(trunk[:depth], trunk)
        evaluator.score(scene.candidates(2, trunk[:depth]))
        gc.collect()
        alive = [shard.prefix for ref in pool.kept if (shard := ref()) is not None]
        assert alive == [trunk[:depth]] * (len(scene.calibration) + len(scene.validation))


@dataclass(frozen=True)
class Handle:
    """Stands for a value in a store."""

    number: int


class ForgetfulPool:
    """A pool with a store: what workers kept can go away, as with a lost node."""

    workers, gpus = 0, 0

    def __init__(self, scene: Scene, **options: Any) -> None:
        self.local = LocalPool(scene.supernet, Evaluation(device="cpu", **options))
        self.store: list[Any] = []
        self.kept: list[Handle] = []
        self.losses: list[int] = []
        self.runs = 0

    def put(self, value: Any) -> Handle:
        self.store.append(value)
        return Handle(len(self.store) - 1)

    def fetch(self, argument: Any) -> Any:
        value = self.store[argument.number] if isinstance(argument, Handle) else argument
        if value is None:
            raise LostObjectError("gone")
        return value

    def run(self, method: str, calls: Sequence[Call], *, keep: bool = False) -> list[Any]:
        self.runs += 1
        if self.runs in self.losses:
            for handle in self.kept:
                self.store[handle.number] = None
        found = [tuple(self.fetch(argument) for argument in call) for call in calls]
        results = self.local.run(method, found)
        if not keep:
            return results
        kept = [(self.put(shard), rest) for shard, rest in results]
        self.kept += [handle for handle, _ in kept]
        return kept

    def close(self) -> None:
        self.store.clear()


@pytest.mark.parametrize("losses", [[], *([run] for run in range(4, 11)), [5, 6, 9], [7, 10, 13]])
def test_shards_that_went_away_are_made_again(losses):
    scene = small_spos()
    trunk = scene.candidates(1)[0]
    options = {"sample_rate": 0.5, "sampling": "weighted", "bits": 16}

    def history(pool: Any) -> list[Any]:
        evaluator = open_evaluator(scene, pool, **options)
        evaluator.freeze(trunk[:1], trunk)
        first = evaluator.score(scene.candidates(3, trunk[:1]))
        evaluator.freeze(trunk[:3], trunk)
        second = evaluator.score(scene.candidates(3, trunk[:3]))
        return [first, second, evaluator.prefix, evaluator.samples]

    pool = ForgetfulPool(scene, **options)
    pool.losses = losses
    assert history(pool) == history(None)
    assert (pool.runs > 10) == bool(losses)


def test_shards_that_go_away_again_and_again_are_given_up():
    scene = small_spos()
    trunk = scene.candidates(1)[0]
    pool = ForgetfulPool(scene)
    evaluator = open_evaluator(scene, pool)
    evaluator.freeze(trunk[:1], trunk)
    pool.losses = list(range(1000))
    with pytest.raises(LostObjectError):
        evaluator.score([trunk])
    assert pool.runs < 10 * (1 + RECOVERIES)
    pool.losses = []
    assert evaluator.score([trunk]) == open_evaluator(scene).score([trunk])


@settings(max_examples=10, deadline=None, derandomize=True)
@given(scenes)
def test_merged_statistics_are_those_of_the_candidate_alone(scene: Scene):
    architecture = scene.candidates(1)[0]
    found = open_evaluator(scene).statistics(architecture)
    subnet = calibrated_copy(scene.supernet, architecture, scene.calibration)
    paths = [(), *(architecture[: k + 1] for k in range(len(architecture))), (*architecture, 0)]
    assert found.keys() == set(paths)
    for path, module in zip(paths, subnet, strict=True):
        expected = batchnorm.gather(batch_norms(module), torch.device("cpu")).numpy()
        np.testing.assert_allclose(found[path], expected, rtol=1e-3, atol=1e-4)


class ReadOnce(Sequence):
    """Held-out shards that may be read once each, in order."""

    def __init__(self, shards: list[Shard]) -> None:
        self.shards, self.reads = shards, []

    def __len__(self) -> int:
        return len(self.shards)

    def __getitem__(self, index: int) -> Shard:
        self.reads.append(index)
        return self.shards[index]


@pytest.mark.parametrize("batch_norm", ["recalibrate", "inherit"])
def test_held_out_shards_are_scored_once_from_the_images_on(batch_norm):
    scene = small_spos()
    trunk = scene.candidates(1)[0]
    held_out = ReadOnce(random_shards(scene.supernet, "test", 60, 5, seed=9))
    evaluator = open_evaluator(scene, batch_norm=batch_norm, bits=16, sample_rate=0.3)
    evaluator.freeze(trunk[:2], trunk)
    score = evaluator.test(trunk, held_out)
    assert held_out.reads == list(range(12))
    calibration = scene.calibration if batch_norm == "recalibrate" else []
    plain = score_plainly(scene.supernet, trunk, calibration, held_out.shards)
    assert (score.architecture, score.correct, score.samples) == (trunk, plain.correct.sum(), 60)
    assert score.loss == pytest.approx(plain.losses.mean(), abs=1e-5)


@pytest.mark.parametrize("batch_norm", ["recalibrate", "inherit"])
def test_each_shard_that_is_needed_is_read_and_observed_once(batch_norm):
    scene = small_spos()
    calibration, validation = ReadOnce(scene.calibration), ReadOnce(scene.validation)
    seen: list[Shard] = []
    protocol = Evaluation(batch_norm=batch_norm, device="cpu")
    pool = LocalPool(scene.supernet, protocol)
    PopulationEvaluator(pool, calibration, validation, protocol, 0, seen.append)
    needed = range(len(calibration)) if batch_norm == "recalibrate" else []
    assert calibration.reads == list(needed)
    assert validation.reads == list(range(len(validation)))
    assert seen == [calibration.shards[i] for i in needed] + validation.shards


@pytest.mark.parametrize(("images", "size"), [(0, 4), (5, 4), (1, 1)])
def test_recalibration_needs_shards_of_two_images(images, size):
    scene = small_spos()
    shards = random_shards(scene.supernet, "calibration", images, size, 0) if images else []
    if images == 5:
        shards = [*shards, random_shards(scene.supernet, "calibration", 1, 1, 0)[0]]
    broken = Scene(scene.supernet, shards, scene.validation, 0)
    with pytest.raises(InputError) as caught:
        open_evaluator(broken)
    assert caught.value.argument == "calibration"
    assert open_evaluator(broken, batch_norm="inherit").score(scene.candidates(1))[0].finite


def test_prefixes_and_candidates_that_do_not_fit_are_refused():
    scene = small_spos()
    evaluator = open_evaluator(scene)
    for prefix, reference in (((), (0, 0, 0, 0)), ((9,), (9, 0, 0, 0)), ((1,), (0, 0, 0, 0))):
        with pytest.raises(InputError):
            evaluator.freeze(prefix, reference)
    assert evaluator.prefix == ()
    evaluator.freeze((1, 2), (1, 2, 0, 0))
    for prefix in ((1, 2), (1,), (2, 2, 0)):
        with pytest.raises(InputError, match="prefix"):
            evaluator.freeze(prefix, (*prefix, 0, 0, 0)[:4])
    with pytest.raises(InputError, match=r"\[1, 2\]"):
        evaluator.score([(1, 2, 0, 0), (1, 3, 0, 0)])
    assert evaluator.prefix == (1, 2)
    assert evaluator.score([]) == evaluator.score_in_full([]) == []
    assert evaluator.score([(1, 2, 3, 0)]) == open_evaluator(scene).score([(1, 2, 3, 0)])
