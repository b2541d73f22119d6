"""Modules that may change their input behind autograd are found, whatever way leads to the code.

They write to large samples only, which no check of examples or of a first batch shows: scores of
candidates that share the input are then those of a plain loop only if they run on copies.
"""

from __future__ import annotations

import functools
import operator
import sys
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any

import numpy as np
import pytest
import torch
import unseen_ways
from supernet_zoo import ZOO
from torch import Tensor, nn
from torch.nn import functional

import raynas
from raynas.data import SearchData
from raynas.shards.shard import Shard, make_shards
from raynas.supernets import ChainSupernet
from raynas.supernets.unseen_writes import may_write, unseen_writers

WIDTH = 4


def clipped(x: Tensor, most: float = 6.0) -> Tensor:
    x.data.clamp_(max=most)
    return x


class Ops:
    def clip(self, x: Tensor) -> Tensor:
        return clipped(x)


class Kind(Enum):
    CLIP = "clip"

    def __call__(self, x: Tensor) -> Tensor:
        return clipped(x)


class Clip(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: Tensor) -> Tensor:
        return clipped(x).clone()

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        return gradient


class Clipping(Tensor):
    """A tensor that clips what it is multiplied by."""

    @classmethod
    def __torch_function__(
        cls, function: Any, types: Any, given: Sequence[Any] = (), named: Any = None
    ) -> Any:
        plain = [each.as_subclass(Tensor) if type(each) is cls else each for each in given]
        if function is functional.linear:
            clipped(plain[0])
        return function(*plain, **(named or {}))


class Of(nn.Module):
    """Runs a function on its input, and then a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(WIDTH, WIDTH)
        self.held: Any = None
        self.extra: Any = None

    def way(self, x: Tensor) -> Tensor:
        return x

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(self.way(x))  # type: ignore[no-any-return]


OPS = Ops()
BY_NAME = {"clip": [clipped], "relu": [torch.relu]}
DATA = operator.attrgetter("data")


def by_way(way: Callable[[Any, Tensor], Tensor], **attributes: Any) -> Callable[[], nn.Module]:
    """A factory of modules of a class with this method, which hold these attributes."""

    def make() -> nn.Module:
        module = type("Way", (Of,), {"way": way})()
        for name, value in attributes.items():
            setattr(module, name, value)
        return module  # type: ignore[no-any-return]

    return make


def with_default(self: Any, x: Tensor, function: Any = clipped) -> Tensor:
    return function(x)  # type: ignore[no-any-return]


def imported_inside(self: Any, x: Tensor) -> Tensor:
    from unseen_ways import clip

    return clip(x)


def imported_dotted(self: Any, x: Tensor) -> Tensor:

    mine = unseen_ways
    return mine.clip(x)


def in_a_class(self: Any, x: Tensor) -> Tensor:
    class Local:
        def __call__(self, x: Tensor) -> Tensor:
            return OPS.clip(x)

    return Local()(x)


def hooked() -> nn.Module:
    module = nn.Linear(WIDTH, WIDTH)
    module.register_forward_pre_hook(lambda _, given: (OPS.clip(given[0]),))
    return module


def patched() -> nn.Module:
    module = nn.Sequential(nn.Linear(WIDTH, WIDTH))
    module.forward = functools.partial(map_first, module, clipped)  # type: ignore[method-assign]
    return module


def map_first(module: Any, function: Any, x: Tensor) -> Tensor:
    return module[0](function(x))  # type: ignore[no-any-return]


def with_a_clipping_buffer() -> nn.Module:
    module = nn.Linear(WIDTH, WIDTH, bias=False)
    module.register_buffer("mark", torch.ones(1).as_subclass(Clipping))
    return module


def with_a_class_attribute() -> nn.Module:
    function = functools.partial(clipped, most=6.0)
    return type("Held", (Of,), {"way": staticmethod(function)})()  # type: ignore[no-any-return]


WAYS: dict[str, Callable[[], nn.Module]] = {
    "function": by_way(lambda self, x: clipped(x)),
    "object of the module": by_way(lambda self, x: self.extra.clip(x), extra=OPS),
    "global object": by_way(lambda self, x: OPS.clip(x)),
    "global table": by_way(lambda self, x: BY_NAME["clip"][0](x)),
    "list": by_way(lambda self, x: self.extra[0](x), extra=[clipped]),
    "list in a table": by_way(lambda self, x: self.extra["a"][0](x), extra={"a": (clipped,)}),
    "object in a list": by_way(lambda self, x: self.extra[0].clip(x), extra=[OPS]),
    "unregistered module": by_way(
        lambda self, x: self.extra[0].way(x), extra=[by_way(lambda self, x: clipped(x))()]
    ),
    "default": by_way(with_default),
    "argument of a partial": by_way(
        lambda self, x: next(iter(self.extra([x]))), extra=functools.partial(map, clipped)
    ),
    "class attribute": with_a_class_attribute,
    "enum": by_way(lambda self, x: Kind.CLIP(x)),
    "enum of the module": by_way(lambda self, x: self.extra(x), extra=Kind.CLIP),
    "autograd function": by_way(lambda self, x: Clip.apply(x)),
    "its apply": by_way(lambda self, x: self.extra(x), extra=Clip.apply),
    "imported inside": by_way(imported_inside),
    "module under another name": by_way(imported_dotted),
    "class inside": by_way(in_a_class),
    "attrgetter": by_way(lambda self, x: DATA(x).clamp_(max=6.0)),
    "sys.modules": by_way(lambda self, x: sys.modules["unseen_ways"].clip(x)),
    "globals": by_way(lambda self, x: globals()["clipped"](x)),
    "eval": by_way(lambda self, x: eval("clipped(x)")),
    "hook": hooked,
    "patched forward": patched,
}


def data() -> SearchData:
    """A shard of ordinary samples, and one of large ones behind it."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(32, WIDTH)).astype(np.float32)
    x[16:] *= 30
    shards = make_shards(x, rng.integers(0, 3, 32), split="validation", shard_size=16)
    return SearchData("noise", 3, calibration=[], validation=shards, test=[])


def supernet_of(make: Callable[[], nn.Module]) -> ChainSupernet:
    torch.manual_seed(0)
    blocks = [[make(), nn.Linear(WIDTH, WIDTH), nn.Identity()], [nn.Identity(), nn.Tanh()]]
    inputs = raynas.Inputs((WIDTH,), "float32")
    head = nn.Linear(WIDTH, 3)
    return ChainSupernet(nn.Identity(), blocks, head, inputs=inputs, num_classes=3).eval()


@torch.no_grad()
def plain_loss(supernet: ChainSupernet, path: tuple[int, ...], shards: Sequence[Shard]) -> float:
    losses = []
    for shard in shards:
        outputs = torch.tensor(shard.features)
        for module in supernet.subnet(path):
            outputs = module(outputs)
        losses.append(
            functional.cross_entropy(outputs, torch.tensor(shard.targets), reduction="none")
        )
    return float(torch.cat(losses).mean())


@pytest.mark.parametrize("name", WAYS)
def test_every_way_is_found_and_scores_are_those_of_a_plain_loop(name: str) -> None:
    supernet, given = supernet_of(WAYS[name]), data()
    paths = [(a, b) for a in range(3) for b in range(2)]
    assert (1, 0) in unseen_writers(supernet)
    scores = raynas.evaluate(supernet, given, paths, workers=0)
    expected = [plain_loss(supernet, path, given.validation) for path in paths]
    assert [score.loss for score in scores] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    "make",
    [
        with_a_clipping_buffer,
        by_way(lambda self, x: self.extra(x).clamp_(max=6.0), extra=Tensor.data.__get__),
        by_way(lambda self, x: self.extra(x).clamp_(max=6.0), extra=operator.attrgetter("data")),
        by_way(lambda self, x: np.nan_to_num(x, copy=False)),
        by_way(lambda self, x: torch.ops.someones.clip_(x)),
        by_way(lambda self, x: self.extra(x), extra=np.frompyfunc(abs, 1, 1)),
        by_way(lambda self, x: self.extra(x), extra=torch.from_dlpack),
    ],
)
def test_other_ways_that_cannot_be_followed(make: Callable[[], nn.Module]) -> None:
    assert may_write(make())


class Gated(nn.Module):
    """An ordinary module of a user."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(WIDTH, WIDTH) for _ in range(2)])
        self.activation = {"silu": functional.silu}
        self.scale, self.act = nn.Parameter(torch.ones(1)), functools.partial(torch.clamp, max=6.0)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = self.activation["silu"](layer(x)) * self.gate(x) + x
        return self.act(torch.cat([x[:, :2], x[:, 2:].relu()], 1))

    def gate(self, x: Tensor) -> Tensor:
        return torch.sigmoid(x.mean(1, keepdim=True)) * self.scale


@pytest.mark.parametrize(
    "make",
    [
        Gated,
        lambda: nn.TransformerEncoderLayer(WIDTH, 2, activation="gelu"),
        lambda: nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.Hardswish()),
        lambda: nn.utils.parametrizations.weight_norm(nn.Linear(2, 2)),
        lambda: nn.LSTM(2, 2),
    ],
)
def test_ordinary_modules_run_on_the_input_itself(make: Callable[[], nn.Module]) -> None:
    assert not may_write(make())


@pytest.mark.parametrize("name", ZOO)
def test_supernets_of_the_library_run_no_module_on_copies(name: str) -> None:
    assert unseen_writers(ZOO[name]()) == frozenset()
