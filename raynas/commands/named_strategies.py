"""Strategies by their names on the command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from types import SimpleNamespace
from typing import Any, Literal

from raynas.commands.options import chosen, given
from raynas.errors import require
from raynas.evolution import CFES, EA, NSGA2, PCFES, RandomSearch, Strategy
from raynas.evolution.presets import ChoiceFreezing

StrategyName = Literal["ea", "random", "cf", "pcf", "nsga2"]

STRATEGIES: Mapping[str, type[Strategy]] = {
    "ea": EA,
    "random": RandomSearch,
    "cf": CFES,
    "pcf": PCFES,
    "nsga2": NSGA2,
}


def choose_strategy(
    name: StrategyName, options: Any, freezing: ChoiceFreezing | None = None
) -> Strategy:
    """A strategy by its name, with those of the options that it has.

    A search for a front keeps as many as its population, unless `top_k` is given.

    Args:
        name: of the strategy.
        options: their values as attributes; those that are `None` were not given.
        freezing: the thresholds of cf and pcf that were not given; their defaults if omitted.

    Raises:
        InputError: an option out of range.
    """
    values = chosen(options)
    if name == "nsga2":
        values = {"top_k": values.get("population", NSGA2.population), **values}
    elif freezing is not None and name in ("cf", "pcf"):
        suited = freezing.cfes() if name == "cf" else freezing.pcfes()
        values = {**vars(suited), **values}
    made: Strategy = given(STRATEGIES[name], SimpleNamespace(**values))
    return made


def make_strategy(name: StrategyName, **settings: Any) -> Strategy:
    """A strategy by its name; settings that only others have are passed over.

    Raises:
        InputError: a setting out of range, or one that no strategy has.
    """
    known = {each.name for kind in (PCFES, NSGA2) for each in fields(kind)}
    unknown = sorted(set(settings) - known)
    require(not unknown, "settings", f"some of {sorted(known)}", unknown, "Mend the names.")
    return choose_strategy(name, SimpleNamespace(**settings))
