"""The plan of a reproduction: everything that the tables need, each search once, in good order."""

from __future__ import annotations

from dataclasses import replace

import pytest
from reproduction.families import FAMILIES
from reproduction.plan import MONITORS, RATES, Sizes, Variant, searches
from reproduction.sources import Source

import raynas
from raynas.commands import families
from raynas.errors import InputError
from raynas.evolution import CFES, PCFES
from raynas.testing.supernets import small_data
from raynas.training import presets

SPOS = FAMILIES[0]


def test_every_family_of_the_package_has_its_small_supernet() -> None:
    assert {family.name for family in FAMILIES} == set(families.FAMILIES) - {
        "greedynas-se",
        "resnet-mixed-34",
    }
    assert [family.name for family in FAMILIES if family.in_paper] == [
        "spos", "fairnas", "greedynas",
    ]  # fmt: skip


def test_trainings_cost_alike() -> None:
    fashion = Source("fashion_mnist", small_data(), 24)
    fair, progressive = FAMILIES[1], FAMILIES[-1]
    # Six paths a step cost as much as six epochs of one.
    assert [f.settings(fashion).epochs for f in (SPOS, fair, progressive)] == [24, 4, 6]
    assert fair.settings(fashion).learning_rate == presets.FASHION_MNIST_FAIR.learning_rate
    digits = Source("digits", small_data(), 120, presets.DIGITS)
    assert [f.settings(digits).epochs for f in (SPOS, fair, progressive)] == [120, 60, 30]
    assert SPOS.settings(digits) == presets.DIGITS
    rates = [f.settings(digits).learning_rate for f in (fair, progressive)]
    assert rates == [pytest.approx(presets.DIGITS.learning_rate / 3)] * 2
    brief = [family.settings(Source("fashion_mnist", small_data(), 1)) for family in FAMILIES]
    assert {settings.epochs for settings in brief} == {1}
    with pytest.raises(InputError, match="epochs"):
        SPOS.settings(Source("fashion_mnist", small_data(), 0))


def test_all_that_the_tables_need_is_wanted_once() -> None:
    wanted = searches(FAMILIES, "digits", Sizes())
    assert len(set(wanted)) == len(wanted)
    folders = [(each.family, each.variant.name, each.seed) for each in wanted]
    assert len(set(folders)) == len(folders), "two searches share a folder"
    spos = {each.variant for each in wanted if each.family == "spos" and each.seed == 4}
    every = {
        Variant("ea"),
        Variant("cf", 0.7),
        *(Variant("pcf", threshold, 3) for threshold in (0.5, 0.6, 0.7, 0.8, 0.9)),
        *(Variant("pcf", 0.7, size) for size in MONITORS),
        *(Variant("pcf", 0.5, 3, "top", rate) for rate in RATES),
        *(
            Variant("pcf", 0.5, 3, mode, rate)
            for mode in ("random", "weighted")
            for rate in (0.9, 0.7, 0.5, 0.3)
        ),
        *(
            Variant("pcf", 0.5, 3, "top", rate, bits)
            for rate in (0.5, 0.3, 0.1)
            for bits in (32, 16, 8, 4)
        ),
    }
    assert spos == every
    timed = [each for each in wanted if each.variant.timed]
    assert {each.seed for each in timed} == {0}
    assert len(timed) == 3 * len(FAMILIES)
    assert {each.variant.threshold for each in wanted if each.family == "fairnas"} == {
        None, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9,
    }  # fmt: skip


def test_the_most_informative_come_first() -> None:
    wanted = searches(FAMILIES, "digits", Sizes(seeds=(3, 5)))
    first = [(each.variant.name, each.seed) for each in wanted[:9]]
    assert first == [
        *((name, seed) for seed in (3, 5) for name in ("ea", "cf-T0.7", "pcf-T0.7-f3")),
        *((f"{name}-timed", 3) for name in ("ea", "cf-T0.7", "pcf-T0.7-f3")),
    ]
    assert [each.variant.threshold for each in wanted[9:13]] == [0.5, 0.6, 0.8, 0.9]
    order = list(dict.fromkeys(each.family for each in wanted))
    assert order == [family.name for family in FAMILIES]


def test_a_variant_is_the_strategy_and_protocol_that_its_name_tells() -> None:
    one = Variant("pcf", 0.4, 2, "weighted", 0.3, 8)
    assert one.name == "pcf-T0.4-f2-weighted0.3-8bits"
    assert one.strategy(12, 7) == PCFES(population=12, generations=7, threshold=0.4, monitor=2)
    assert one.evaluation == raynas.Evaluation(sampling="weighted", sample_rate=0.3, bits=8)
    assert replace(one, timed=True).name == f"{one.name}-timed"
    assert Variant("cf", 0.5).strategy(12, 7) == CFES(population=12, generations=7, threshold=0.5)
    assert Variant("ea").strategy(12, 7) == raynas.EA(population=12, generations=7)
    with pytest.raises(InputError, match="population"):
        one.strategy(0, 7)
