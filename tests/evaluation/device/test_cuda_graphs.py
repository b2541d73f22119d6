"""Recorded calls against calls that run as they are; memory; what cannot be recorded."""

from __future__ import annotations

import copy
import warnings
from collections import Counter
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from random_chains import CLASSES, Scene, build_scene, random_shards, scenes, with_blocks
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from raynas.evaluation import Evaluation
from raynas.evaluation import evaluator as evaluator_module
from raynas.evaluation.batch_norm import statistics as batch_stats
from raynas.evaluation.device import cuda_graphs
from raynas.evaluation.device.cuda_graphs import (
    Function,
    GraphRecorder,
    Replays,
    Tensors,
    replays_on,
)
from raynas.evaluation.evaluator import Evaluator
from raynas.supernets import ChainSupernet, Normalize

NEEDS_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
DEVICES = ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, NEEDS_CUDA])]
NO_MEMORY = torch.OutOfMemoryError("CUDA out of memory.")


class Rehearses:
    """Lets functions run before they are recorded."""

    def rehearse(self, function: Function, inputs: Tensors) -> tuple[Tensors, str | None]:
        return function(*inputs), None


class Mimic(Rehearses):
    """Records as a CUDA graph does: inputs and results have a place of their own, written anew."""

    def __init__(self) -> None:
        self.plays = 0

    def record(self, function: Function, inputs: Tensors) -> Function:
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


def replays_of(device: str) -> Replays:
    return Replays(GraphRecorder if device == "cuda" else Mimic)


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


@pytest.mark.parametrize("device", DEVICES)
def test_only_what_comes_again_is_recorded(device: str):
    replays = replays_of(device)
    x, y = torch.ones(3, device=device), torch.ones(4, device=device)
    calls: list[int] = []

    def double(x: Tensor) -> Tensors:
        calls.append(len(x))
        return (x * 2,)

    results = [replays.run("a", double, (each,))[0] for each in (x, y)]
    assert replays.recorded == 0
    results += [replays.run("a", double, (each,))[0] for each in (y, 2 * x)]
    assert replays.recorded == 2
    results += [replays.run("a", double, (value * x,))[0] for value in (3, 4, 5)]
    assert replays.run("b", double, (x,))[0].tolist() == [2.0] * 3
    assert replays.recorded == 2
    assert [each.sum().item() for each in results] == [6, 8, 8, 12, 18, 24, 30]
    if device == "cuda":
        assert Counter(calls) == {3: 3, 4: 2}, "as it is and recorded, and as it is under b"


def test_no_more_than_a_few_recordings_are_kept(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cuda_graphs, "KEPT", 2)
    mimic = Mimic()
    replays = Replays(lambda: mimic)
    for key in "aaabbbacccb":
        replays.run(key, lambda x: (x + 1,), (torch.zeros(2),))
    assert (replays.recorded, mimic.plays) == (4, 8)


@pytest.mark.parametrize("device", DEVICES)
def test_recordings_make_room_for_what_does_not_fit_beside_them(device: str):
    replays = replays_of(device)
    x = torch.zeros(2, device=device)
    failures = [NO_MEMORY]

    def tight() -> int:
        if failures:
            raise failures.pop()
        return 5

    def other() -> list[float]:
        return replays.run("other", lambda x: (x + 2,), (x,))[0].tolist()

    with pytest.raises(torch.OutOfMemoryError):
        replays.retry_unrecorded(tight)
    assert [other() for _ in range(4)] == [[2.0, 2.0]] * 4
    failures.append(NO_MEMORY)
    assert replays.retry_unrecorded(tight) == 5
    assert [other() for _ in range(3)] == [[2.0, 2.0]] * 3
    assert replays.recorded == 2
    failures.append(ValueError("something else"))
    with pytest.raises(ValueError, match="something else"):
        replays.retry_unrecorded(tight)


class Refuses(Rehearses):
    """Cannot record; notes how often it was to, and runs what it was given before it fails."""

    def __init__(self, error: RuntimeError) -> None:
        self.error, self.attempts = error, 0

    def record(self, function: Function, inputs: Tensors) -> Function:
        self.attempts += 1
        with Casts() as casts:
            function(*inputs)
        for cast in casts.found:
            # What was only recorded has no values.
            cast.fill_(float("nan"))
        raise self.error


class Casts(TorchDispatchMode):
    """Finds what is cast to bfloat16."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Tensor] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None):
        result = function(*args, **(kwargs or {}))
        if function is torch.ops.aten._to_copy.default and result.dtype == torch.bfloat16:
            self.found.append(result)
        return result


CAPTURING = RuntimeError("operation not permitted when stream is capturing\nand more")


def test_without_memory_for_a_recording_calls_run_as_they_are():
    refuses = Refuses(NO_MEMORY)
    replays = Replays(lambda: refuses)
    x = torch.zeros(2)
    for _ in range(6):
        assert replays.run("a", lambda x: (x + 1,), (x,))[0].tolist() == [1.0, 1.0]
    assert (refuses.attempts, replays.recorded) == (1, 0)


def test_what_cannot_be_recorded_runs_as_it_is():
    refuses = Refuses(CAPTURING)
    replays = Replays(lambda: refuses)
    x = torch.zeros(2)

    def run() -> list[float]:
        return replays.run("a", lambda x: (x + 1,), (x,))[0].tolist()

    assert run() == [1.0, 1.0]
    message = r"one by one .*: operation not permitted .* capturing\. "
    with pytest.warns(RuntimeWarning, match=message):
        assert run() == [1.0, 1.0]
    assert [run(), run()] == [[1.0, 1.0]] * 2
    assert (refuses.attempts, replays.recorded) == (1, 0)


def test_what_waits_for_the_device_is_not_recorded():
    class Notices(Mimic):
        def rehearse(self, function: Function, inputs: Tensors) -> tuple[Tensors, str | None]:
            return function(*inputs), "called something that waits"

    replays = Replays(Notices)
    x = torch.zeros(2)
    with pytest.warns(RuntimeWarning, match="one by one .*: called something that waits"):
        results = [replays.run("a", lambda x: (x + 1,), (x,))[0] for _ in range(4)]
    assert [result.tolist() for result in results] == [[1.0, 1.0]] * 4
    assert replays.recorded == 0


def test_the_first_error_of_a_recording_counts():
    class Wraps(Refuses):
        def record(self, function: Function, inputs: Tensors) -> Function:
            try:
                return super().record(function, inputs)
            finally:
                raise RuntimeError("operation failed due to a previous error during capture")

    for error, message in ((NO_MEMORY, None), (CAPTURING, "operation not permitted")):
        replays = Replays(partial(Wraps, error))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for _ in range(4):
                replays.run("a", lambda x: (x + 1,), (torch.zeros(2),))
        assert [message in str(warning.message) for warning in caught] == [True] * bool(message)


def test_a_second_attempt_records_nothing():
    replays = Replays(Mimic)
    x = torch.zeros(2)

    def attempt() -> None:
        for key in "ab":
            for _ in range(4):
                replays.run(key, lambda x: (x + 1,), (x,))
        if replays._recordings:
            raise NO_MEMORY

    replays.retry_unrecorded(attempt)
    assert replays.recorded == 2
    with pytest.raises(torch.OutOfMemoryError):
        attempt()


def test_recordings_give_way_to_a_new_one():
    """One that does not fit beside others is recorded once they are gone."""

    class Tight(Mimic):
        def record(self, function: Function, inputs: Tensors) -> Function:
            if replays._recordings:
                raise NO_MEMORY
            return super().record(function, inputs)

    replays = Replays(Tight)
    x = torch.zeros(2)
    for key, times in (("a", 3), ("b", 3), ("b", 2), ("a", 3)):
        for _ in range(times):
            assert replays.run(key, lambda x: (x + 1,), (x,))[0].tolist() == [1.0, 1.0]
    assert replays.recorded == 3


@settings(max_examples=10)
@given(scenes)
@pytest.mark.parametrize("error", [NO_MEMORY, CAPTURING], ids=["memory", "capture"])
def test_a_failed_recording_leaves_no_cast_weights_behind(error: RuntimeError, scene: Scene):
    replays = Replays(lambda: Refuses(error))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        found = history(evaluator(scene, replays, precision="bfloat16"), scene, 3)
    assert_equal(found, history(evaluator(scene, Replays(None), precision="bfloat16"), scene, 3))


def test_a_recording_casts_weights_that_were_cast_before():
    weight = nn.Parameter(torch.ones(2, 2))
    counts = []

    class Counts(Rehearses):
        def record(self, function: Function, inputs: Tensors) -> Function:
            with Casts() as casts:
                function(*inputs)
            counts.append(sum(cast.shape == weight.shape for cast in casts.found))
            return function

    replays = Replays(Counts)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        for _ in range(3):
            replays.run("a", lambda x: (x @ weight,), (torch.ones(3, 2),))
    assert counts == [1]


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


def test_the_processor_records_nothing():
    assert replays_on(torch.device("cpu")).run("a", lambda x: (x,), (torch.ones(1),))[0] == 1


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
    decode = evaluator_module.decode

    def tight(*arguments: Any) -> Tensor:
        if replays._recordings:
            raise NO_MEMORY
        return decode(*arguments)

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
        patch.setattr(evaluator_module, "decode", tight)
        for step in range(4):
            replays.run(step, lambda x: (x + 1,), (torch.zeros(2),))
            for _ in range(2):
                replays.run(step, lambda x: (x + 1,), (torch.zeros(2),))
            assert replays._recordings
            assert outcomes(one) == expected
