"""Copies of supernets in this process and in others, whatever their modules are made of."""

from __future__ import annotations

import pickle
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from functools import partial
from types import ModuleType

import pytest
import torch
from random_chains import CLASSES
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, spectral_norm, weight_norm

from raynas.errors import InputError
from raynas.evaluation import Evaluation
from raynas.supernets import ChainSupernet, Normalize
from raynas.task import PerSample
from raynas.workers.open_pool import check_workers, open_pool
from raynas.workers.pool import LocalPool
from raynas.workers.replicas import module_folders, pack, pack_task, private_copy, unpack


def conv() -> nn.Conv2d:
    return nn.Conv2d(4, 4, 3, padding=1)


def chain(*choices: nn.Module) -> ChainSupernet:
    stem = nn.Sequential(Normalize((0.5,), (0.2,)), nn.Conv2d(1, 4, 3))
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, CLASSES))
    blocks = [[conv(), conv()], [nn.Identity(), *choices]]
    return ChainSupernet(stem, blocks, head, image_shape=(1, 6, 6), num_classes=CLASSES).eval()


class Doubled(nn.Module):
    """A parametrization."""

    def forward(self, weight: Tensor) -> Tensor:
        return 2 * weight


def parametrized() -> nn.Module:
    module = conv()
    parametrize.register_parametrization(module, "weight", Doubled())
    parametrize.register_parametrization(module, "bias", Doubled())
    return module


def applies_a_lambda() -> nn.Module:
    class Local(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.function = lambda x: x.clamp(-0.5, 0.5)

        def forward(self, x: Tensor) -> Tensor:
            return self.function(x)

    return Local()


def with_a_hook() -> nn.Module:
    module = conv()
    module.register_forward_hook(lambda module, inputs, output: output + 1)
    return module


def old_spectral_norm() -> nn.Module:
    return spectral_norm(conv())


def old_weight_norm() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return weight_norm(conv())


MAKERS: list[Callable[[], nn.Module]] = [
    parametrized,
    lambda: parametrizations.weight_norm(conv()),
    lambda: parametrizations.spectral_norm(conv()),
    lambda: parametrizations.orthogonal(nn.Conv2d(4, 4, 1)),
    old_weight_norm,
    old_spectral_norm,
    applies_a_lambda,
    with_a_hook,
]
NAMES = [
    "parametrized", "weight norm", "spectral norm", "orthogonal", "old weight norm",
    "old spectral norm", "lambda", "hook",
]  # fmt: skip


def make(maker: Callable[[], nn.Module], *, trained: bool) -> ChainSupernet:
    """A supernet of a module; where it was trained, hooks hold weights with a gradient."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        supernet = chain(maker())
        if trained:
            supernet.train()
            supernet(torch.rand(2, 1, 6, 6), (0, 1)).sum().backward()
    return supernet.eval()


def outputs(supernet: ChainSupernet) -> bytes:
    x = torch.linspace(0.0, 1.0, 72).reshape(2, 1, 6, 6)
    with torch.no_grad():
        return supernet(x, (0, 1)).numpy().tobytes()


@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("maker", MAKERS, ids=NAMES)
def test_copies_compute_the_same_and_share_nothing(maker: Callable[[], nn.Module], trained: bool):
    supernet = make(maker, trained=trained)
    wanted = outputs(supernet)
    for copy in (private_copy(supernet), unpack(pack(supernet))):
        assert outputs(copy) == wanted
        with torch.no_grad():
            for parameter in copy.parameters():
                parameter.zero_()
    assert outputs(supernet) == wanted


READ = """
import pickle, sys, torch
from raynas.workers.replicas import unpack
x = torch.linspace(0.0, 1.0, 72).reshape(2, 1, 6, 6)
torch.set_num_threads(1)
for packed in pickle.load(sys.stdin.buffer):
    with torch.no_grad():
        sys.stdout.buffer.write(unpack(packed)(x, (0, 1)).numpy().tobytes())
"""


def test_another_process_computes_the_same(helper_environment: dict[str, str]):
    supernets = [make(maker, trained=True) for maker in MAKERS]
    done = subprocess.run(
        [sys.executable, "-c", READ],
        input=pickle.dumps([pack(supernet) for supernet in supernets]),
        env=helper_environment,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout == b"".join(map(outputs, supernets))


def test_tied_weights_stay_tied():
    shared = conv()
    supernet = chain(shared, nn.Sequential(shared, nn.ReLU()))
    for copy in (private_copy(supernet), unpack(pack(supernet))):
        assert copy.node((0, 1)).weight is copy.node((0, 2))[0].weight


class Locked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()


@pytest.mark.parametrize("action", [private_copy, pack])
def test_what_cannot_travel_is_named(action: Callable[[ChainSupernet], object]):
    with pytest.raises(InputError, match="lock") as caught:
        action(chain(conv(), nn.Sequential(conv(), Locked())))
    assert caught.value.argument == "blocks[1][2]"


def test_scripted_modules_are_named_before_they_are_sent():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scripted = torch.jit.script(conv())
    with pytest.raises(InputError, match="compiled modules") as caught:
        pack(chain(scripted))
    assert caught.value.argument == "blocks[1][1]"


@pytest.mark.parametrize("workers", [0, 1])
def test_they_are_named_before_any_worker_is_started(workers: int, monkeypatch: pytest.MonkeyPatch):
    """With nobody to start a worker on: Ray would refuse the address."""
    monkeypatch.setenv("RAY_ADDRESS", "http://nowhere")
    with pytest.raises(InputError, match="lock"):
        check_workers(Evaluation(device="cpu"), workers, chain(Locked()))


def test_tasks_travel_with_their_functions():
    shift = 3.0
    task = PerSample(lambda outputs, targets: (outputs[:, 0] + shift, targets * 1.0))
    found = unpack(pack_task(task))
    scores, losses = found.function(torch.ones(2, 1), torch.ones(2))
    assert (scores.tolist(), losses.tolist()) == ([4.0, 4.0], [1.0, 1.0])
    with pytest.raises(InputError) as caught:
        pack_task(PerSample(partial(max, threading.Lock())))  # type: ignore[arg-type]
    assert caught.value.argument == "task"


SOURCE = "from torch import nn\nclass Own(nn.Identity): pass"


def of_a_module(name: str, monkeypatch: pytest.MonkeyPatch) -> ChainSupernet:
    """A supernet with a class of a module that only this process has."""
    module = ModuleType(name)
    exec(SOURCE, module.__dict__)
    monkeypatch.setitem(sys.modules, name, module)
    return chain(module.Own())


def test_modules_that_only_the_driver_has_are_named(monkeypatch: pytest.MonkeyPatch):
    packed = pack(of_a_module("only_here", monkeypatch))
    monkeypatch.delitem(sys.modules, "only_here")
    with pytest.raises(InputError, match="Install only_here on every node") as caught:
        unpack(packed)
    assert caught.value.argument == "supernet"


def test_modules_are_found_in_the_folders_of_the_driver(tmp_path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "beside_the_script.py").write_text(
        "from torch import nn\nclass Own(nn.Identity): pass"
    )
    with monkeypatch.context() as driver:
        driver.syspath_prepend(str(tmp_path))
        from beside_the_script import Own  # type: ignore[import-not-found]

        packed, folders = pack(chain(Own())), module_folders()
    monkeypatch.delitem(sys.modules, "beside_the_script")
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert type(unpack(packed, folders).node((0, 1))).__name__ == "Own"
    assert sys.path[-1] == str(tmp_path)


@pytest.mark.ray
def test_workers_that_lack_a_module_say_so_in_one_error(
    ray_cluster: None, monkeypatch: pytest.MonkeyPatch
):
    supernet = of_a_module("only_in_the_driver", monkeypatch)
    with (
        pytest.raises(InputError, match="Install only_in_the_driver on every node") as caught,
        open_pool(supernet, Evaluation(device="cpu"), 1, digest="") as pool,
    ):
        pool.wait()
    assert type(caught.value) is InputError


@pytest.mark.ray
def test_nodes_without_the_package_are_named(ray_cluster: None, monkeypatch: pytest.MonkeyPatch):
    import ray

    from raynas.workers.ray_pool import ActorOptions, RayPool

    module = ModuleType("uninstalled")
    exec("class Actor:\n    def start(self, *arguments): pass", module.__dict__)
    monkeypatch.setitem(sys.modules, "uninstalled", module)
    options = ActorOptions(ray.remote(module.Actor))
    pool = RayPool(chain(conv()), Evaluation(device="cpu"), 1, options=options)
    try:
        with pytest.raises(InputError, match="No module named 'uninstalled'") as caught:
            pool.wait()
        assert caught.value.argument == "workers"
    finally:
        pool.close()


@pytest.mark.ray
def test_a_worker_takes_a_parametrized_supernet(ray_cluster: None):
    protocol = Evaluation(device="cpu")
    supernet = make(parametrized, trained=True)
    with open_pool(supernet, protocol, 1) as pool:
        pool.wait()
        assert pool.machine == LocalPool(supernet, protocol).machine
