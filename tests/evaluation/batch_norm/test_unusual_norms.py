"""Batch norms that calibration writes not at all, in part or several times, against plain torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import cycle
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from plain_scoring import calibrated_copy, score_plainly
from random_chains import CLASSES, Scene, random_shards, scramble
from torch import Tensor, nn

from raynas.errors import InputError
from raynas.evaluation import Evaluation
from raynas.evaluation.batch_norm import conv_norm
from raynas.evaluation.batch_norm import statistics as batch_stats
from raynas.evaluation.evaluator import Evaluator
from raynas.population.evaluated import Splits
from raynas.population.evaluator import PopulationEvaluator
from raynas.shards.shard import Shard
from raynas.space import Architecture
from raynas.supernets import ChainSupernet, Normalize
from raynas.supernets.chain import batch_norms
from raynas.workers.pool import LocalPool

WIDTH = 4


def pair(norm: nn.Module | None = None) -> nn.Sequential:
    """A convolution and a batch norm, which run as one."""
    return nn.Sequential(nn.Conv2d(WIDTH, WIDTH, 1), norm or nn.BatchNorm2d(WIDTH))


class Frozen(nn.BatchNorm2d):
    """A batch norm that stays in evaluation mode, as those of detectors do."""

    def train(self, mode: bool = True) -> Frozen:
        return super().train(False)


class Between(nn.Module):
    """An ordinary pair, something with a batch norm of its own, and an ordinary pair."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = pair(), pair()
        self.norm = nn.BatchNorm2d(WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.middle(self.first(x).relu()).relu())

    def middle(self, x: Tensor) -> Tensor:
        return self.norm(x)


class Evaluates(Between):
    """Switches its batch norm to evaluation mode whenever it runs."""

    def middle(self, x: Tensor) -> Tensor:
        self.norm.eval()
        return self.norm(x)


class OwnFlag(Between):
    """Runs its batch norm by a flag of its own, which nobody else sets."""

    def __init__(self) -> None:
        super().__init__()
        self.updates = False

    def middle(self, x: Tensor) -> Tensor:
        before, self.norm.training = self.norm.training, self.updates
        y = self.norm(x)
        self.norm.training = before
        return y


class ByHand(Between):
    """Reads the running statistics without calling the layer."""

    def middle(self, x: Tensor) -> Tensor:
        norm = self.norm
        return F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias)


class Unused(Between):
    """Has a batch norm that never runs."""

    def middle(self, x: Tensor) -> Tensor:
        return 1.5 * x


class Repeats(Between):
    """Runs its batch norm several times, on another input each."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    def middle(self, x: Tensor) -> Tensor:
        for k in range(self.times):
            x = self.norm(1.0 + (k + 1) * x)
        return x


class RepeatsPair(Repeats):
    """Runs a pair of a convolution and a batch norm several times."""

    def __init__(self, times: int) -> None:
        super().__init__(times)
        self.norm = pair()  # type: ignore[assignment]


class Ghost(nn.BatchNorm2d):
    """Normalises parts of its batch by themselves, inside the layer."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        return torch.cat([super(Ghost, self).forward(part) for part in x.tensor_split(3)])


class Functional(Repeats):
    """Calls the function on the buffers of a layer, as slimmable networks do."""

    def middle(self, x: Tensor) -> Tensor:
        for k in range(self.times):
            x = self.normalise(1.0 + (k + 1) * x)
        return x

    def normalise(self, x: Tensor) -> Tensor:
        norm, momentum = self.norm, 0.0
        if norm.training:
            norm.num_batches_tracked.add_(1)
            momentum = norm.momentum or 1.0 / float(norm.num_batches_tracked)
        moments = norm.running_mean[:WIDTH], norm.running_var[:WIDTH]
        return F.batch_norm(x, *moments, norm.weight, norm.bias, norm.training, momentum)


class RawMomentum(Between):
    """Passes a momentum on that must be a number."""

    def middle(self, x: Tensor) -> Tensor:
        norm = self.norm
        return F.batch_norm(
            x,
            norm.running_mean,
            norm.running_var,
            norm.weight,
            norm.bias,
            norm.training,
            norm.momentum * 1.0,
        )


class Replaces(nn.BatchNorm2d):
    """Averages its statistics in Python, and keeps them in new tensors."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.num_batches_tracked = self.num_batches_tracked + 1
            share = self.momentum or 1.0 / float(self.num_batches_tracked)
            variance, mean = torch.var_mean(x, (0, 2, 3))
            self.running_mean = (1.0 - share) * self.running_mean + share * mean
            self.running_var = (1.0 - share) * self.running_var + share * variance
            return F.batch_norm(x, None, None, self.weight, self.bias, True)
        return super().forward(x)


class Converts(nn.Module):
    """Runs in another type than float32 inside."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.body = pair().to(dtype)
        self.dtype = dtype

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x.to(self.dtype)).float()


def untracked() -> nn.Module:
    """A block of two pairs, the first of which keeps its statistics when it is trained."""
    block = nn.Sequential(pair(), nn.ReLU(), pair())
    block[0][1].track_running_stats = False  # type: ignore[index,union-attr]
    return block


def shared_by_two() -> nn.Module:
    """Two convolutions with the same batch norm after each."""
    norm = nn.BatchNorm2d(WIDTH)
    return nn.Sequential(*pair(norm), nn.ReLU(), *pair(norm))


UNWRITTEN: dict[str, Callable[[], nn.Module]] = {
    "track_running_stats set off": untracked,
    "train() overridden": lambda: nn.Sequential(pair(Frozen(WIDTH)), nn.ReLU(), pair()),
    "evaluation mode inside forward": Evaluates,
    "a training flag of its own": OwnFlag,
    "read by hand": ByHand,
    "never run": Unused,
}
REPEATED: dict[str, Callable[[], nn.Module]] = {
    **{f"{n} times": lambda n=n: Repeats(n) for n in (1, 2, 3)},  # type: ignore[misc]
    **{f"a pair {n} times": lambda n=n: RepeatsPair(n) for n in (1, 2, 3)},  # type: ignore[misc]
    "shared by two pairs": shared_by_two,
    "in parts, inside the layer": lambda: nn.Sequential(pair(Ghost(WIDTH)), nn.ReLU(), pair()),
    **{f"a function {n} times": lambda n=n: Functional(n) for n in (1, 2, 3)},  # type: ignore[misc]
    "statistics in new tensors": lambda: nn.Sequential(pair(Replaces(WIDTH)), nn.ReLU(), pair()),
    "in float64": lambda: Converts(torch.float64),
}


def scene_of(kinds: dict[str, Callable[[], nn.Module]], size: int = 5, images: int = 14) -> Scene:
    """Two blocks, each with a choice of every kind; two shards of each split."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        stem = nn.Sequential(Normalize((0.5,) * 3, (0.3,) * 3), nn.Conv2d(3, WIDTH, 1))
        head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(WIDTH, CLASSES))
        blocks = [[make() for make in kinds.values()] for _ in range(2)]
        supernet = ChainSupernet(
            stem, blocks, head, image_shape=(3, size, size), num_classes=CLASSES
        )
        scramble(supernet)
    splits = ("calibration", "validation")
    shards = (random_shards(supernet, s, images, images // 2, seed=1) for s in splits)
    return Scene(supernet.eval(), *shards, 0)


def open_evaluator(scene: Scene, **options: Any) -> PopulationEvaluator:
    protocol = Evaluation(device="cpu", **options)
    pool = LocalPool(scene.supernet, protocol)
    return PopulationEvaluator(pool, Splits(scene.calibration, scene.validation), protocol, 0)


@pytest.mark.parametrize("fold", [False, True], ids=["apart", "folded"])
@pytest.mark.parametrize("batch_norm", ["recalibrate", "inherit"])
@pytest.mark.parametrize("kinds", [UNWRITTEN, REPEATED], ids=["unwritten", "repeated"])
def test_scores_are_those_of_plain_torch_behind_any_prefix(
    kinds: dict[str, Callable[[], nn.Module]], batch_norm: str, fold: bool
) -> None:
    scene = scene_of(kinds)
    count = len(kinds)
    candidates: list[Architecture] = [(k, (k + 1) % count) for k in range(count)]
    candidates += [(k, k) for k in range(count)]
    calibration = scene.calibration if batch_norm == "recalibrate" else []
    plain = {
        a: score_plainly(scene.supernet, a, calibration, scene.validation).losses.mean(dtype=float)
        for a in candidates
    }
    assert len(set(plain.values())) > len(plain) / 2, "kinds differ"
    for choice in range(count):
        evaluator = open_evaluator(scene, batch_norm=batch_norm, fold_batch_norm=fold)
        behind = [a for a in candidates if a[0] == choice]
        for depth in (0, 1, 2):
            if depth:
                evaluator.freeze(behind[0][:depth], behind[0])
            for score in evaluator.score_again(behind[: 1 if depth == 2 else None]):
                assert score.loss == pytest.approx(plain[score.architecture], rel=2e-4)


@pytest.mark.parametrize("kinds", [UNWRITTEN, REPEATED], ids=["unwritten", "repeated"])
def test_recorded_statistics_are_torchs_cumulative_means_over_calls(
    kinds: dict[str, Callable[[], nn.Module]],
) -> None:
    scene = scene_of(kinds)
    shard = scene.calibration[0]
    candidates = [(k, 0) for k in range(len(kinds))]
    evaluator = Evaluator(scene_of(kinds).supernet, Evaluation(device="cpu"))
    calibrated = evaluator.calibrate(shard, candidates).statistics
    for name, architecture in zip(kinds, candidates, strict=True):
        plain = calibrated_copy(scene.supernet, architecture, [shard])[1]
        expected = batch_stats.read(batch_norms(plain), torch.device("cpu")).numpy()
        _, advanced = evaluator.advance(shard, architecture[:1], "batch")
        for found in (calibrated, advanced.statistics):
            np.testing.assert_allclose(
                found[architecture[:1]], expected, rtol=1e-4, atol=1e-5, err_msg=name
            )


def test_large_batches_average_over_calls_too() -> None:
    """Where moments are summed without torch's layer."""
    size, images = 32, 64
    scene = scene_of(REPEATED, size, images)
    shard = scene.calibration[0]
    assert shard.rows * WIDTH * size**2 >= conv_norm.LARGE
    candidates = [(k, 0) for k in range(len(REPEATED))]
    evaluator = Evaluator(scene_of(REPEATED, size, images).supernet, Evaluation(device="cpu"))
    found = evaluator.calibrate(shard, candidates).statistics
    for name, architecture in zip(REPEATED, candidates, strict=True):
        plain = calibrated_copy(scene.supernet, architecture, [shard])[1]
        expected = batch_stats.read(batch_norms(plain), torch.device("cpu")).numpy()
        np.testing.assert_allclose(
            found[architecture[:1]], expected, rtol=1e-3, atol=1e-4, err_msg=name
        )


def test_a_momentum_that_must_be_a_number_gets_one() -> None:
    """Plain recalibration, which sets it to None, raises; of one call, the batch's are recorded."""
    scene = scene_of({"pair": Between, "raw": RawMomentum})
    same, raw = scene.supernet.node((0,)), scene.supernet.node((1,))
    raw.load_state_dict(same.state_dict())
    evaluator = Evaluator(scene.supernet, Evaluation(device="cpu"))
    found = evaluator.calibrate(scene.calibration[0], [(0, 0), (1, 0)]).statistics
    np.testing.assert_allclose(found[(1,)], found[(0,)], rtol=1e-5)


class SomeBatches(Between):
    """Leaves its batch norm out of small batches."""

    def middle(self, x: Tensor) -> Tensor:
        return self.norm(x) if len(x) > 5 else x


class SomeRaw(RawMomentum):
    """Leaves it out of some batches, and cannot do without a number for the momentum."""

    def middle(self, x: Tensor) -> Tensor:
        return x if len(x) == 4 else super().middle(x)


def some_by_a_hook() -> nn.Module:
    """Modules of torch, whose batch norm a hook leaves out of small batches."""
    module = nn.Conv2d(WIDTH, WIDTH, 1)
    module.extra = nn.BatchNorm2d(WIDTH)
    module.register_forward_hook(
        lambda conv, given, output: conv.extra(output) if len(output) > 5 else None
    )
    return module


class Alternating:
    """A pool of several evaluators in this process, each of which sees a part of the shards."""

    gpus, device = 0, "cpu"

    def __init__(self, scene: Scene, protocol: Evaluation, workers: int) -> None:
        self.workers = workers
        self._pools = [LocalPool(scene.supernet, protocol) for _ in range(workers)]
        self.machine, self.settings = self._pools[0].machine, self._pools[0].settings

    @property
    def busy(self) -> dict[str, float]:
        return {}

    def wait(self) -> None:
        """Nothing starts."""

    def put(self, value: Any) -> Any:
        return value

    def run(self, calls: Sequence[Any], *, keep: bool = False) -> list[Any]:
        chosen = cycle(self._pools)
        return [each for call in calls for each in next(chosen).run([call], keep=keep)]


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("order", [1, -1], ids=["small last", "small first"])
@pytest.mark.parametrize("block", [SomeBatches, SomeRaw, some_by_a_hook])
def test_a_layer_that_runs_for_some_batches_only_is_refused_whoever_saw_them(
    block: Callable[[], nn.Module], order: int, workers: int
) -> None:
    scene = scene_of({"pair": Between, "some": block})
    (small,) = random_shards(scene.supernet, "calibration", 4, 4, seed=3)
    protocol = Evaluation(device="cpu")

    def opened(*calibration: Shard) -> PopulationEvaluator:
        pool = Alternating(scene, protocol, workers)
        return PopulationEvaluator(pool, Splits(calibration, scene.validation), protocol, 0)

    evaluator = opened(*[scene.calibration[0], small][::order])
    assert evaluator.score([(0, 0)])
    with pytest.raises(InputError, match=r"blocks\[1\]\[1\].*for some batches only"):
        evaluator.score([(0, 0), (0, 1)])
    with pytest.raises(InputError, match=r"blocks\[0\]\[1\].*for some batches only"):
        evaluator.freeze((1,), (1, 0))
    for same in ([small, small], scene.calibration):
        assert opened(*same).score([(0, 1), (1, 1)])


def test_a_block_leaves_no_mark_on_the_statistics_of_the_next_call() -> None:
    scene = scene_of(UNWRITTEN | REPEATED)
    evaluator = Evaluator(scene.supernet, Evaluation(device="cpu"))
    count = len(UNWRITTEN | REPEATED)
    shard = scene.calibration[0]
    candidates = [(k, k) for k in range(count)]
    first = evaluator.calibrate(shard, candidates).statistics
    evaluator.calibrate(scene.calibration[1], candidates[::-1])
    evaluator.score(scene.validation[0], candidates, "inherited")
    again = evaluator.calibrate(shard, candidates).statistics
    assert all(np.array_equal(first[path], again[path]) for path in first)


class Broken(Between):
    """Has a batch norm that never runs in calibration, and whose statistics are no numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.norm.running_var.fill_(torch.nan)  # type: ignore[union-attr]

    def middle(self, x: Tensor) -> Tensor:
        norm = self.norm
        return F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias)


def test_statistics_that_are_no_numbers_stay_so_where_nothing_writes_them() -> None:
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(WIDTH, CLASSES))
    stem = nn.Sequential(Normalize((0.5,) * 3, (0.3,) * 3), nn.Conv2d(3, WIDTH, 1))
    supernet = ChainSupernet(
        stem, [[Broken(), Between()]], head, image_shape=(3, 5, 4), num_classes=CLASSES
    ).eval()
    evaluator = Evaluator(supernet, Evaluation(device="cpu"))
    calibration = random_shards(supernet, "calibration", 6, 6, seed=0)[0]
    statistics = evaluator.calibrate(calibration, [(0,), (1,)]).statistics
    assert np.isnan(statistics[(0,)]).any()
    assert np.isfinite(statistics[(1,)]).all()
    shard = random_shards(supernet, "validation", 6, 6, seed=1)[0]
    outcome = evaluator.score(shard, [(0,), (1,)], statistics)
    assert outcome.finite.tolist() == [False, True]
