"""`network.py` of a user's modules: their code is taken as it is."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raynas.export.source import SOURCE, source_bytes
from raynas.inputs import Inputs

FLOATS = Inputs((4,), "float32")

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
