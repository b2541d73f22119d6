"""Smaller choices are the middle kernels and some channels of the largest, sliced by hand."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from supernet_zoo import scrambled
from torch import Tensor, nn

from raynas.errors import InputError
from raynas.inputs import Inputs
from raynas.supernets import ChainSupernet, ponas_8x8, proxylessnas_28x28
from raynas.supernets.cropping import Channels, crop_block, largest_choices

TINY = {"stages": ((6, 2, 1),), "stem_channels": 4, "separable_channels": 4, "head_channels": 8}
NAMES = tuple(f"e{e}k{k}{se}" for se in ("", "se") for e in (3, 6) for k in (3, 5, 7))


@cache
def state(channels: Channels) -> tuple[tuple[tuple[str, ...], ...], dict[str, Tensor]]:
    """The names and the state of a supernet whose second block was cropped."""
    supernet = scrambled(ponas_8x8(**TINY))  # type: ignore[arg-type]
    before = {name: tensor.clone() for name, tensor in supernet.state_dict().items()}
    crop_block(supernet, 1, 11, channels)
    after = supernet.state_dict()
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert changed
    assert all(name.startswith("blocks.1.") for name in changed), "nothing else changes"
    assert not any(name.startswith("blocks.1.11.") for name in changed), "nor does the largest"
    return supernet.names, {name: tensor.clone() for name, tensor in after.items()}


def test_the_largest_choice_has_the_most_of_everything() -> None:
    assert largest_choices(ponas_8x8(**TINY)) == (11, 11)  # type: ignore[arg-type]
    with torch.device("meta"):
        assert largest_choices(proxylessnas_28x28()) == (5,) * 12


@pytest.mark.parametrize("name", NAMES[:-1])
def test_first_channels(name: str) -> None:
    """Explicit slices: kernels from their middle, channels inside from the first on."""
    names, tensors = state("first")
    check(names, tensors, name, torch.arange(36 if name.startswith("e6") else 18), None)


@pytest.mark.parametrize("name", NAMES[:-1])
def test_important_channels(name: str) -> None:
    """Those with the largest sum of magnitudes in the projection, in their order."""
    names, tensors = state("important")
    weight = tensors["blocks.1.11.layers.5.0.weight"]
    sums = [float(weight[:, channel].abs().sum()) for channel in range(36)]
    count = 36 if name.startswith("e6") else 18
    kept = sorted(sorted(range(36), key=lambda channel: -sums[channel])[:count])
    excite = tensors["blocks.1.11.layers.4.gate.3.weight"]
    inner = [float(excite[kept][:, channel].abs().sum()) for channel in range(9)]
    within = sorted(sorted(range(9), key=lambda channel: -inner[channel])[: count // 4])
    check(names, tensors, name, torch.tensor(kept), torch.tensor(within))
    assert count == 36 or kept != list(range(18))


def check(
    names: tuple[tuple[str, ...], ...],
    tensors: dict[str, Tensor],
    name: str,
    kept: Tensor,
    inner: Tensor | None,
) -> None:
    """Layers 0 and 2 are expansion and filter; 4 is squeeze-and-excitation, then projection."""
    large, small = "blocks.1.11.layers.", f"blocks.1.{names[1].index(name)}.layers."
    kernel, se = int(name[3]), name.endswith("se")
    edge = (7 - kernel) // 2
    middle = slice(edge, 7 - edge)
    inner = torch.arange(len(kept) // 4) if inner is None else inner
    expected = {
        "0.0.weight": tensors[large + "0.0.weight"][kept],
        "2.0.weight": tensors[large + "2.0.weight"][kept][..., middle, middle],
        f"{5 if se else 4}.0.weight": tensors[large + "5.0.weight"][:, kept],
    }
    for layer, source, rows in (
        ("0.1", "0.1", kept),
        ("2.1", "2.1", kept),
        (f"{5 if se else 4}.1", "5.1", torch.arange(6)),
    ):
        for part in ("weight", "bias", "running_mean", "running_var"):
            expected[f"{layer}.{part}"] = tensors[f"{large}{source}.{part}"][rows]
    if se:
        gate = large + "4.gate."
        expected |= {
            "4.gate.1.weight": tensors[gate + "1.weight"][inner][:, kept],
            "4.gate.1.bias": tensors[gate + "1.bias"][inner],
            "4.gate.3.weight": tensors[gate + "3.weight"][kept][:, inner],
            "4.gate.3.bias": tensors[gate + "3.bias"][kept],
        }
    own = {
        key.removeprefix(small)
        for key in tensors
        if key.startswith(small) and not key.endswith("num_batches_tracked")
    }
    assert own == set(expected)
    for key, tensor in expected.items():
        assert torch.equal(tensors[small + key], tensor), key


def chain(*choices: nn.Module) -> ChainSupernet:
    return ChainSupernet(
        nn.Conv2d(1, 4, 1), [list(choices)], nn.Flatten(), image_shape=(1, 2, 2), num_classes=16
    )


def test_what_cannot_be_cropped_is_named() -> None:
    with pytest.raises(InputError, match="a Conv2d as conv2d of block 0"):
        largest_choices(chain(nn.Conv2d(4, 4, 1)))
    with pytest.raises(InputError, match="an inverted bottleneck in block 0, got none"):
        largest_choices(chain(nn.Identity()))
    supernet = ponas_8x8(**TINY)  # type: ignore[arg-type]
    wide, tall = supernet.node((4,)), supernet.node((2,))  # e6k5 and e3k7
    with pytest.raises(InputError, match="a largest choice of block 0"):
        largest_choices(chain(wide, tall))


class Wide(nn.Module):
    """A layer of some width, which can take the first channels of a wider one."""

    def __init__(self, width: int, fault: str = "") -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, width), nn.Linear(width, 4)
        self.fault = fault

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.second(self.first(x).relu())
        return out

    def raynas_crop(self, larger: Wide) -> None:
        if self.fault == "raises":
            raise ValueError("no channels")
        if self.fault == "writes":
            larger.first.bias.zero_()
        for own, other in zip(self.parameters(), larger.parameters(), strict=True):
            own.copy_(other[tuple(slice(size) for size in own.shape)])


def own_supernet(*choices: nn.Module) -> ChainSupernet:
    return ChainSupernet(
        nn.Flatten(), [list(choices)], nn.Linear(4, 2), inputs=Inputs((4,), "float32"),
        num_classes=2,
    )  # fmt: skip


def test_modules_of_ones_own_take_what_they_can_of_the_largest() -> None:
    supernet = own_supernet(Wide(2), nn.Identity(), Wide(6), Wide(3))
    assert largest_choices(supernet) == (2,)
    before = {name: tensor.clone() for name, tensor in supernet.state_dict().items()}
    crop_block(supernet, 0, 2)
    after = supernet.state_dict()
    for choice, width in ((0, 2), (3, 3)):
        large, small = "blocks.0.2.", f"blocks.0.{choice}."
        assert torch.equal(after[f"{small}first.weight"], before[f"{large}first.weight"][:width])
        assert torch.equal(after[f"{small}second.bias"], before[f"{large}second.bias"])
    assert all(torch.equal(after[n], before[n]) for n in after if n.startswith("blocks.0.2."))


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        ("raises", r"blocks\[0\]\[0\]: expected a raynas_crop .*ValueError: no channels"),
        ("writes", r"blocks\[0\]\[0\]: .*one that changes the larger one \(first.bias\)"),
    ],
)
def test_faults_of_ones_own_are_told(fault: str, text: str) -> None:
    supernet = own_supernet(Wide(2, fault), Wide(6))
    with pytest.raises(InputError, match=text):
        crop_block(supernet, 0, 1)


def test_one_choice_that_cannot_be_cropped_is_named() -> None:
    supernet = own_supernet(Wide(2), nn.Linear(4, 4))
    with pytest.raises(InputError, match=r"a Wide as .* of block 0.* raynas_crop\(self, larger\)"):
        largest_choices(supernet)
