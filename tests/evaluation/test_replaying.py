"""Recorded calls against calls that run as they are; memory; what cannot be recorded."""

from __future__ import annotations

import copy
import warnings
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from random_chains import CLASSES, Scene, build_scene, random_shards, scenes, with_blocks
from torch import Tensor, nn

from raynas.evaluation import Evaluation, batchnorm, replaying
from raynas.evaluation.evaluator import Evaluator
from raynas.evaluation.replaying import Function, GraphRecorder, Replays, Tensors, replays_on
from raynas.supernets import ChainSupernet, Normalize

NEEDS_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
DEVICES = ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, NEEDS_CUDA])]
NO_MEMORY = torch.OutOfMemoryError("CUDA out of memory.")


class Mimic:
    """Records as a CUDA graph does: inputs and results have a place of their own, written anew."""

    def __init__(self) -> None:
        self.plays = 0

    def __call__(self, function: Function, inputs: Tensors) -> Function:
        own = tuple(x.clone() for x in inputs)
        outputs = tuple(torch.full_like(y, 77) for y in function(*own))

        def replay(*given: Tensor) -> Tensors:
            self.plays += 1
            for mine, theirs in zip(own, given, strict=True):
                mine.copy_(theirs)
            for mine, theirs in zip(outputs, function(*own), strict=True):
                mine.copy_(theirs)
            return outputs

        return replay


class Waits(nn.Module):
    """A choice that reads a result of the device."""

    def forward(self, x: Tensor) -> Tensor:
        return x * (2.0 if float(x.mean()) > 0 else 3.0)


def recorder_on(device: str) -> Mimic | GraphRecorder:
    return GraphRecorder() if device == "cuda" else Mimic()


def evaluator(scene: Scene, replays: Replays | None, device: str = "cpu", **options) -> Evaluator:
    supernet = copy.deepcopy(scene.supernet)
    return Evaluator(supernet, Evaluation(device=device, **options), replays)  # type: ignore[arg-type]


def history(evaluator: Evaluator, scene: Scene, rounds: int) -> list[np.ndarray]:
    """What populations get on every shard, several times over."""
    found: list[np.ndarray] = []
    populations = [scene.candidates(5), scene.candidates(3)[::-1]]
    for _ in range(rounds):
        for architectures in populations:
            shards = [evaluator.calibrate(s, architectures) for s in scene.calibration]
            merged = batchnorm.merge([shard.statistics for shard in shards])
            scores = [evaluator.score(s, architectures, merged) for s in scene.validation]
            scores += [evaluator.score(s, architectures, "inherited") for s in scene.validation]
            found += [merged.flat, *(s.losses for s in scores), *(s.correct for s in scores)]
            found += [np.array([s.block_forwards for s in (*shards, *scores)])]
    return found


def assert_equal(found: list[np.ndarray], expected: list[np.ndarray]) -> None:
    for one, other in zip(found, expected, strict=True):
        assert one.tobytes() == other.tobytes()


@settings(max_examples=15, deadline=None)
@given(scenes)
def test_recorded_calls_give_what_calls_give(scene: Scene):
    mimic = Mimic()
    found = history(evaluator(scene, Replays(mimic)), scene, 3)
    assert_equal(found, history(evaluator(scene, Replays(None)), scene, 3))
    assert mimic.plays > 0


@NEEDS_CUDA
@pytest.mark.gpu
@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize(
    "options",
    [{}, {"precision": "float16", "fold_batch_norm": True}, {"prefix_sharing": False}],
    ids=["exact", "fast", "apart"],
)
def test_graphs_give_what_single_kernels_give(seed: int, options: dict):
    scene = build_scene(seed)
    replays = Replays(GraphRecorder())
    found = history(evaluator(scene, replays, "cuda", **options), scene, 3)
    expected = history(evaluator(scene, Replays(None), "cuda", **options), scene, 3)
    assert_equal(found, expected)
    assert replays.recorded > 0


@pytest.mark.parametrize("device", DEVICES)
def test_only_what_comes_again_is_recorded(device: str):
    replays = Replays(recorder_on(device))
    x, y = torch.ones(3, device=device), torch.ones(4, device=device)
    calls: list[int] = []

    def double(x: Tensor) -> Tensors:
        calls.append(len(x))
        return (x * 2,)

    assert [replays.run("g", "a", "", double, (each,))[0].sum().item() for each in (x, y)] == [6, 8]
    assert replays.recorded == 0
    results = [replays.run("g", "a", "", double, (value * x,))[0] for value in (1, 2, 3)]
    assert replays.recorded == 1
    assert [each.tolist() for each in results] == [[2.0] * 3, [4.0] * 3, [6.0] * 3]
    assert Counter(calls)[4] == 1
    if device == "cuda":
        assert Counter(calls)[3] == 2


@pytest.mark.parametrize("device", DEVICES)
def test_what_will_come_again_is_recorded_at_once(device: str):
    """Unless it has kernels that were never run, or the one before came only a few times."""
    replays = Replays(recorder_on(device))
    x = torch.ones(3, device=device)
    recorded = []
    for key, parts, times in (("a", "pq", 3), ("b", "q", 2), ("c", "p", 3), ("d", "pr", 3)):
        for _ in range(times):
            assert replays.run("g", key, parts, lambda x: (x + 1,), (x,))[0].tolist() == [2.0] * 3
            recorded.append(replays.recorded)
    assert recorded == [0, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4]
    replays.run("other", "a", "p", lambda x: (x + 1,), (x,))
    replays.run("g", "e", "pqr", lambda x: (x[:1],), (x[:2],))
    assert replays.recorded == 4
    replays.run("g", "e", "pqr", lambda x: (x + 1,), (x,))
    assert replays.recorded == 5


def test_no_more_than_a_few_recordings_are_kept(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(replaying, "KEPT", 2)
    mimic = Mimic()
    replays = Replays(mimic)
    for key in "aabbaccbb":
        replays.run("g", key, "z", lambda x: (x + 1,), (torch.zeros(2),))
    assert (replays.recorded, mimic.plays) == (4, 6)


@pytest.mark.parametrize("device", DEVICES)
def test_recordings_make_room_for_what_does_not_fit_beside_them(device: str):
    replays = Replays(recorder_on(device))
    x = torch.zeros(2, device=device)
    failures = [NO_MEMORY]

    def tight(x: Tensor) -> Tensors:
        if failures:
            raise failures.pop()
        return (x + 1,)

    with pytest.raises(torch.OutOfMemoryError):
        replays.run("g", "tight", "z", tight, (x,))
    failures.append(NO_MEMORY)
    for _ in range(2):
        replays.run("g", "other", "z", lambda x: (x + 2,), (x,))
    assert replays.run("g", "tighter", "z", tight, (x,))[0].tolist() == [1.0, 1.0]
    assert replays.run("g", "other", "z", lambda x: (x + 2,), (x,))[0].tolist() == [2.0, 2.0]
    assert replays.recorded == 2


def test_without_memory_for_a_recording_calls_run_as_they_are():
    attempts: list[int] = []

    def refuse(function: Function, inputs: Tensors) -> Function:
        attempts.append(1)
        raise NO_MEMORY

    replays = Replays(refuse)
    for _ in range(5):
        assert replays.run("g", "a", "z", lambda x: (x + 1,), (torch.zeros(2),))[0].tolist() == [
            1.0,
            1.0,
        ]
    assert (len(attempts), replays.recorded) == (2, 0)


def test_what_cannot_be_recorded_runs_as_it_is():
    def refuse(function: Function, inputs: Tensors) -> Function:
        raise RuntimeError("operation not permitted when stream is capturing\nand more")

    replays = Replays(refuse)
    x = torch.zeros(2)
    replays.run("g", "a", "z", lambda x: (x + 1,), (x,))
    with pytest.warns(
        RuntimeWarning, match=r"one by one .*: operation not permitted .* capturing\. "
    ):
        assert replays.run("g", "a", "z", lambda x: (x + 1,), (x,))[0].tolist() == [1.0, 1.0]
    assert replays.run("g", "a", "z", lambda x: (x + 1,), (x,))[0].tolist() == [1.0, 1.0]
    assert replays.recorded == 0


@NEEDS_CUDA
@pytest.mark.gpu
def test_a_block_that_waits_for_the_device_runs_without_graphs():
    scene = build_scene(3)
    scene = Scene(
        with_blocks(scene.supernet, [[Waits(), nn.Identity()], *blocks_of(scene)]),
        scene.calibration,
        scene.validation,
        0,
    )
    with pytest.warns(RuntimeWarning, match="one by one"):
        found = history(evaluator(scene, None, "cuda"), scene, 3)
    assert_equal(found, history(evaluator(scene, Replays(None), "cuda"), scene, 3))


@NEEDS_CUDA
@pytest.mark.gpu
def test_graphs_need_little_more_memory_than_single_kernels():
    scene = build_scene(5)
    peaks = []
    for replays in (Replays(None), Replays(GraphRecorder())):
        one = evaluator(scene, replays, "cuda")
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        history(one, scene, 3)
        peaks.append(torch.cuda.max_memory_allocated())
    assert peaks[1] < peaks[0] + 2**23


def blocks_of(scene: Scene) -> list[list[nn.Module]]:
    return [list(choices) for choices in scene.supernet.blocks]  # type: ignore[arg-type]


def test_the_processor_records_nothing():
    assert (
        replays_on(torch.device("cpu")).run("g", "a", "", lambda x: (x,), (torch.ones(1),))[0] == 1
    )


@NEEDS_CUDA
@pytest.mark.gpu
@pytest.mark.parametrize("replays", [Replays(None), None], ids=["kernels", "graphs"])
def test_the_device_is_not_waited_for_between_candidates(replays: Replays | None):
    scene = build_scene(7)
    one = evaluator(scene, replays, "cuda")
    few, many = scene.candidates(2), scene.candidates(20)
    waits = []
    for architectures in (few, many) * 3:
        merged = one.calibrate(scene.calibration[0], architectures).statistics
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            one.calibrate(scene.calibration[0], architectures)
            one.score(scene.validation[0], architectures, merged)
            torch.cuda.set_sync_debug_mode("default")
        waits.append(sum("synchroniz" in str(warning.message) for warning in caught))
    assert waits[-1] == waits[-2] > 0


@NEEDS_CUDA
@pytest.mark.gpu
@pytest.mark.parametrize("channels", [1, 3, 5, 8])
def test_statistics_may_begin_anywhere(channels: int):
    """Where one layer's channels end, those of one that takes four at a time begin."""
    torch.manual_seed(0)
    stem = nn.Sequential(Normalize((0.5,) * 3, (0.3,) * 3), nn.Conv2d(3, channels, 1))
    stem.append(nn.BatchNorm2d(channels))
    block = nn.Sequential(nn.Conv2d(channels, 4, 1), nn.BatchNorm2d(4, affine=False))
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, CLASSES))
    supernet = ChainSupernet(stem, [[block]], head, image_shape=(3, 6, 6), num_classes=CLASSES)
    shards = [
        random_shards(supernet, split, 8, 8, seed=1) for split in ("calibration", "validation")
    ]
    scene = Scene(supernet.eval(), *shards, 0)
    found, expected = (history(evaluator(scene, None, d), scene, 3) for d in ("cuda", "cpu"))
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-3, atol=1e-4)
