"""Numbers for a person to read: with units, and in words where there are none."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import TypeGuard

from raynas.score import SHARES

NAMES = {"top1": "top-1 accuracy", "top5": "top-5 accuracy", "flops": "multiply-adds",
         "params": "parameters"}  # fmt: skip
"""Plain names of objectives and costs."""

SECONDS = "latency"
"""The cost whose numbers are seconds, which are shown in milliseconds."""

STRATEGIES = {"EA": "EA (SPOS)", "RandomSearch": "random", "CFES": "CF-ES", "PCFES": "PCF-ES",
              "NSGA2": "NSGA-II"}  # fmt: skip
"""The names that papers give to strategies, by their classes."""

ROUNDED = 0.9995
"""The least number that three digits round up to 1."""

UNKNOWN = "–"
"""Stands in a table where nothing is known."""


def is_finite(value: object) -> TypeGuard[float]:
    """Whether a recorded value is a number that can be drawn."""
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def plain_name(name: str) -> str:
    """An objective or a cost in words."""
    return NAMES.get(name, name.replace("_", " "))


def cost_name(cost: str) -> str:
    """A cost in words, with its unit where its numbers have one."""
    return f"{plain_name(cost)} (ms)" if cost == SECONDS else plain_name(cost)


def cost_number(cost: str, value: float) -> float:
    """A recorded cost in the unit of its name: seconds in milliseconds."""
    return 1e3 * value if cost == SECONDS else value


def cost_text(cost: str, value: object) -> str:
    """The number of a cost, in the unit of its name."""
    return count_text(cost_number(cost, value) if is_finite(value) else value)


def cost_phrase(cost: str, value: object) -> str:
    """The number of a cost, its unit and its name: `0.58 ms latency`."""
    unit = " ms" if cost == SECONDS and is_finite(value) else ""
    return f"{cost_text(cost, value)}{unit} {plain_name(cost)}"


def axis_name(objective: str) -> str:
    """An objective with its unit, for an axis."""
    return f"{plain_name(objective)} (%)" if objective in SHARES else plain_name(objective)


def scaled(objective: str, value: float) -> float:
    """A value as an axis shows it: shares in per cent."""
    return 100.0 * value if objective in SHARES else value


def score_text(objective: str, value: object) -> str:
    """The value of an objective."""
    if not is_finite(value):
        return UNKNOWN if value is None else str(value)
    return f"{value:.2%}" if objective in SHARES else f"{value:.4g}"


def count_text(value: object) -> str:
    """A cost or a count: whole numbers with commas, others with four digits."""
    if not is_finite(value):
        return UNKNOWN
    if float(value).is_integer():
        return f"{int(value):,}"
    # From 9,999.5 on, four digits would be written as a power of ten.
    return f"{value:,.4g}" if abs(value) < 9999.5 else f"{value:,.0f}"


def counted(count: int, noun: str) -> str:
    """A number of things, in words: `1 generation`, `5 generations`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def seconds_text(value: object) -> str:
    """A time, in the units that a person would say it in."""
    if not is_finite(value):
        return UNKNOWN
    if value < 100:
        return f"{value:.2f} s" if value < 10 else f"{value:.1f} s"
    if value < 3600:
        return f"{value:,.0f} s ({value / 60:.1f} min)"
    return f"{value:,.0f} s ({value / 3600:.2f} h)"


def energy_text(value: object) -> str:
    """Joules, in the multiple that is easiest to read."""
    if not is_finite(value):
        return UNKNOWN
    for unit, size in (("MJ", 1e6), ("kJ", 1e3)):
        if value >= ROUNDED * size:
            return f"{three_digits(value / size)} {unit}"
    return f"{value:.3g} J"


def mass_text(value: object) -> str:
    """Grams."""
    if not is_finite(value):
        return UNKNOWN
    heavy = value >= ROUNDED * 1000
    return f"{three_digits(value / 1000)} kg" if heavy else f"{value:.3g} g"


def three_digits(value: float) -> str:
    """A number with three digits, or all that stand before the point."""
    return f"{value:.3g}" if value < ROUNDED * 1000 else f"{value:,.0f}"


def multiple(values: Sequence[float]) -> tuple[float, str]:
    """The power of a thousand that makes numbers short, and its letter for a label.

    Args:
        values: at least one of an axis.
    """
    largest = max(map(abs, values), default=0.0)
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if largest >= size:
            return size, letter
    return 1.0, ""


def strategy_text(strategy: str) -> str:
    """A strategy by the name that its paper gives it."""
    return STRATEGIES.get(strategy, strategy)
