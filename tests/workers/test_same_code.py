"""Replicas and tasks whose modules are imported elsewhere: edited, or of another version."""

from __future__ import annotations

import importlib
import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch
from random_chains import CLASSES
from torch import Tensor, nn

from raynas import PerSample
from raynas.errors import InputError
from raynas.evaluation import Evaluation
from raynas.supernets import ChainSupernet, Normalize, spos_8x8
from raynas.workers.open_pool import open_pool
from raynas.workers.ray_actor import RemoteEvaluator
from raynas.workers.replicas import module_folders, pack, pack_task, unpack
from raynas.workers.same_code import (
    digest_of_packed,
    fingerprint,
    require_same_code,
    require_same_task,
)

SOURCE = """
from torch import nn

class Scaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x):
        return self.norm(x) * {factor}

class Norm(nn.{norm}):
    pass

def hook(module, given, output):
    return {factor} * output

def judge(outputs, targets):
    return {factor} * outputs[:, 0], outputs[:, 1]
"""

ELSEWHERE = """
import pickle, sys
packed, folders, judged = pickle.load(sys.stdin.buffer)
from raynas.workers.replicas import unpack
from raynas.workers.same_code import require_same_task
require_same_task(unpack(packed, folders), judged)
"""


def write(folder: Path, factor: float, norm: str = "BatchNorm2d") -> None:
    (folder / "edited_blocks.py").write_text(SOURCE.format(factor=factor, norm=norm))


@pytest.fixture
def blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module of a user's own; nothing of it is cached on the disk."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.delitem(sys.modules, "edited_blocks", raising=False)
    write(tmp_path, 1.0)
    return importlib.import_module("edited_blocks")


def chain(block: nn.Module) -> ChainSupernet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        stem = nn.Sequential(Normalize((0.5,), (0.2,)), nn.Conv2d(1, 4, 3))
        head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, CLASSES))
    return ChainSupernet(
        stem, [[nn.Identity(), block]], head, image_shape=(1, 6, 6), num_classes=CLASSES
    )


@pytest.mark.parametrize(
    ("factor", "same", "similar"), [(1.0, True, True), (1.00001, False, True), (2.0, False, False)]
)
def test_a_replica_that_computes_something_else_is_refused_by_block(
    factor: float,
    same: bool,
    similar: bool,
    blocks: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    supernet = chain(blocks.Scaled())
    packed, seen = pack(supernet), fingerprint(supernet)
    assert seen is not None
    write(tmp_path, factor)
    monkeypatch.delitem(sys.modules, "edited_blocks")
    replica = unpack(packed)
    before = {name: value.clone() for name, value in replica.state_dict().items()}
    # Another processor may round otherwise, this one may not.
    for packed_here, accepted in ((seen, same), (replace(seen, machine={}), similar)):
        if accepted:
            require_same_code(replica, packed_here)
            continue
        with pytest.raises(InputError, match=r"blocks\[0\]\[1\]: .*other outputs"):
            require_same_code(replica, packed_here)
    after = replica.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_a_class_that_is_no_batch_norm_any_more_is_refused(
    blocks: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    supernet = chain(nn.Sequential(nn.Conv2d(4, 4, 1), blocks.Norm(4)))
    packed, seen = pack(supernet), fingerprint(supernet)
    write(tmp_path, 1.0, "InstanceNorm2d")
    monkeypatch.delitem(sys.modules, "edited_blocks")
    for given, wanted in ((unpack(packed), seen), (supernet, fingerprint(unpack(packed)))):
        with pytest.raises(InputError, match=r"supernet: .*other layers.*Restart Python"):
            require_same_code(given, wanted)


@pytest.mark.parametrize(
    ("place", "name"), [(nn.Hardswish, "forward"), (nn.functional, "hardswish"), (None, "")]
)
def test_code_of_libraries_may_be_patched(
    place: object, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    supernet = chain(nn.Sequential(nn.Conv2d(4, 4, 1), nn.Hardswish()))
    if place is None:
        require_same_code(unpack(pack(supernet)), fingerprint(supernet))
        return
    with monkeypatch.context() as patch:
        patch.setattr(place, name, lambda *given, **more: given[-1] * 3.0)
        packed, seen = pack(supernet), fingerprint(supernet)
    with pytest.raises(InputError, match=r"blocks\[0\]\[1\]: .*other outputs"):
        require_same_code(unpack(packed), seen)


def test_a_hook_that_was_edited_is_refused_by_block(
    blocks: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    supernet = chain(nn.Conv2d(4, 4, 1))
    supernet.node((1,)).register_forward_hook(blocks.hook)
    packed, seen = pack(supernet), fingerprint(supernet)
    write(tmp_path, 2.0)
    monkeypatch.delitem(sys.modules, "edited_blocks")
    with pytest.raises(InputError, match=r"blocks\[0\]\[1\]: .*other outputs"):
        require_same_code(unpack(packed), seen)


@pytest.mark.ray
def test_a_module_that_was_edited_after_its_import_ends_a_pool_by_name(
    blocks: ModuleType, tmp_path: Path, ray_cluster: None
) -> None:
    supernet, protocol = chain(blocks.Scaled()), Evaluation(device="cpu")
    with open_pool(supernet, protocol, 1, digest="") as pool:
        pool.wait()
    write(tmp_path, 2.0)
    with (
        pytest.raises(InputError, match=r"blocks\[0\]\[1\]: .*Restart Python"),
        open_pool(supernet, protocol, 1, digest="") as pool,
    ):
        pool.wait()


def test_a_task_whose_function_was_edited_is_refused_by_a_worker(
    blocks: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = pack_task(PerSample(blocks.judge))
    judged = digest_of_packed(packed)
    replica, protocol, worker = pack(spos_8x8(CLASSES)), Evaluation(device="cpu"), RemoteEvaluator()
    assert worker.start(replica, protocol, packed, judged=judged)["device"] == "cpu"
    write(tmp_path, 2.0)
    monkeypatch.delitem(sys.modules, "edited_blocks")
    with pytest.raises(InputError, match=r"task: .*other code.*Restart Python"):
        worker.start(replica, protocol, packed, judged=judged)


class Remembering:
    """Leaves out what it remembers when it is pickled, and is pickled by its slots, too."""

    def __init__(self) -> None:
        self.seen = [1.0]

    def __getstate__(self) -> dict[str, object]:
        return {"seen": []}

    def __call__(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        return outputs[:, 0], outputs[:, 1]


def of_this_test() -> PerSample:
    """A task that travels by value."""

    class Local:
        factor = 2.0

        def __call__(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
            return self.factor * outputs[:, 0], outputs[:, 1]

    return PerSample(Local())


@pytest.mark.parametrize("make", [lambda: PerSample(Remembering()), of_this_test])
def test_a_task_that_travelled_is_the_same(make: Callable[[], PerSample]) -> None:
    packed = pack_task(make())
    require_same_task(unpack(packed), digest_of_packed(packed))
    child = subprocess.run(
        [sys.executable, "-c", ELSEWHERE],
        input=pickle.dumps((packed, module_folders(), digest_of_packed(packed))),
        check=False,
        capture_output=True,
    )
    assert child.returncode == 0, child.stderr.decode()


@pytest.mark.ray
def test_a_pool_compares_tasks(blocks: ModuleType, tmp_path: Path, ray_cluster: None) -> None:
    supernet, task = chain(nn.Conv2d(4, 4, 1)), PerSample(blocks.judge)
    protocol = Evaluation(device="cpu")
    with open_pool(supernet, protocol, 1, task=task, digest="") as pool:
        pool.wait()
    write(tmp_path, 2.0)
    with (
        pytest.raises(InputError, match="Restart Python"),
        open_pool(supernet, protocol, 1, task=task, digest="") as pool,
    ):
        pool.wait()
