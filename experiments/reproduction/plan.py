"""The searches that the tables and figures need, each once, the most informative first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, final

import raynas
from raynas.evaluation.settings import Sampling
from raynas.evolution.presets import ChoiceFreezing
from reproduction.families import Family
from reproduction.sources import DataName

Method = Literal["ea", "cf", "pcf"]

MONITORS = (1, 2, 3, 4, 5)
RATES = (0.9, 0.7, 0.5, 0.4, 0.3, 0.2, 0.1)
COMPARED = (0.9, 0.7, 0.5, 0.3)
"""The rates of Table 3, which compares ways of sampling."""

MODES: tuple[Sampling, ...] = ("random", "weighted")
"""The ways of sampling that Table 3 compares with that of Figure 11, `"top"`."""

BITS = (32, 16, 8, 4)
BIT_RATES = (0.5, 0.3, 0.1)


@final
@dataclass(frozen=True)
class Variant:
    """One way to search a supernet; two that search alike are equal.

    Args:
        method: ea (SPOS), cf (CF-ES) or pcf (PCF-ES).
        threshold: the choice percentage threshold of cf and pcf.
        monitor: the monitor size of pcf.
        sampling: the mode that selects samples, where not all are kept.
        rate: the share of them that is kept behind a frozen prefix.
        bits: at which activations are stored behind it.
        timed: searched without the ledger, so that its seconds are its own.
    """

    method: Method
    threshold: float | None = None
    monitor: int | None = None
    sampling: Sampling = "top"
    rate: float = 1.0
    bits: int = 32
    timed: bool = False

    @property
    def name(self) -> str:
        """The name of its folder, which tells everything."""
        parts: list[str] = [self.method]
        if self.threshold is not None:
            parts.append(f"T{self.threshold:g}")
        if self.monitor is not None:
            parts.append(f"f{self.monitor}")
        if self.rate < 1.0:
            parts.append(f"{self.sampling}{self.rate:g}")
        if self.bits != 32:
            parts.append(f"{self.bits}bits")
        return "-".join([*parts, *(["timed"] if self.timed else [])])

    def strategy(self, population: int, generations: int) -> raynas.Strategy:
        """The strategy of a search of this size."""
        sizes: dict[str, Any] = {"population": population, "generations": generations}
        if self.method == "ea":
            return raynas.EA(**sizes)
        assert self.threshold is not None
        if self.method == "cf":
            return raynas.CFES(threshold=self.threshold, **sizes)
        assert self.monitor is not None
        return raynas.PCFES(threshold=self.threshold, monitor=self.monitor, **sizes)

    @property
    def evaluation(self) -> raynas.Evaluation:
        """The protocol: the library's own, but for what is varied."""
        return raynas.Evaluation(sample_rate=self.rate, sampling=self.sampling, bits=self.bits)


@final
@dataclass(frozen=True)
class Wanted:
    """One search that is wanted.

    Args:
        family: the name of its supernet.
        data: the name of its data set.
        variant: the way to search.
        seed: of the search.
    """

    family: str
    data: DataName
    variant: Variant
    seed: int


@final
@dataclass(frozen=True)
class Sizes:
    """The sizes of all searches.

    Args:
        population: architectures per generation.
        generations: of each search.
        seeds: of the searches.
        rates: of Figure 11 and Table 3.
        bit_rates: of Table 4.
        monitors: of Figure 10.
        most: of the thresholds of Figure 9; all if `None`.
    """

    population: int = 50
    generations: int = 20
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    rates: tuple[float, ...] = RATES
    bit_rates: tuple[float, ...] = BIT_RATES
    monitors: tuple[int, ...] = MONITORS
    most: int | None = None


def early(family: Family) -> Variant:
    """PCF-ES on all samples at the threshold where samples and bits are varied."""
    return Variant("pcf", family.sampled, family.freezing.monitor)


def methods(freezing: ChoiceFreezing, *, timed: bool = False) -> list[Variant]:
    """The three rows of Table 1."""
    return [
        Variant("ea", timed=timed),
        Variant("cf", freezing.cf, timed=timed),
        Variant("pcf", freezing.pcf, freezing.monitor, timed=timed),
    ]


def thresholds(family: Family, sizes: Sizes) -> list[Variant]:
    """PCF-ES at every threshold of Figure 9, at the paper's monitor size there."""
    values = family.thresholds[: sizes.most]
    return [Variant("pcf", threshold, 3) for threshold in values]


def monitors(family: Family, sizes: Sizes) -> list[Variant]:
    """PCF-ES at every monitor size of Figure 10."""
    return [Variant("pcf", family.freezing.pcf, size) for size in sizes.monitors]


def rates(family: Family, sizes: Sizes) -> list[Variant]:
    """PCF-ES at every sample rate of Figure 11 and Table 3, and on all samples."""
    whole = early(family)
    return [
        whole,
        *(replace(whole, rate=rate) for rate in sizes.rates),
        *(
            replace(whole, sampling=mode, rate=rate)
            for rate in sizes.rates
            if rate in COMPARED
            for mode in MODES
        ),
    ]


def bits(family: Family, sizes: Sizes) -> list[Variant]:
    """PCF-ES at every sample rate and number of bits of Table 4."""
    return [
        replace(early(family), rate=rate, bits=depth) for rate in sizes.bit_rates for depth in BITS
    ]


def searches(families: Sequence[Family], data: DataName, sizes: Sizes) -> list[Wanted]:
    """The searches on one data set in their order, each once.

    Everything about the first supernet, its Table 1 and thresholds first; then Table 1 of the
    others; then what varies their settings.
    """
    return list(dict.fromkeys(ordered(families, data, sizes)))


def ordered(families: Sequence[Family], data: DataName, sizes: Sizes) -> Iterator[Wanted]:
    """The searches in order; those that several tables need are named as often."""

    def each(family: Family, variants: Sequence[Variant]) -> Iterator[Wanted]:
        for seed in sizes.seeds:
            yield from (Wanted(family.name, data, variant, seed) for variant in variants)

    def table1(family: Family) -> Iterator[Wanted]:
        yield from each(family, methods(family.freezing))
        for variant in methods(family.freezing, timed=True):
            yield Wanted(family.name, data, variant, sizes.seeds[0])

    for first in families[:1]:
        yield from table1(first)
        for varied in (thresholds, monitors, rates, bits):
            yield from each(first, varied(first, sizes))
    for family in families[1:]:
        yield from table1(family)
    for varied in (thresholds, monitors):
        for family in families[1:]:
            yield from each(family, varied(family, sizes))
    # The paper does not say of which of its benchmarks Figure 11 is.
    for family in families[1:]:
        if family.in_paper:
            yield from each(family, rates(family, sizes))
