"""What the identity of a supernet must not see, and what it leaves as it is."""

from __future__ import annotations

import copy
import itertools
import json
import os
import random
import subprocess
import sys
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import identity_cases
import numpy as np
import pytest
import torch
from identity_cases import CHANNELS, Attribute, Remembering, chain
from supernet_zoo import random_images, scrambled
from torch import Tensor, nn

from raynas.supernets import ChainSupernet, Identity, digest, identity, load, save
from raynas.supernets.chain_nodes import copy_of
from raynas.supernets.identity import untrained_digest


@pytest.fixture(scope="module")
def everything() -> ChainSupernet:
    return identity_cases.everything()


def as_it_is(supernet: ChainSupernet, folder: Path) -> ChainSupernet:
    return supernet


def trained(supernet: ChainSupernet, folder: Path) -> ChainSupernet:
    return supernet.train()


def evaluated(supernet: ChainSupernet, folder: Path) -> ChainSupernet:
    supernet.eval()
    with torch.no_grad():
        for choice in range(supernet.space.choices[0]):
            supernet(random_images(supernet, 5), (choice, 0))
    return supernet


def copied(supernet: ChainSupernet, folder: Path) -> ChainSupernet:
    return copy.deepcopy(supernet)


def with_channels_last(supernet: ChainSupernet, folder: Path) -> ChainSupernet:
    return copy.deepcopy(supernet).to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def with_gradients(supernet: ChainSupernet, folder: Path) -> ChainSupernet:
    supernet(random_images(supernet, 2), (0, 0)).sum().backward()
    return supernet


def built_again(supernet: ChainSupernet, folder: Path) -> ChainSupernet:
    return identity_cases.everything()


def saved_and_loaded(supernet: ChainSupernet, folder: Path) -> ChainSupernet:
    fresh = scrambled(identity_cases.everything(), 5)
    save(supernet, folder / "weights.safetensors")
    load(fresh, folder / "weights.safetensors")
    return fresh


@pytest.mark.parametrize(
    "change",
    [
        as_it_is,
        trained,
        evaluated,
        copied,
        with_channels_last,
        with_gradients,
        built_again,
        saved_and_loaded,
    ],
)
def test_what_does_not_matter(change: Callable[..., ChainSupernet], tmp_path: Path) -> None:
    expected = identity(identity_cases.everything())
    changed = identity(change(identity_cases.everything(), tmp_path))
    assert changed.difference(expected) is None
    assert changed.digest == expected.digest


@pytest.mark.parametrize("seed", ["77"])
def test_another_process_sees_the_same(seed: str, everything: ChainSupernet) -> None:
    path = os.pathsep.join(sys.path)
    done = subprocess.run(
        [
            sys.executable,
            "-W",
            "ignore",
            "-c",
            "import identity_cases as i; print(i.digest(i.everything()))",
        ],
        env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": path, "OMP_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == digest(everything)


def test_the_callers_state_changes_nothing_and_comes_back(everything: ChainSupernet) -> None:
    expected = digest(everything)
    torch.manual_seed(3)
    random.seed(3)
    before = torch.get_rng_state(), np.random.default_rng(0), random.getstate()
    precision, threads = torch.get_float32_matmul_precision(), torch.get_num_threads()
    try:
        torch.set_default_dtype(torch.float64)
        torch.set_float32_matmul_precision("medium")
        torch.set_num_threads(2)
        torch.use_deterministic_algorithms(True)
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            assert digest(everything) == expected
            assert torch.is_inference_mode_enabled()
            assert torch.is_autocast_enabled("cpu")
            assert torch.get_autocast_dtype("cpu") == torch.bfloat16
        assert torch.get_default_dtype() == torch.float64
        assert torch.get_float32_matmul_precision() == "medium"
        assert torch.get_num_threads() == 2
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_float32_matmul_precision(precision)
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(False)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[2]


def test_the_supernet_stays_as_it_is() -> None:
    supernet = chain(Remembering(), nn.BatchNorm2d(CHANNELS)).train()
    before = {name: tensor.clone() for name, tensor in supernet.state_dict().items()}
    identity(supernet)
    assert all(torch.equal(t, before[name]) for name, t in supernet.state_dict().items())
    assert all(module.training for module in supernet.modules())
    memory = supernet.blocks[0][0]  # type: ignore[index]
    assert (memory.calls, memory.last, memory.cache) == (0, None, {})  # type: ignore[union-attr]


class Drawing(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.dropout(x, 0.5) * random.random() * np.random.rand()  # noqa: NPY002


def test_random_modules_have_one_identity() -> None:
    assert digest(chain(Drawing())) == digest(chain(Drawing()))


def test_json_round_trip(everything: ChainSupernet) -> None:
    one = identity(everything)
    text = json.dumps(one.to_json(), allow_nan=False)
    assert Identity.from_json(json.loads(text)) == one
    assert len(one.digest) == len(one.structure) == 32


def test_rounding_of_another_processor_is_no_difference(everything: ChainSupernet) -> None:
    one = identity(everything)
    rows = one.to_json()["behaviour"]
    rounded = [[n, s, "0" * 16, z and z * 1.0001, p and p * 0.9999] for n, s, _, z, p in rows]
    assert (
        one.difference(Identity.from_json({"structure": one.structure, "behaviour": rounded}))
        is None
    )
    rounded[3][3] *= 1.1
    other = Identity.from_json({"structure": one.structure, "behaviour": rounded})
    assert one.difference(other) == f"what {rows[3][0]} computes"


def test_not_a_number_has_an_identity() -> None:
    one = identity(chain(Attribute(float("nan"))))
    assert json.dumps(one.to_json(), allow_nan=False)
    assert one.difference(identity(chain(Attribute(float("nan"))))) is None


class Node:
    """A part of a graph that refers back."""

    def __init__(self, parent: Node | None = None) -> None:
        self.parent, self.children = parent, set()  # type: ignore[var-annotated]
        if parent is not None:
            parent.children.add(self)


def test_graphs_with_sets_that_refer_back_are_walked_once() -> None:
    def graph() -> Node:
        root = Node()
        for _ in range(3):
            for below in [Node(root) for _ in range(3)]:
                Node(Node(below))
        return root

    assert digest(chain(Attribute(graph()))) == digest(chain(Attribute(graph())))


class Numbered(nn.Conv2d):
    """A layer whose every copy has a number of its own, that nothing is computed with."""

    made = itertools.count()

    def __init__(self) -> None:
        super().__init__(CHANNELS, CHANNELS, 3, padding=1)
        self.number = next(self.made)

    def __setstate__(self, state: dict[str, object]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self.number = next(self.made)


def test_what_changes_when_it_is_copied_is_left_out() -> None:
    supernet = chain(Numbered())
    assert digest(supernet) == digest(supernet) == digest(copy.deepcopy(supernet))
    assert untrained_digest(supernet) == untrained_digest(supernet)


def test_copies_keep_what_empty_containers_have() -> None:
    """An `OrderedDict` has attributes even where it has no items."""
    layer = nn.Linear(2, 2)
    layer.named = OrderedDict()  # type: ignore[assignment]
    layer.named.scale = 2.0  # type: ignore[union-attr,assignment]
    made = copy_of(layer)
    assert made.named is not layer.named
    assert made.named.scale == 2.0  # type: ignore[union-attr]
    assert made._forward_hooks is not layer._forward_hooks
