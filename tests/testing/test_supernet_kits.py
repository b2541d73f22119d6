"""The kits of supernets and of limits accept what keeps their contracts, and name what does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Any

import pytest
from torch import Tensor, nn

import raynas
from raynas.costs import CostTable
from raynas.costs.bounds import Bounds
from raynas.errors import InputError
from raynas.supernets import ChainSupernet, digest
from raynas.testing import check_bounds, check_supernet, small_supernet


def chain(*choices: nn.Module) -> ChainSupernet:
    """Two blocks of four channels: some choices, and those of a common kind."""
    return ChainSupernet(
        nn.Conv2d(3, 4, 1),
        [list(choices), [nn.Identity(), nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)]],
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5)),
        inputs=raynas.Inputs((3, 6, 6), "float32"),
        num_classes=5,
    )


@pytest.mark.parametrize(
    "make",
    [
        lambda: small_supernet(blocks=3, choices=2),
        lambda: chain(nn.Identity(), nn.Conv2d(4, 4, 1, groups=2)),
    ],
    ids=["images", "floats"],
)
def test_supernets_that_keep_the_contract_stay_as_they_are(
    make: Callable[[], ChainSupernet],
) -> None:
    supernet = make().train()
    before = digest(supernet)
    check_supernet(supernet)
    assert supernet.training
    assert digest(supernet) == before


class Misstated(nn.Conv2d):
    """A convolution that counts itself as nothing, and is exported as what it is."""

    def raynas_cost(self, x: Tensor) -> tuple[int, int]:
        return 0, 0

    def raynas_plain(self) -> nn.Module:
        plain = nn.Conv2d(4, 4, 1)
        plain.load_state_dict(self.state_dict())
        return plain


class Rounded(nn.Conv2d):
    """A convolution that is exported with weights that are a little off."""

    def raynas_plain(self) -> nn.Module:
        plain = nn.Conv2d(4, 4, 1)
        plain.load_state_dict({name: each * 1.002 for name, each in self.state_dict().items()})
        return plain


@pytest.mark.parametrize(
    ("choice", "broken"),
    [
        (Misstated(4, 4, 1), r"\[0, \d\] has \d+ FLOPs, and \d+ by the table"),
        (Rounded(4, 4, 1), r"\[0, \d\] is another network when it is exported"),
    ],
)
def test_a_broken_promise_of_a_supernet_is_named(choice: nn.Module, broken: str) -> None:
    with pytest.raises(AssertionError, match=broken):
        check_supernet(chain(choice))


def test_what_no_search_could_use_is_refused_as_a_search_would() -> None:
    with pytest.raises(InputError, match=r"blocks\[0\].*one output shape"):
        check_supernet(chain(nn.Identity(), nn.Conv2d(4, 4, 3)))


@dataclass(frozen=True)
class Depth(Bounds):
    """The blocks that are no identity; prices may be changed before they are given away."""

    change: Callable[[list[tuple[int, ...]]], Any] = tuple

    def priced(self, supernet: ChainSupernet) -> CostTable:
        rows = [
            tuple(int(not isinstance(choice, nn.Identity)) for choice in block)
            for block in supernet.blocks
        ]
        return CostTable("depth", 0, self.change(rows))


def test_limits_that_keep_the_contract_are_counted() -> None:
    supernet = chain(nn.Identity(), nn.Conv2d(4, 4, 1))
    assert check_bounds(Depth(at_most=1), supernet) == 4
    assert check_bounds(Depth(at_least=2), supernet) == 2
    assert check_bounds(raynas.Params(at_most="100%"), supernet) == 6
    decimals = raynas.Cost([[0.1, 0.2], [0.1, 0.2, 0.3]], "ms", at_most=0.3)
    assert check_bounds(decimals, supernet) == 3


numbers = count()


@pytest.mark.parametrize(
    ("change", "broken"),
    [
        (lambda rows: tuple(rows[:1]), r"costs of \[2\] choices instead of \[2, 3\]"),
        (lambda rows: ((next(numbers), 1), rows[1]), "priced twice, it gives two tables"),
    ],
)
def test_a_broken_promise_of_a_limit_is_named(change: Callable[[Any], Any], broken: str) -> None:
    with pytest.raises(AssertionError, match=broken):
        check_bounds(Depth(at_most=2, change=change), chain(nn.Identity(), nn.Conv2d(4, 4, 1)))


def test_limits_on_large_spaces_and_those_that_nothing_keeps_are_refused() -> None:
    with pytest.raises(AssertionError, match="65,536 architectures are too many to list"):
        check_bounds(raynas.FLOPs(at_most="50%"), small_supernet())
    with pytest.raises(InputError, match="Raise the limit"):
        check_bounds(Depth(at_most=-1), chain(nn.Identity()))


def test_weights_that_a_file_does_not_bring_back_are_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("raynas.testing.chains.load", lambda supernet, file: None)
    with pytest.raises(AssertionError, match="what was saved and loaded has another digest"):
        check_supernet(chain(nn.Conv2d(4, 4, 1)))
