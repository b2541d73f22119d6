"""What the identity of a supernet sees, and what it must not see."""

from __future__ import annotations

import copy
import json
import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Any

import identity_cases
import numpy as np
import pytest
import torch
from identity_cases import CHANNELS, PAIRS, Attribute, Calling, Looking, Remembering, chain
from supernet_zoo import ZOO, random_images, scrambled
from torch import Tensor, nn

from raynas.errors import InputError
from raynas.inputs import Inputs
from raynas.supernets import ChainSupernet, Identity, digest, identity, load, save
from raynas.supernets.code_facts import code_facts

SAME_OUTPUT = {"sharing", "eps", "integer or float", "kind of hook", "unregistered module"}
"""Pairs that give the same, or nearly, on the examples: only the structure tells them apart."""


@pytest.fixture(scope="module")
def everything() -> ChainSupernet:
    return identity_cases.everything()


@pytest.mark.parametrize("name", PAIRS)
def test_equal_weights_do_not_hide_what_is_computed_with_them(name: str) -> None:
    one, other = (make() for make in PAIRS[name])
    if "parametrization" not in name:
        other.load_state_dict(one.state_dict())
    first, second = identity(one), identity(other)
    assert first.structure != second.structure
    assert first.digest != second.digest
    assert first.difference(second) is not None
    assert first == identity(one)


@pytest.mark.parametrize("name", sorted(set(PAIRS) - SAME_OUTPUT))
def test_behaviour_alone_tells_most_of_them_apart(name: str) -> None:
    one, other = (make() for make in PAIRS[name])
    first, second = identity(one), identity(other)
    same = Identity(first.structure, second.behaviour)
    assert first.difference(same) is not None


def test_the_structure_of_a_subclass_and_of_the_recipe_counts() -> None:
    supernet = scrambled(ZOO["grey spos"]())
    before = digest(supernet)
    assert supernet.recipe is not None
    supernet.recipe["image_size"] = 16
    assert digest(supernet) != before


def test_inputs_and_classes_count() -> None:
    supernet = chain(nn.ReLU())
    seen = {identity(supernet).structure}
    supernet.num_classes = None
    seen.add(identity(supernet).structure)
    supernet.inputs = Inputs((1, 7, 6))
    seen.add(identity(supernet).structure)
    assert len(seen) == 3


def test_a_copy_that_runs_the_original_is_no_evidence() -> None:
    module = nn.Sequential(nn.BatchNorm2d(CHANNELS))
    usual = module.forward
    module.forward = lambda x: usual(x)  # type: ignore[method-assign]
    supernet = chain(module).train()
    found = identity(supernet)
    assert found.behaviour == ()
    assert not found.complete
    assert module[0].num_batches_tracked == 0


def test_globals_of_python_modules_count(monkeypatch: pytest.MonkeyPatch) -> None:
    supernet = chain(Looking())
    seen = {identity(supernet).structure}
    monkeypatch.setattr(identity_cases, "SCALES", {"small": 0.25, "large": 2.0})
    seen.add(identity(supernet).structure)
    monkeypatch.setattr(identity_cases, "OFFSET", torch.tensor(0.5))
    seen.add(identity(supernet).structure)
    monkeypatch.setattr(identity_cases, "scaled_by", lambda scale, x: x - scale)
    seen.add(identity(supernet).structure)
    assert len(seen) == 4


def test_a_patched_class_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    supernet = chain(identity_cases.AverageOf3())
    before = identity(supernet).structure
    monkeypatch.setattr(identity_cases.AverageOf3, "forward", identity_cases.AverageOf5.forward)
    assert identity(supernet).structure != before


def test_a_patched_class_of_torch_shows_in_the_behaviour(monkeypatch: pytest.MonkeyPatch) -> None:
    supernet = chain(nn.Tanh())
    before = identity(supernet)
    monkeypatch.setattr(nn.Tanh, "forward", lambda self, x: x.relu())
    assert before.difference(identity(supernet)) == "what blocks[0][0] computes"


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


class Unreadable:
    """Raises whenever anybody looks."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(name)


class Bug(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        raise KeyError("nothing")


def recursive() -> dict[str, Any]:
    value: dict[str, Any] = {"a": []}
    value["a"].append(value)
    return value


def deep() -> list[Any]:
    value: list[Any] = []
    for _ in range(500):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value", [Unreadable, recursive, deep, lambda: threading.Lock(), lambda: (i for i in "ab")]
)
def test_objects_that_cannot_be_read_do_not_raise(value: Callable[[], Any]) -> None:
    def build() -> ChainSupernet:
        module = Calling(torch.relu)
        vars(module)["extra"] = value()
        return chain(module)

    one = identity(build())
    assert one == identity(build())
    assert one.complete == (one.behaviour != ())


def test_what_cannot_be_run_makes_it_incomplete() -> None:
    assert identity(chain(nn.ReLU())).complete
    assert not identity(chain(nn.ReLU(), Bug())).complete
    with torch.device("meta"):
        supernet = ZOO["grey spos"]()
    assert identity(supernet).behaviour == ()


class Telling(nn.Identity):
    def __init__(self, told: object) -> None:
        super().__init__()
        self.told = [Unreadable(), told]

    def raynas_identity(self) -> object:
        return {"told": self.told[1]}


def test_a_module_can_add_to_its_identity() -> None:
    assert digest(chain(Telling(1))) == digest(chain(Telling(1)))
    assert digest(chain(Telling(1))) != digest(chain(Telling(2)))
    broken = Telling(1)
    broken.told = []
    with pytest.raises(InputError, match=r"blocks\.0\.0.*raynas_identity"):
        digest(chain(broken))


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


def compiled(text: str) -> FunctionType:
    names: dict[str, Any] = {}
    exec(text, names)
    function: FunctionType = names["f"]
    return function


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ('def f(x):\n    "text"\n    return x + 1', True),
        ("\n\n# moved\ndef f(x):\n    return x + 1  # so", True),
        ("def g(x):\n    return x + 1\nf = g", True),
        ("def f(x):\n    return x + 2", False),
        ("def f(x):\n    return x + 1.0", False),
        ("def f(x):\n    return x - 1", False),
        ("def f(x, y=1):\n    return x + 1", False),
        ("def f(x):\n    return (lambda y: y + 1)(x)", False),
    ],
)
def test_code_is_read_without_its_place(text: str, same: bool) -> None:
    usual = code_facts(compiled("def f(x):\n    return x + 1").__code__).digest
    assert (code_facts(compiled(text).__code__).digest == usual) == same


class Bounded(nn.Module):
    """Clips at a bound that it gets from somewhere else than an attribute."""

    def __init__(self, bound: Callable[[], float]) -> None:
        super().__init__()
        self.bound = bound

    def forward(self, x: Tensor) -> Tensor:
        return x.clamp(max=self.bound())


@pytest.mark.parametrize("size", [3.0, 30.0])
def test_bounds_that_examples_do_not_reach_show_in_the_behaviour(
    size: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a clipped activation whose bound is in the environment, or in a file."""

    def seen(bound: float) -> Identity:
        monkeypatch.setenv("RAYNAS_TEST_BOUND", str(bound))
        return identity(chain(Bounded(lambda: float(os.environ["RAYNAS_TEST_BOUND"]))))

    first, second = seen(size), seen(1.1 * size)
    assert first.digest != second.digest
    assert first == seen(size)


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


class Slotted:
    """A settings object without a dictionary."""

    __slots__ = ("factor",)


SLOTTED = Slotted()


class UsesSlots(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * float(SLOTTED.factor > 0)


def test_a_global_object_with_slots_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SLOTTED, "factor", 2.0, raising=False)
    first = identity(chain(UsesSlots()))
    monkeypatch.setattr(SLOTTED, "factor", 3.0)
    assert identity(chain(UsesSlots())).structure != first.structure
