"""Recorded calls of an evaluator against calls that run as they are; memory; failures."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from random_chains import CLASSES, Scene, build_scene, random_shards, scenes, with_blocks
from recorders import CAPTURING, NEEDS_CUDA, NO_MEMORY, Mimic, Refuses
from torch import Tensor, nn

from raynas.evaluation import Evaluation
from raynas.evaluation import evaluator as evaluator_module
from raynas.evaluation.batch_norm import statistics as batch_stats
from raynas.evaluation.device.cuda_graphs import GraphRecorder, Replays, Tensors
from raynas.evaluation.evaluator import Evaluator
from raynas.supernets import ChainSupernet, Normalize


class Waits(nn.Module):
    """A choice that reads a result of the device."""

    def forward(self, x: Tensor) -> Tensor:
        return x * (2.0 if float(x.mean()) > 0 else 3.0)


def evaluator(scene: Scene, replays: Replays | None, device: str = "cpu", **options) -> Evaluator:
    supernet = copy.deepcopy(scene.supernet)
    return Evaluator(supernet, Evaluation(device=device, **options), replays=replays)  # type: ignore[arg-type]


def history(evaluator: Evaluator, scene: Scene, rounds: int) -> list[np.ndarray]:
    """What populations get on every shard, several times over."""
    found: list[np.ndarray] = []
    populations = [scene.candidates(5), scene.candidates(3)[::-1]]
    for _ in range(rounds):
        for architectures in populations:
            shards = [evaluator.calibrate(s, architectures) for s in scene.calibration]
            merged = batch_stats.merge([shard.statistics for shard in shards])
            scores = [evaluator.score(s, architectures, merged) for s in scene.validation]
            scores += [evaluator.score(s, architectures, "inherited") for s in scene.validation]
            found += [merged.flat, *(s.losses for s in scores), *(s.first for s in scores)]
            found += [np.array([s.block_forwards for s in (*shards, *scores)])]
    return found


def assert_equal(found: list[np.ndarray], expected: list[np.ndarray]) -> None:
    for one, other in zip(found, expected, strict=True):
        assert one.tobytes() == other.tobytes()


@settings(max_examples=15)
@given(scenes)
def test_recorded_calls_give_what_calls_give(scene: Scene):
    mimic = Mimic()
    found = history(evaluator(scene, Replays(lambda: mimic)), scene, 3)
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
    replays = Replays(GraphRecorder)
    found = history(evaluator(scene, replays, "cuda", **options), scene, 3)
    expected = history(evaluator(scene, Replays(None), "cuda", **options), scene, 3)
    assert_equal(found, expected)
    assert replays.recorded > 0


@settings(max_examples=10)
@given(scenes)
@pytest.mark.parametrize("error", [NO_MEMORY, CAPTURING], ids=["memory", "capture"])
def test_a_failed_recording_leaves_no_cast_weights_behind(error: RuntimeError, scene: Scene):
    replays = Replays(lambda: Refuses(error))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        found = history(evaluator(scene, replays, precision="bfloat16"), scene, 3)
    assert_equal(found, history(evaluator(scene, Replays(None), precision="bfloat16"), scene, 3))


@NEEDS_CUDA
@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_block_that_waits_for_the_device_runs_without_graphs(precision: str):
    scene = build_scene(3)
    scene = Scene(
        with_blocks(scene.supernet, [[Waits(), nn.Identity()], *blocks_of(scene)]),
        scene.calibration,
        scene.validation,
        0,
    )
    with pytest.warns(RuntimeWarning, match="one by one"):
        found = history(evaluator(scene, None, "cuda", precision=precision), scene, 3)
    plain = evaluator(scene, Replays(None), "cuda", precision=precision)
    assert_equal(found, history(plain, scene, 3))
    assert_graphs_can_be_recorded()


@NEEDS_CUDA
@pytest.mark.gpu
def test_a_recording_that_fails_leaves_the_device_usable():
    replays = Replays(GraphRecorder)
    x = torch.ones(3, device="cuda")
    recording = []

    def fails_while_recorded(x: Tensor) -> Tensors:
        if torch.cuda.is_current_stream_capturing():
            recording.append(x.sum().item())
        return (x + 1,)

    def run() -> list[float]:
        return replays.run("a", fails_while_recorded, (x,))[0].tolist()

    assert run() == [2.0] * 3
    with pytest.warns(RuntimeWarning, match="one by one"):
        assert run() == [2.0] * 3
    assert run() == [2.0] * 3
    assert torch.cuda.current_stream() == torch.cuda.default_stream()
    assert torch.rand(3, device="cuda").max() < 1
    assert_graphs_can_be_recorded()


@NEEDS_CUDA
@pytest.mark.gpu
def test_graphs_need_at_most_the_memory_of_single_kernels_beside_it():
    scene = large_scene()
    reserved = []
    for replays in (Replays(None), Replays(GraphRecorder)):
        torch.cuda.empty_cache()
        before = torch.cuda.memory_reserved()
        one = evaluator(scene, replays, "cuda")
        history(one, scene, 3)
        reserved.append(torch.cuda.memory_reserved() - before)
        del one
    assert reserved[0] > 2**24
    assert reserved[1] < 2.5 * reserved[0]


@NEEDS_CUDA
@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_graphs_are_recorded_again_after_they_were_forgotten(precision: str):
    scene = large_scene()
    replays = Replays(GraphRecorder)
    one = evaluator(scene, replays, "cuda", precision=precision)
    expected = history(evaluator(scene, Replays(None), "cuda", precision=precision), scene, 3)
    for _ in range(2):
        before = replays.recorded
        assert_equal(history(one, scene, 3), expected)
        assert replays.recorded > before
        replays.forget()


def assert_graphs_can_be_recorded() -> None:
    """Whatever went wrong before, a new recorder works."""
    scene, replays = large_scene(), Replays(GraphRecorder)
    history(evaluator(scene, replays, "cuda"), scene, 3)
    assert replays.recorded > 0


def large_scene() -> Scene:
    """Activations of some megabytes."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        stem = nn.Sequential(Normalize((0.5,) * 3, (0.3,) * 3), nn.Conv2d(3, 32, 3))
        choices = [
            nn.Sequential(nn.Conv2d(32, 32, k, padding=k // 2), nn.BatchNorm2d(32)) for k in (1, 3)
        ]
        head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, CLASSES))
        blocks = [choices, copy.deepcopy(choices)]
        supernet = ChainSupernet(stem, blocks, head, image_shape=(3, 32, 32), num_classes=CLASSES)
    shards = [random_shards(supernet, s, 128, 64, seed=1) for s in ("calibration", "validation")]
    return Scene(supernet.eval(), *shards, 0)


def blocks_of(scene: Scene) -> list[list[nn.Module]]:
    return [list(choices) for choices in scene.supernet.blocks]  # type: ignore[arg-type]


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


def test_recordings_make_room_for_shards_too(monkeypatch: pytest.MonkeyPatch):
    scene = build_scene(0)
    replays = Replays(Mimic)
    one, plain = evaluator(scene, replays), evaluator(scene, Replays(None))
    candidates = scene.candidates(3)
    restore = evaluator_module.restore

    def tight(*arguments: Any) -> Tensor:
        if replays._recordings:
            raise NO_MEMORY
        return restore(*arguments)

    def outcomes(evaluator: Evaluator) -> list[bytes]:
        shard, validation = scene.calibration[0], scene.validation[0]
        found = evaluator.calibrate(shard, candidates).statistics
        scores = evaluator.score(validation, candidates, found)
        behind, recorded = evaluator.advance(shard, candidates[0][:1], "batch")
        deeper, _ = evaluator.advance(validation, candidates[0][:1], found)
        assert scores.halvings == 0
        arrays = [found[()], scores.losses, behind.features, recorded.statistics[()]]
        return [array.tobytes() for array in (*arrays, deeper.features)]

    expected = outcomes(plain)
    for _ in range(3):
        assert outcomes(one) == expected
    assert replays.recorded == 2
    with monkeypatch.context() as patch:
        patch.setattr(evaluator_module, "restore", tight)
        for step in range(4):
            replays.run(step, lambda x: (x + 1,), (torch.zeros(2),))
            for _ in range(2):
                replays.run(step, lambda x: (x + 1,), (torch.zeros(2),))
            assert replays._recordings
            assert outcomes(one) == expected
