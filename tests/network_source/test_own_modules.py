"""`network.py` of a user's modules: their code is taken as it is, or what is wrong is said."""

from __future__ import annotations

import math
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from raynas.inputs import Inputs
from raynas.network_source import SOURCE, source_bytes
from raynas.network_source.expressions import Call, lines_of, written

FLOATS = Inputs((4,), "float32")
IMAGES = Inputs((2, 6, 6), "float32")

SLOPE = 0.25
TABLE = {"scale": (1.5, 2)}


def leaky(x: Tensor, slope: float = SLOPE) -> Tensor:
    """A helper that the forward of a module calls."""
    return torch.where(x > 0, x, x * slope) * math.sqrt(TABLE["scale"][0])


class Doubling(torch.autograd.Function):
    """A function with a gradient of its own."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x * 2

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        return grad * 3


class Gated(nn.Module):
    """A block with much of what blocks have.

    Only the first paragraph is written.
    """

    FLOOR = -1.0

    def __init__(self, width: int, shortcut: bool, act: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.width = width
        self.shape = (-1, width)
        self.act = act
        self.kind = torch.float32
        self.unused = object()
        self.shortcut = nn.Linear(width, width) if shortcut else None
        self.gain = nn.Parameter(torch.full((width,), 0.5))
        self.fixed = nn.Parameter(torch.ones(100), requires_grad=False)
        self.register_buffer("offset", torch.linspace(0, 1, width))
        self.register_buffer("passing", torch.tensor([1e-3, float("inf")]), persistent=False)
        self.register_buffer("nothing", None)

    @property
    def half(self) -> int:
        return self.width // 2

    @staticmethod
    def clipped(x: Tensor) -> Tensor:
        return x.clamp(max=5.0)

    def mixed(self, x: Tensor) -> Tensor:
        # Comments are kept.
        first, second = x[:, : self.half], x[:, self.half :]
        return torch.cat((second, first), 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.mixed(x.to(self.kind).reshape(self.shape)) * self.gain + self.offset
        y = self.clipped(self.act(leaky(y))) * self.passing[0] * self.fixed.mean()
        if self.training:
            y = F.dropout(y, 0.5)
        y = Doubling.apply(y).clamp(min=self.FLOOR)
        return y if self.shortcut is None else y + self.shortcut(x)


class FrozenNorm(nn.Module):
    """Statistics that stay as they are when the rest is trained."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(4)

    def train(self, mode: bool = True) -> FrozenNorm:
        super().train(mode)
        self.norm.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x)


class Base(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return self.run(x) + 1

    def run(self, x: Tensor) -> Tensor:
        return x


class Derived(Base):
    def run(self, x: Tensor) -> Tensor:
        return x * 2


class Named(nn.Sequential):
    """A chain that names its layers, as torchvision's blocks do."""

    def __init__(self) -> None:
        super().__init__(OrderedDict(first=nn.Linear(4, 4), second=nn.Tanh()))


class Branches(nn.Module):
    """Lists and dicts of modules."""

    def __init__(self) -> None:
        super().__init__()
        self.every = nn.ModuleList([nn.Linear(4, 4), nn.Sequential(), nn.Identity()])
        self.named = nn.ModuleDict({"one": nn.Linear(4, 4), "two": nn.ReLU6()})

    def forward(self, x: Tensor) -> Tensor:
        outputs = [module(x) for module in self.every]
        return sum(outputs) + self.named["two"](self.named["one"](x))


class Quoted(nn.Module):
    """Is called "quoted\""""

    def __init__(self) -> None:
        super().__init__()
        self.type = "twice"

    def forward(self, x: Tensor) -> Tensor:
        return renamed(x) * 2 if self.type == "twice" else x


def doubled(x: Tensor) -> Tensor:
    return x * 2


renamed = doubled


def shared() -> nn.Module:
    """A chain that runs one layer twice, and a module that has it in a list twice."""
    limited = nn.Hardtanh(-0.5, 0.5)
    branches = Branches()
    branches.every = nn.ModuleList([limited, limited])
    return nn.Sequential(nn.Sequential(limited, nn.Linear(4, 4), limited), branches)


def frozen() -> nn.Module:
    return nn.Linear(4, 4).requires_grad_(False)


WRITABLE: dict[str, Callable[[], nn.Module]] = {
    "much": lambda: nn.Sequential(Gated(4, True, torch.tanh), Gated(4, False, F.silu)),
    "train": lambda: nn.Sequential(nn.Linear(4, 4), FrozenNorm(), nn.Linear(4, 2)),
    "bases": lambda: nn.Sequential(Derived(), Base(), nn.Linear(4, 2)),
    "names": lambda: nn.Sequential(Named(), nn.Linear(4, 2)),
    "lists": lambda: nn.Sequential(Branches(), nn.Linear(4, 2)),
    "frozen": lambda: nn.Sequential(frozen(), nn.GELU("tanh"), nn.LayerNorm(4, bias=False)),
    "one": lambda: nn.Linear(4, 2),
    "shared": shared,
    "quoted": lambda: nn.Sequential(Quoted(), nn.Linear(4, 2)),
    "double": lambda: nn.Sequential(nn.Linear(4, 4).double().float(), nn.PReLU(4), nn.Softmax(-1)),
    "heads": lambda: nn.Sequential(nn.Unflatten(1, (2, 2)), nn.Flatten(), nn.Linear(4, 3)),
}


@pytest.mark.parametrize("case", WRITABLE)
def test_code_of_ones_own_is_written(case: str) -> None:
    torch.manual_seed(0)
    network = WRITABLE[case]().eval()
    refused: dict[str, str] = {}
    # The file has been run and compared, in evaluation and in training.
    source = source_bytes(network, FLOATS, (), "weights.safetensors", refused)
    assert refused == {}
    assert source is not None
    namespace: dict[str, Any] = {"__name__": "network", "__file__": SOURCE}
    exec(source, namespace)
    twin = namespace["build_network"]()
    twin.load_state_dict(network.state_dict())
    samples = torch.randn(6, 4)
    for mode in (False, True):
        outputs = []
        for module in (twin, network):
            torch.manual_seed(1)
            x = samples.clone().requires_grad_()
            output = module.train(mode)(x)
            output.square().sum().backward()
            outputs.append((output.detach(), x.grad))
        torch.testing.assert_close(outputs[0], outputs[1], rtol=0, atol=0)


def test_only_what_is_used_is_written_as_it_was_written() -> None:
    refused: dict[str, str] = {}
    network = WRITABLE["much"]().eval()
    source = source_bytes(network, FLOATS, (), "w.safetensors", refused)
    assert source is not None
    text = source.decode()
    assert '"""A block with much of what blocks have."""' in text
    assert "        # Comments are kept.\n" in text
    assert "unused" not in text
    assert "SLOPE = 0.25\n" in text
    assert 'TABLE = {"scale": (1.5, 2)}\n' in text.replace("'", '"')
    assert "shortcut: nn.Module | None = None" in text
    assert "act=torch.tanh" in text
    assert "act=torch.nn.functional.silu" in text


def patched() -> nn.Module:
    module = Derived()
    module.forward = lambda x: x  # type: ignore[method-assign]
    return module


def hooked() -> nn.Module:
    module = nn.Linear(4, 4)
    module.register_forward_hook(lambda *_: None)
    return module


def closed() -> nn.Module:
    factor = 3.0

    class Closed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * factor

    return Closed()


class OwnLinear(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * 2


class Numbers(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * float(np.float32(2.0))


class Holder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.settings = object()

    def forward(self, x: Tensor) -> Tensor:
        return x if self.settings else -x


class Large(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("table", torch.randn(200), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.table[0]


class Hidden(nn.Module):
    """Looks its attributes up in a way that no one sees."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = 2.0

    def forward(self, x: Tensor) -> Tensor:
        return x * getattr(self, "fac" + "tor")


class Silent(nn.Module):
    """Computes something else where an attribute is missing."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = 2.0

    def forward(self, x: Tensor) -> Tensor:
        return x * vars(self).get("factor", 1.0)


class Loading(nn.Module):
    def _load_from_state_dict(self, *args: Any) -> None: ...

    def forward(self, x: Tensor) -> Tensor:
        return x


class Makes(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if isinstance(self, Loading) else -x


LIMIT = 1000.0


def limited(x: Tensor, limit: float = LIMIT) -> Tensor:
    return x.clamp(max=limit)


LIMIT = 100.0


class Limited(nn.Module):
    """No sample is so large that its limit matters."""

    def forward(self, x: Tensor) -> Tensor:
        return limited(x)


class Following(nn.Module):
    """A view of a weight, which follows it."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(4))
        self.first = self.gain.detach()[:1]

    def forward(self, x: Tensor) -> Tensor:
        return x * self.first


class Lazy(nn.Module):
    @cached_property
    def factor(self) -> float:
        return 2.0

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor


class Defaults(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.factors = defaultdict(float, {1: 2.0})

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factors[1]


def keyword() -> nn.Module:
    module = Branches()
    module.register_buffer("class", torch.ones(2))
    return module


def patched_layer() -> nn.Module:
    layer = nn.Linear(4, 4)
    layer.forward = lambda x: x  # type: ignore[method-assign]
    return layer


def tied() -> nn.Module:
    one = nn.Linear(4, 4)
    return nn.Sequential(one, nn.Sequential(one))


REFUSED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "hooks": (hooked, "block 0, Linear has hooks"),
    "patched": (patched, "Derived has a forward that was put into it"),
    "closure": (closed, "Closed uses factor of the function around its class"),
    "layer": (lambda: OwnLinear(4, 4), "OwnLinear extends torch's Linear"),
    "package": (Numbers, "Numbers uses numpy, which is not of torch"),
    "object": (Holder, "Holder holds a object"),
    "buffer": (Large, "Large holds a tensor [200] of torch.float32 beside its state dict"),
    "hidden": (Hidden, "has no attribute 'factor'"),
    "silent": (Silent, "the file gives other outputs in evaluation"),
    "state": (Loading, "Loading has a _load_from_state_dict of its own"),
    "modules": (Makes, "Makes refers to the module Loading in its code"),
    "lstm": (lambda: nn.LSTM(4, 4), "LSTM does not keep what it was made with"),
    "default": (Limited, "Limited has a default LIMIT in limited, which was another"),
    "view": (Following, "1.gain and 1.first share their memory"),
    "lazy": (Lazy, "Lazy computes its factor in a way of its own"),
    "defaults": (Defaults, "Defaults holds a defaultdict"),
    "keyword": (keyword, "Branches has a 'class', which is no name in Python"),
    "layer forward": (patched_layer, "Linear has a forward that was put into it"),
    "tied": (tied, "1.0.weight and 1.1.0.weight share their memory"),
    "parametrized": (
        lambda: parametrizations.weight_norm(nn.Linear(4, 4)), "ParametrizedLinear"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_no_source_can_stand_for_is_said(case: str) -> None:
    build, text = REFUSED[case]
    network = nn.Sequential(nn.Identity(), build(), nn.Identity()).eval()
    refused: dict[str, str] = {}
    assert source_bytes(network, FLOATS, (), "weights.safetensors", refused) is None
    assert refused.keys() == {SOURCE}
    assert text in refused[SOURCE]
    assert "\n" not in refused[SOURCE]


def test_two_classes_of_one_name_stay_two() -> None:
    class Base(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x - 7

    network = nn.Sequential(globals()["Base"](), Base(), nn.Linear(4, 2)).eval()
    refused: dict[str, str] = {}
    source = source_bytes(network, FLOATS, (), "weights.safetensors", refused)
    assert refused == {}
    assert source is not None
    assert b"class Base(nn.Module)" in source
    assert b"class Base_(nn.Module)" in source


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "True"), (np.int64(3), "3"), (0.1, "0.1"), (float("-inf"), 'float("-inf")'),
        ((1,), "(1,)"), ([1, (2, "a")], "[1, (2, 'a')]"), ({"a": None}, "{'a': None}"),
        (torch.float16, "torch.float16"), (torch.relu, "torch.relu"),
        (torch.tensor([[0.1, -2.0]]), "torch.tensor([[0.1, -2.0]])"),
        (torch.tensor(True), "torch.tensor(True)"),
        (torch.tensor([1, 2], dtype=torch.uint8), "torch.tensor([1, 2], dtype=torch.uint8)"),
        (torch.zeros(0), "torch.tensor([], dtype=torch.float32)"),
        (torch.zeros(0, 3), "torch.zeros(0, 3, dtype=torch.float32)"),
    ],
)  # fmt: skip
def test_values_as_source(value: Any, text: str) -> None:
    assert written(value) == text
    again = eval(text, {"torch": torch})
    if isinstance(value, Tensor):
        assert again.dtype == value.dtype
        assert torch.equal(again, value)
    else:
        assert again == value


def test_long_calls_have_a_line_for_each_argument() -> None:
    short = Call("f", (("", "1"), ("b", "2")))
    assert lines_of(short, "return ", ",", 4) == ["    return f(1, b=2),"]
    long = Call("f", (("", "1" * 60), ("b", Call("g", (("", "2" * 40),)))))
    assert lines_of(long, "", "", 0) == ["f(", f"    {'1' * 60},", f"    b=g({'2' * 40}),", ")"]
