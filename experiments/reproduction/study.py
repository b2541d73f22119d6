"""A whole study: everything that is wanted, in order, and the report that grows with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, final

import torch

import raynas
from raynas.costs import resolve_limits
from raynas.evaluation.device.machine import machine_facts
from raynas.files import Record, read_json, write_json
from raynas.report.read import read_run
from raynas.runlog import RESULT
from reproduction.families import Family
from reproduction.importance import importance
from reproduction.lab import Lab, Opened
from reproduction.plan import Wanted, early, methods, searches
from reproduction.rows import named

Tell = Callable[[str], None]
"""Receives lines for a person."""


@final
@dataclass
class Study:
    """The searches of several supernets on several data sets.

    Args:
        labs: the first searches all families; the others compare methods on the first family.
        families: the supernets.
        tell: receives a line about each search.
    """

    labs: Sequence[Lab]
    families: Sequence[Family]
    tell: Tell = print
    _open: dict[tuple[str, str], Opened] = field(default_factory=dict)

    def wanted(self) -> list[Wanted]:
        """Everything that is wanted, in order; other data sets come last."""
        main, *others = self.labs
        found = searches(self.families, main.source.name, main.sizes)
        spos = [family for family in self.families if family.name == "spos"]
        return found + [
            Wanted(family.name, lab.source.name, variant, seed)
            for lab in others
            for family in spos
            for seed in lab.sizes.seeds
            for variant in methods(family.freezing)
        ]

    def report(self, command: str, *, quick: bool) -> Record:
        """A report without rows.

        Raises:
            InputError: sizes that no strategy or training takes, or a limit that no architecture
                satisfies.
        """
        main = self.labs[0]
        for family in self.families:
            for lab in self.labs:
                family.settings(lab.source)
        for each in self.wanted():
            each.variant.strategy(main.sizes.population, main.sizes.generations)
        return {
            "quick": quick,
            "command": command,
            "machine": {**machine_facts(torch.device("cpu")), "raynas": raynas.__version__},
            "data": [lab.source.record() for lab in self.labs],
            "sizes": asdict(main.sizes),
            "epochs": main.source.epochs,
            "families": [describe(family, main) for family in self.families],
            "wanted": [named(each) for each in self.wanted()],
            "rows": [],
            "importance": {},
        }

    def run(self, report: Record, keep: Callable[[Record], None]) -> None:
        """Take what has been run before, run what is missing, and keep the report on the way.

        Args:
            report: as `report` gives it; receives the rows.
            keep: called with it whenever it has grown.
        """
        everything = self.wanted()
        missing = [each for each in everything if not self._take(report, each)]
        if len(missing) < len(everything):
            keep(report)
        for number, each in enumerate(missing, len(everything) - len(missing) + 1):
            lab, family = self._find(each)
            row = lab.search(self._opened(lab, family), each)
            self._add(report, row, each)
            self.tell(
                f"{number:4d}/{len(everything)}  {family.label}, {lab.source.name}, "
                f"{each.variant.name}, seed {each.seed}: top-1 {row['top1']:.2%}, "
                f"{len(row['generations'])} generations, {row['seconds']:.1f} s"
            )
            keep(report)

    def _take(self, report: Record, wanted: Wanted) -> bool:
        """Add the row of a search that has been run; whether there is one."""
        lab, family = self._find(wanted)
        done = (lab.run_dir(family, wanted) / RESULT).exists() and lab.weights(family).exists()
        row = lab.finished(self._opened(lab, family), wanted) if done else None
        if row is not None:
            self._add(report, row, wanted)
        return row is not None

    def _add(self, report: Record, row: Record, wanted: Wanted) -> None:
        """Add a row, and what Figure 6 needs if it is of the search that it looks at."""
        report["rows"].append(row)
        lab, family = self._find(wanted)
        main = self.labs[0]
        typical = (early(family), main.sizes.seeds[0])
        if lab is main and (wanted.variant, wanted.seed) == typical:
            report["importance"][family.name] = self._importance(lab, family, wanted)

    def _find(self, wanted: Wanted) -> tuple[Lab, Family]:
        (lab,) = [each for each in self.labs if each.source.name == wanted.data]
        (family,) = [each for each in self.families if each.name == wanted.family]
        return lab, family

    def _opened(self, lab: Lab, family: Family) -> Opened:
        key = (lab.source.name, family.name)
        if key not in self._open:
            self._open[key] = lab.open(family)
        return self._open[key]

    def _importance(self, lab: Lab, family: Family, wanted: Wanted) -> Record | None:
        """The importance of samples behind a search's first freeze, evaluated once."""
        run_dir = lab.run_dir(family, wanted)
        file = run_dir.with_name(f"{run_dir.name}.importance.json")
        if not file.exists():
            supernet = self._opened(lab, family).supernet
            found = importance(supernet, lab.source.images, read_run(run_dir), lab.workers)
            write_json(file, {"importance": found})
        known: Record | None = read_json(file)["importance"]
        return known


def describe(family: Family, lab: Lab) -> Record:
    """A family as a report tells it.

    Raises:
        InputError: its limit cannot be satisfied.
    """
    limit = family.limit(lab.source.name)
    supernet = family.build(lab.source)
    resolve_limits(limit, supernet).require_feasible()
    return {
        "name": family.name,
        "label": family.label,
        "in_paper": family.in_paper,
        "choices": list(supernet.space.choices),
        "limit": in_words(limit),
        "paths": family.paths,
        "freezing": asdict(family.freezing),
        "sampled": family.sampled,
    }


def in_words(limit: Any) -> str:
    """An upper limit in words."""
    name, most = type(limit).__name__, limit.at_most
    return f"{name} ≤ {most}" if isinstance(most, str) else f"{name} ≤ {most / 1e6:g} M"


def places(home: Path) -> tuple[Path, Path]:
    """The files of the raw numbers and of the page below a folder."""
    return home / "reproduction.json", home / "reproduction.md"
