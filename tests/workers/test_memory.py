"""What evaluation keeps in memory: one activation per level, and no shard that nothing reads."""

from __future__ import annotations

import copy
import time
import weakref

import pytest
from small_population import open_evaluator, small_spos
from torch import nn

from raynas.evaluation import Evaluation
from raynas.evaluation.evaluator import Evaluator
from raynas.supernets import ChainSupernet


class LiveOutputs:
    """Counts the bytes of node outputs that are alive at a time, by hooks on the nodes."""

    def __init__(self, supernet: ChainSupernet) -> None:
        self.live = self.peak = self.largest = 0
        for block in supernet.blocks:
            for choice in block:
                choice.register_forward_hook(self.count)

    def count(self, module: nn.Module, inputs: object, output) -> None:
        size = output.untyped_storage().nbytes()
        self.live += size
        self.peak, self.largest = max(self.peak, self.live), max(self.largest, size)
        weakref.finalize(output, self.release, size)

    def release(self, size: int) -> None:
        self.live -= size


@pytest.mark.parametrize("method", ["calibrate", "score"])
def test_a_trie_keeps_one_activation_per_level(method: str):
    scene = small_spos()
    everything = list(scene.supernet.space.enumerate())

    def peak(architectures) -> LiveOutputs:
        supernet = copy.deepcopy(scene.supernet)
        outputs = LiveOutputs(supernet)
        evaluator = Evaluator(supernet, Evaluation(device="cpu"))
        if method == "calibrate":
            evaluator.calibrate(scene.calibration[0], architectures)
        else:
            evaluator.score(scene.validation[0], architectures, "inherited")
        return outputs

    one, trie = peak(everything[:1]), peak(everything)
    levels = scene.supernet.space.blocks
    assert one.largest == trie.largest
    assert one.peak < trie.peak <= one.peak + levels * one.largest


def objects_in_use() -> int:
    """How many objects of Ray's store this process refers to."""
    import ray
    from ray._private.internal_api import memory_summary

    # Without the address it refuses to choose where another process started a cluster, too.
    summary = memory_summary(ray.get_runtime_context().gcs_address)
    return sum("LOCAL_REFERENCE" in line for line in summary.splitlines())


@pytest.mark.ray
def test_shards_behind_a_shorter_prefix_leave_the_store(ray_cluster: None):
    from raynas.workers.ray_pool import RayPool

    scene = small_spos()
    pool = RayPool(scene.supernet, Evaluation(device="cpu"), 1)
    try:
        evaluator = open_evaluator(scene, pool)
        shards = len(scene.calibration) + len(scene.validation)
        candidate = scene.candidates(1)[0]
        assert objects_in_use() >= shards
        in_use = []
        for depth in (1, 2, 3):
            evaluator.freeze(candidate[:depth], candidate)
            evaluator.score([candidate])
            while in_use and objects_in_use() > in_use[0]:
                time.sleep(0.2)
            in_use.append(objects_in_use())
        assert in_use[0] <= 2 * shards + 3, "the images, the shards behind the prefix, and a few"
        assert max(in_use) == in_use[0], "a freeze replaces the shards of the one before"
    finally:
        pool.close()
