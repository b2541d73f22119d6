"""`network.py` where code is not what its file says now: edited files, changed layers of torch."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raynas.export.source import SOURCE, source_bytes
from raynas.inputs import Inputs

FLOATS = Inputs((4,), "float32")


def leaky(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, x * 0.25)


class Derived(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return leaky(x) * 2


class Weighted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(4))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gain


def test_layers_with_code_of_others_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    network = nn.Sequential(nn.Identity(), nn.Tanh(), nn.Identity()).eval()
    # The file is run in this process, where both would compute the same.
    monkeypatch.setattr(nn.Tanh, "forward", lambda self, x: x * 3)
    refused: dict[str, str] = {}
    assert source_bytes(network, FLOATS, (), "weights.safetensors", refused) is None
    assert refused == {SOURCE: "in block 0, Tanh has code that was put into it"}


def test_what_others_put_into_torch_is_not_imported_from_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(nn, "Derived", Derived, raising=False)
    monkeypatch.setattr(torch, "leaky", leaky, raising=False)
    network = nn.Sequential(nn.Identity(), Derived(), nn.Linear(4, 2)).eval()
    source = source_bytes(network, FLOATS, (), "weights.safetensors", {})
    assert source is not None
    assert b"class Derived(nn.Module):" in source
    assert b"def leaky(x: Tensor" in source


class Shadowing(nn.Module):
    """Binds a name in one scope that means a module in another."""

    def forward(self, x: Tensor) -> Tensor:
        counted = [F + 1 for F in range(2)]
        return F.relu(x) + len(counted)


def test_a_name_that_is_bound_in_an_inner_scope_is_defined_in_the_outer_one() -> None:
    network = nn.Sequential(nn.Identity(), Shadowing(), nn.Linear(4, 2)).eval()
    refused: dict[str, str] = {}
    source = source_bytes(network, FLOATS, (), "weights.safetensors", refused)
    assert refused == {}
    assert source is not None
    assert b"functional as F" in source


class Named(nn.Module):
    @staticmethod
    def limited(x: Tensor) -> Tensor:
        return x.clamp(max=1000.0)

    def forward(self, x: Tensor) -> Tensor:
        return Named.limited(self.limited(x))


def other_named() -> nn.Module:
    class Named(nn.Module):
        @staticmethod
        def limited(x: Tensor) -> Tensor:
            return x.clamp(max=100.0)

        def forward(self, x: Tensor) -> Tensor:
            return self.limited(x)

    return Named()


def test_a_class_that_names_itself_is_not_renamed() -> None:
    refused: dict[str, str] = {}
    alone = nn.Sequential(nn.Identity(), Named(), nn.Identity()).eval()
    assert source_bytes(alone, FLOATS, (), "weights.safetensors", refused) is not None
    both = nn.Sequential(nn.Identity(), other_named(), Named(), nn.Identity()).eval()
    assert source_bytes(both, FLOATS, (), "weights.safetensors", refused) is None
    assert "Named names itself, as something else is named, too" in refused[SOURCE]


if sys.byteorder not in ("little", "big"):

    class Slope(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return x * 2

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
            return grad * 2

else:

    class Slope(torch.autograd.Function):  # type: ignore[no-redef]
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return x * 2

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
            return grad * 5


class Sloped(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return Slope.apply(x)  # type: ignore[no-any-return, no-untyped-call]


def test_of_two_classes_of_a_file_the_one_that_runs_is_written_or_none() -> None:
    refused: dict[str, str] = {}
    network = nn.Sequential(nn.Identity(), Sloped(), nn.Identity()).eval()
    source = source_bytes(network, FLOATS, (), "weights.safetensors", refused)
    if source is None:
        assert "uses a Slope, of which there are several" in refused[SOURCE]
    else:
        assert b"grad * 5" in source
        assert b"grad * 2" not in source


class Settings:
    """Constants that forwards look up, one of which is changed after the class was made."""

    SLOPE = 0.25
    LIMIT = 1000.0


class Steady:
    SLOPE: float = 0.25
    LIMIT = 4000 * SLOPE


class Settled(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (x * Settings.SLOPE).clamp(max=Settings.LIMIT)


class Steadied(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (x * Steady.SLOPE).clamp(max=Steady.LIMIT)


def test_constants_of_a_class_are_those_of_its_text(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (Settled(), Steadied()):
        network = nn.Sequential(nn.Identity(), module, nn.Identity()).eval()
        assert source_bytes(network, FLOATS, (), "weights.safetensors", {}) is not None
    # No sample is so large that it would show.
    monkeypatch.setattr(Settings, "LIMIT", 100.0)
    network = nn.Sequential(nn.Identity(), Settled(), nn.Identity()).eval()
    refused: dict[str, str] = {}
    assert source_bytes(network, FLOATS, (), "weights.safetensors", refused) is None
    assert refused == {SOURCE: "in block 0, Settled uses a Settings whose LIMIT was changed"}


FIRST = """\
from torch import nn

def act(x):
    return x.clamp(max=1000.0)

class Block(nn.Module):
    def forward(self, x):
        return act(x)
"""


@pytest.mark.parametrize("change", [("1000.0", "100.0"), ("from torch", "\n\nfrom torch")])
def test_a_file_that_has_changed_since_its_import_is_refused(
    change: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "edited_blocks.py"
    file.write_text(FIRST)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "edited_blocks", raising=False)
    block = importlib.import_module("edited_blocks").Block
    network = nn.Sequential(nn.Identity(), block(), nn.Identity()).eval()
    refused: dict[str, str] = {}
    assert source_bytes(network, FLOATS, (), "weights.safetensors", refused) is not None
    file.write_text(FIRST.replace(*change) + "# A line, so that the file has another size.\n")
    assert source_bytes(network, FLOATS, (), "weights.safetensors", refused) is None
    assert "in its file than the one that runs" in refused[SOURCE]


def test_weights_that_torch_does_not_draw_are_named() -> None:
    source = source_bytes(
        nn.Sequential(nn.Identity(), Weighted(), nn.Linear(4, 2)),
        FLOATS,
        (),
        "weights.safetensors",
        {},
    )
    assert source is not None
    text = " ".join(source.decode().split())
    assert "Those that Weighted have beside torch's layers are not drawn" in text
    plain = source_bytes(
        nn.Sequential(nn.Identity(), Derived(), nn.Linear(4, 2)),
        FLOATS,
        (),
        "weights.safetensors",
        {},
    )
    assert plain is not None
    assert b"not drawn" not in plain
