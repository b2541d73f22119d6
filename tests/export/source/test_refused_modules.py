"""What `network.py` cannot stand for in a user's modules is said before anything is written."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from raynas.export.source import SOURCE, source_bytes
from raynas.inputs import Inputs

FLOATS = Inputs((4,), "float32")


class Plain(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * 2


def patched() -> nn.Module:
    module = Plain()
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
    module = Plain()
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
    "patched": (patched, "Plain has a forward that was put into it"),
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
    "keyword": (keyword, "Plain has a 'class', which is no name in Python"),
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
