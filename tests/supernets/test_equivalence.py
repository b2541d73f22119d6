"""Which choices are taken for the same, and which must not be."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from supernet_zoo import ZOO
from torch import Tensor, nn

from raynas.errors import InputError
from raynas.supernets import ChainSupernet, Normalize, equivalent_choices
from raynas.supernets.equivalence import canonical, compute_the_same, distinct


class Scaled(nn.Module):
    """A module with an attribute of any kind."""

    def __init__(self, factor: object) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return x * float(self.factor)  # type: ignore[arg-type]


class Slotted(Scaled):
    """Has an attribute that is not in its `__dict__`."""

    __slots__ = ("hidden",)


class Again(nn.Sequential):
    """The same layers, used otherwise."""


def unit(kernel: int = 3, seed: int = 0, **options) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(3, 3, kernel, padding=kernel // 2, **options),
            nn.BatchNorm2d(3),
            nn.ReLU(),
            nn.MaxPool2d(3, 1, 1),
        )


def changed(change: Callable[[nn.Sequential], object]) -> nn.Sequential:
    module = unit()
    change(module)
    return module


def chain(*choices: nn.Module) -> ChainSupernet:
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))
    stem = Normalize((0.5,) * 3, (0.3,) * 3)
    return ChainSupernet(stem, [choices], head, image_shape=(3, 5, 4), num_classes=2)


@pytest.mark.parametrize(
    "one",
    [unit(), nn.Identity(), Scaled(0.5), Scaled((1, [2.5, None], {"a": torch.ones(2)}))],
    ids=["unit", "identity", "scaled", "nested"],
)
def test_a_copy_computes_the_same(one: nn.Module):
    assert compute_the_same(one, copy.deepcopy(one))
    assert compute_the_same(one, one)


DIFFERENT = {
    "class": Again(*unit()),
    "child": changed(lambda m: m.__setitem__(2, nn.ReLU6())),
    "children": unit()[:3],
    "stride": changed(lambda m: setattr(m[3], "stride", 2)),
    "inplace": changed(lambda m: setattr(m[2], "inplace", True)),
    "eps": changed(lambda m: setattr(m[1], "eps", 1e-3)),
    "weights": unit(seed=1),
    "one bit": changed(lambda m: m[0].weight.data.view(-1).view(torch.int32)[5].add_(1)),
    "sign of zero": changed(lambda m: m[1].bias.data.neg_()),
    "no bias": unit(bias=False),
    "buffer": changed(lambda m: m[1].running_var.mul_(2.0)),
    "dtype": changed(lambda m: m[0].double()),
    "layout": changed(lambda m: m[0].to(memory_format=torch.channels_last)),
    "hook": changed(lambda m: m[0].register_forward_hook(lambda *_: None)),
    "forward": changed(lambda m: setattr(m[2], "forward", lambda x: x)),
}


@pytest.mark.parametrize("what", DIFFERENT)
def test_anything_that_could_matter_makes_a_difference(what: str):
    assert not compute_the_same(unit(), DIFFERENT[what])
    assert not compute_the_same(DIFFERENT[what], unit())


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Scaled(1), Scaled(1.0)),
        (Scaled(1), Scaled(True)),
        (Scaled(0.0), Scaled(-0.0)),
        (Scaled((1, 2)), Scaled([1, 2])),
        (Scaled(torch.ones(2)), Scaled(torch.zeros(2))),
        (Scaled(object()), Scaled(object())),
        (Slotted(1.0), Slotted(1.0)),
    ],
)
def test_attributes_that_may_differ_make_a_difference(one: nn.Module, other: nn.Module):
    assert not compute_the_same(one, other)


def test_objects_that_cannot_be_compared_must_be_the_same():
    shared = object()
    assert compute_the_same(Scaled(shared), Scaled(shared))


def test_a_layer_that_is_used_twice_is_not_two_layers():
    norm = nn.BatchNorm2d(3)
    twice = nn.Sequential(norm, norm)
    apart = nn.Sequential(norm, copy.deepcopy(norm))
    assert not compute_the_same(twice, apart)
    assert not compute_the_same(apart, twice)
    assert compute_the_same(twice, copy.deepcopy(twice))


def test_modules_that_refer_to_themselves_are_compared():
    def looped() -> nn.Module:
        module = Scaled(2.0)
        module.__dict__["self"] = module
        return module

    assert compute_the_same(looped(), looped())


def test_the_lowest_choice_stands_for_its_equals():
    shared = unit(seed=3)
    choices = [nn.Identity(), unit(), shared, nn.Identity(), copy.deepcopy(unit()), shared]
    assert equivalent_choices(chain(*choices)) == ((0, 1, 2, 0, 1, 2),)


@pytest.mark.parametrize("name", ZOO)
def test_supernets_without_duplicates_keep_all_choices(name: str):
    supernet = ZOO[name]()
    found = equivalent_choices(supernet)
    assert found == tuple(tuple(range(count)) for count in supernet.space.choices)
    assert equivalent_choices(copy.deepcopy(supernet)) == found


def test_architectures_are_canonical_and_each_once():
    equivalents = ((0, 1, 0), (0, 0), (0, 1))
    assert canonical(equivalents, (2, 1, 1)) == (0, 0, 1)
    assert canonical(equivalents, (1,)) == (1,)
    wanted, places = distinct(equivalents, [(1, 1, 0), (2, 1, 1), (0, 0, 1), (1, 0, 0)])
    assert wanted == [(1, 0, 0), (0, 0, 1)]
    assert places == [0, 1, 1, 0]
    assert distinct(equivalents, []) == ([], [])


@pytest.mark.parametrize("architecture", [(3,), (-1,), (0, 0, 0, 0), (0.5,)])
def test_choices_that_no_block_has_are_refused(architecture):
    with pytest.raises(InputError) as caught:
        canonical(((0, 1, 0), (0, 0), (0, 1)), architecture)
    assert caught.value.argument == "architecture"
