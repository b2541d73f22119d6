"""Pairs of supernets with equal weights that compute different things, and supernets of all kinds.

`python identity_cases.py` prints the digests of the latter.
"""

from __future__ import annotations

import copy
import functools
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from fractions import Fraction
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrize

from raynas.supernets import ChainSupernet, Normalize, digest

CHANNELS = 4
SCALES = {"small": 0.5, "large": 2.0}
OFFSET = torch.tensor(0.25)


def conv(**options: Any) -> nn.Conv2d:
    settings: dict[str, Any] = {"padding": options.get("dilation", 1), "bias": False}
    return nn.Conv2d(CHANNELS, CHANNELS, 3, **settings | options)


def chain(*choices: nn.Module) -> ChainSupernet:
    """One block of the choices, and one of a skip and a convolution behind."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        stem = nn.Sequential(Normalize((0.5,), (0.3,)), nn.Conv2d(1, CHANNELS, 3, 1, 1))
        later = [nn.Identity(), nn.Sequential(conv(), nn.BatchNorm2d(CHANNELS))]
        head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(CHANNELS, 3))
        supernet = ChainSupernet(
            stem, [list(choices), later], head, image_shape=(1, 6, 6), num_classes=3
        )
        for parameter in supernet.parameters():
            nn.init.normal_(parameter)
    return supernet


def chain_of_copies(choices: tuple[nn.Module, ...]) -> ChainSupernet:
    return chain(*copy.deepcopy(choices))


class Calling(nn.Module):
    """Calls whatever it is given."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class Attribute(nn.Module):
    """Multiplies by a plain attribute of any kind."""

    def __init__(self, value: Any) -> None:
        super().__init__()
        self.value = value

    def forward(self, x: Tensor) -> Tensor:
        value = self.value
        while not isinstance(value, float | int | Tensor):
            value = next(iter(value.values())) if isinstance(value, dict) else value[0]
        return x * value


class Looked(nn.Module):
    """Multiplies by a number that an object holds or gives."""

    def __init__(self, held: Any) -> None:
        super().__init__()
        self.held = held

    def forward(self, x: Tensor) -> Tensor:
        held = self.held
        return x * float(held(0) if callable(held) else held[0] if len_of(held) else held)


def len_of(value: Any) -> int:
    return len(value) if isinstance(value, array) else 0


class Drawn(nn.Module):
    """Weighs by a density."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.density = torch.distributions.Normal(0.0, scale, validate_args=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.density.log_prob(x)  # type: ignore[no-any-return, no-untyped-call]


@dataclass
class Setting:
    """A nested plain object."""

    scale: float
    names: set[str] = field(default_factory=lambda: {"a", "b", "c", "delta", "epsilon"})


class Configured(nn.Module):
    def __init__(self, scale: float) -> None:
        super().__init__()
        self.settings = {"first": [Setting(scale)]}

    def forward(self, x: Tensor) -> Tensor:
        return x * self.settings["first"][0].scale


class Kind(Enum):
    RELU = "relu"
    TANH = "tanh"


class Chosen(nn.Module):
    def __init__(self, kind: Kind) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, x: Tensor) -> Tensor:
        return x.relu() if self.kind is Kind.RELU else x.tanh()


class Sliced(nn.Module):
    """The first channels of a shared convolution, the rest zeros."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv, self.width = conv(), width

    def forward(self, x: Tensor) -> Tensor:
        y = functional.conv2d(x, self.conv.weight[: self.width], padding=1)
        return functional.pad(y, (0, 0, 0, 0, 0, CHANNELS - self.width))


class Rounded(nn.Module):
    """Weights of a few bits."""

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.conv, self.bits = conv(), bits

    def forward(self, x: Tensor) -> Tensor:
        steps = 2**self.bits
        return functional.conv2d(x, (self.conv.weight * steps).round() / steps, padding=1)


class AverageOf3(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return functional.avg_pool2d(x, 3, 1, 1)


class AverageOf5(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return functional.avg_pool2d(x, 5, 1, 2)


class Slotted:
    __slots__ = ("scale",)

    def __init__(self, scale: float) -> None:
        self.scale = scale

    def __call__(self, x: Tensor) -> Tensor:
        return x * self.scale


def scaling(scale: float) -> Callable[[Tensor], Tensor]:
    def scaled(x: Tensor) -> Tensor:
        return x * scale

    return scaled


def twice(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda x: function(function(x))


def scaled_by(scale: float, x: Tensor) -> Tensor:
    return x * scale


def with_default(scale: float) -> Callable[[Tensor], Tensor]:
    def scaled(x: Tensor, by: float = scale) -> Tensor:
        return x * by

    return scaled


def hooked(scale: float, *, before: bool) -> nn.Module:
    module = nn.Identity()
    if before:
        module.register_forward_pre_hook(lambda _, inputs: (inputs[0] * scale,))
    else:
        module.register_forward_hook(lambda _, __, output: output * scale)
    return module


def patched(scale: float) -> nn.Module:
    module = nn.Sequential(conv())
    module.forward = MethodType(lambda self, x: self[0](x) * scale, module)  # type: ignore[method-assign]
    return module


class Shifted(nn.Module):
    def __init__(self, by: float) -> None:
        super().__init__()
        self.by = by

    def forward(self, weight: Tensor) -> Tensor:
        return weight + self.by


def parametrized(by: float) -> nn.Module:
    module = conv()
    parametrize.register_parametrization(module, "weight", Shifted(by))
    return module


def shared(*, both: bool) -> nn.Module:
    """Two batch norms with equal values, or one twice."""
    first = nn.BatchNorm2d(CHANNELS, affine=False)
    return nn.Sequential(first, conv(), first if both else nn.BatchNorm2d(CHANNELS, affine=False))


def body(activation: nn.Module, **norm: Any) -> nn.Module:
    return nn.Sequential(conv(), nn.BatchNorm2d(CHANNELS, **norm), activation)


PAIRS: dict[str, tuple[Callable[[], ChainSupernet], Callable[[], ChainSupernet]]] = {
    name: (functools.partial(chain_of_copies, one), functools.partial(chain_of_copies, other))
    for name, one, other in [
        ("order", (nn.AvgPool2d(3, 1, 1), nn.Tanh()), (nn.Tanh(), nn.AvgPool2d(3, 1, 1))),
        ("pool", (nn.AvgPool2d(3, 1, 1),), (nn.MaxPool2d(3, 1, 1),)),
        ("pool size", (nn.AvgPool2d(3, 1, 1),), (nn.AvgPool2d(5, 1, 2),)),
        ("pool padding", (nn.AvgPool2d(3, 1, 1),), (nn.AvgPool2d(3, 1, 1, False, False),)),
        ("activation", (body(nn.ReLU()),), (body(nn.Hardswish()),)),
        ("slope", (body(nn.LeakyReLU(0.1)),), (body(nn.LeakyReLU(0.2)),)),
        ("eps", (body(nn.ReLU(), eps=1e-5),), (body(nn.ReLU(), eps=1e-3),)),
        ("dilation", (conv(dilation=1),), (conv(dilation=2),)),
        ("stride", (conv(stride=2),), (conv(stride=1),)),
        ("padding mode", (conv(),), (conv(padding_mode="reflect"),)),
        ("number", (Attribute(1.0),), (Attribute(0.5),)),
        ("integer or float", (Attribute(1),), (Attribute(True),)),
        ("tuple", (Attribute((1.0,)),), (Attribute((0.5,)),)),
        ("dict", (Attribute({"a": 1.0}),), (Attribute({"a": 0.5}),)),
        ("hidden tensor", (Attribute(torch.ones(1)),), (Attribute(torch.zeros(1)),)),
        ("list of tensors", (Attribute([torch.ones(1)]),), (Attribute([torch.zeros(1)]),)),
        ("nested object", (Configured(1.0),), (Configured(0.5),)),
        ("enum", (Chosen(Kind.RELU),), (Chosen(Kind.TANH),)),
        ("slice", (Sliced(2),), (Sliced(3),)),
        ("bits", (Rounded(2),), (Rounded(4),)),
        ("functional constant", (AverageOf3(),), (AverageOf5(),)),
        ("lambda", (Calling(lambda x: x + 1),), (Calling(lambda x: x + 2),)),
        ("closure", (Calling(scaling(1.0)),), (Calling(scaling(0.5)),)),
        ("closure in a closure", (Calling(twice(scaling(1.0))),), (Calling(twice(scaling(0.5))),)),
        ("default", (Calling(with_default(1.0)),), (Calling(with_default(0.5)),)),
        (
            "partial",
            (Calling(functools.partial(scaled_by, 1.0)),),
            (Calling(functools.partial(scaled_by, 0.5)),),
        ),
        ("builtin", (Calling(torch.relu),), (Calling(torch.tanh),)),
        ("torch function", (Calling(functional.silu),), (Calling(functional.gelu),)),
        ("slots", (Calling(Slotted(1.0)),), (Calling(Slotted(0.5)),)),
        ("hook", (hooked(1.0, before=False),), (hooked(0.5, before=False),)),
        ("pre-hook", (hooked(1.0, before=True),), (hooked(0.5, before=True),)),
        ("kind of hook", (hooked(0.5, before=True),), (hooked(0.5, before=False),)),
        ("patched forward", (patched(1.0),), (patched(0.5),)),
        ("parametrization", (parametrized(0.0),), (parametrized(0.5),)),
        ("sharing", (shared(both=True),), (shared(both=False),)),
        ("method of tensors", (Calling(Tensor.relu),), (Calling(Tensor.tanh),)),
        (
            "its partial",
            (Calling(functools.partial(Tensor.clamp, max=0.1)),),
            (Calling(functools.partial(Tensor.clamp, max=0.2)),),
        ),
        ("fraction", (Looked(Fraction(1, 2)),), (Looked(Fraction(1, 3)),)),
        ("array", (Looked(array("d", [0.5])),), (Looked(array("d", [0.3])),)),
        ("bound get", (Looked({0: 0.5}.get),), (Looked({0: 0.3}.get),)),
        ("distribution", (Drawn(1.0),), (Drawn(2.0),)),
        ("unregistered module", (Attribute([1.0, nn.ReLU()]),), (Attribute([1.0, nn.Tanh()]),)),
    ]
}


class Looking(nn.Module):
    """Uses constants and functions of its Python module."""

    def forward(self, x: Tensor) -> Tensor:
        return scaled_by(SCALES["small"], x) + OFFSET


class Remembering(nn.Module):
    """Keeps things of the last forward, and a cache."""

    def __init__(self) -> None:
        super().__init__()
        self.calls, self.last = 0, None
        self.cache: dict[int, Tensor] = {}

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.last = x
        return x * self.cache.setdefault(x.shape[2], torch.full((1,), 0.5))


def everything() -> ChainSupernet:
    """Choices of many kinds in one block."""
    skipped = {"stride", "sharing"}
    firsts = [make().blocks[0] for name, (make, _) in PAIRS.items() if name not in skipped]
    modules = [module for block in firsts for module in block]  # type: ignore[union-attr]
    attention = nn.Sequential(
        nn.Flatten(2),
        nn.TransformerEncoderLayer(36, 2, 8, batch_first=True),
        nn.Unflatten(2, (6, 6)),
    )
    return chain(*modules, attention, Looking(), Remembering())


if __name__ == "__main__":
    print(digest(everything()))
