"""What the identity of a supernet sees."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from types import FunctionType
from typing import Any

import identity_cases
import pytest
import torch
from identity_cases import CHANNELS, PAIRS, Calling, Looking, chain
from supernet_zoo import ZOO, scrambled
from torch import Tensor, nn

from raynas.errors import InputError
from raynas.inputs import Inputs
from raynas.supernets import ChainSupernet, Identity, digest, identity
from raynas.supernets.code_facts import code_facts
from raynas.supernets.identity import untrained_digest

SAME_OUTPUT = {"sharing", "eps", "integer or float", "kind of hook", "unregistered module"}
"""Pairs that give the same, or nearly, on the examples: only the structure tells them apart."""


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


class Tabled(nn.Module):
    """Looks into tables of its Python module, which it leaves as they are."""

    def forward(self, x: Tensor) -> Tensor:
        return x * LONG[150] * TENSORS["one"]


LONG = [1.0] * 200
TENSORS = {"one": torch.ones(1)}


def test_long_tables_and_tables_of_tensors_count(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {identity(chain(Tabled())).structure}
    monkeypatch.setitem(TENSORS, "one", torch.full((1,), 2.0))
    seen.add(identity(chain(Tabled())).structure)
    monkeypatch.setattr(sys.modules[__name__], "LONG", [*LONG[:150], 2.0, *LONG[151:]])
    seen.add(identity(chain(Tabled())).structure)
    assert len(seen) == 3


CACHE: dict[int, Tensor] = {}


class Caching(nn.Module):
    """Fills a table of its Python module."""

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[2] not in CACHE:
            CACHE[x.shape[2]] = torch.ones(1)
        return x * CACHE[x.shape[2]]


def test_tables_that_modules_fill_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    CACHE.clear()
    first = identity(chain(Caching()))
    assert CACHE
    assert identity(chain(Caching())) == first


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


class LooksUp(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return eval("x.relu()")  # type: ignore[no-any-return]


def test_code_that_cannot_be_read_makes_it_incomplete(caplog: pytest.LogCaptureFixture) -> None:
    found = identity(chain(LooksUp()))
    assert found.seen_running
    assert not found.complete
    assert found.unread == ("what eval gives in LooksUp.forward",)
    with caplog.at_level("WARNING", logger="raynas"):
        untrained_digest(chain(LooksUp()))
    assert "what eval gives in LooksUp.forward cannot be read" in caplog.text


@pytest.mark.parametrize("name", PAIRS)
def test_all_of_them_can_be_read(name: str) -> None:
    assert identity(PAIRS[name][0]()).unread == ()


def test_operations_of_c_count_whatever_the_weights() -> None:
    """As latency tables and training checkpoints compare them."""
    one, other = (untrained_digest(make()) for make in PAIRS["method of tensors"])
    assert one != other


def test_rewritten_assertions_lead_to_no_session() -> None:
    """Code with `assert` in a test reads helpers of pytest, behind which everything lies."""

    def asserting(x: Tensor) -> Tensor:
        assert x.ndim
        return torch.relu(x)

    code = asserting.__code__
    assert any(name.startswith("@py") for name in code.co_names)
    assert code_facts(code).globals == {"torch", "AssertionError"}
    assert code_facts(code).chains == {("torch", "relu"), ("AssertionError",)}
