"""Searches under the costs of given architectures, beside these (SPOS, table 5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

from rich.table import Table

import raynas
from raynas.commands import terminal
from raynas.costs.latency_table import LatencyTable
from raynas.costs.timing import TimingSettings, measure_latency
from raynas.evolution import Strategy
from raynas.result import Best
from raynas.score import Score
from raynas.space import Architecture

SHARED = ("evaluation", "task", "workers", "pool", "ledger")
"""Options of a search that scoring baselines takes, too."""


@final
@dataclass(frozen=True)
class Rivals:
    """A baseline, and what searches found at its costs.

    Args:
        name: of the baseline.
        baseline: its score under the full protocol, with its costs.
        found: the winners by the cost that was limited, `"flops"` or `"latency"`.
    """

    name: str
    baseline: Score
    found: Mapping[str, Best]


def uniform_architectures(supernet: raynas.ChainSupernet) -> dict[str, Architecture]:
    """The architectures of one choice everywhere, by its name: `c3`, `e6k7`.

    Only choices that all blocks have by one name make one.
    """
    shared = [name for name in supernet.names[0] if all(name in each for each in supernet.names)]
    return {name: supernet.encode([name] * supernet.space.blocks) for name in shared}


def measured_table(
    supernet: raynas.ChainSupernet, path: Path, settings: TimingSettings
) -> LatencyTable:
    """The latency table of a file, measured and written first if it is missing.

    Raises:
        InputError: another file, or a place that cannot be written to.
    """
    if not path.exists():
        terminal.make_console().print(f"Measuring latencies: {path}", soft_wrap=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        measure_latency(supernet, settings).save(path)
    return LatencyTable.load(path)


def search_beside(
    supernet: raynas.ChainSupernet,
    data: raynas.data.SearchData,
    strategy: Strategy,
    directory: Path,
    latency: raynas.Latency,
    **options: Any,
) -> list[Rivals]:
    """Search at most at the FLOPs, and at most at the latency, of every uniform architecture.

    Args:
        supernet: that is trained.
        data: on which it is searched.
        strategy: of each search.
        directory: receives the records of each search; a finished one is not run again.
        latency: the table and the size of batch; its bounds are not used.
        options: others of `raynas.search`; evaluation, task, workers, pool and ledger are those of
            the baselines, too.

    Raises:
        InputError: as `raynas.search`.
    """
    bases = uniform_architectures(supernet)
    table = latency.priced(supernet)
    # Baselines are compared with what the searches find, so that all are scored alike.
    alike = {"workers": None, **{name: options[name] for name in SHARED if name in options}}
    scores = raynas.evaluate(supernet, data, list(bases.values()), **alike)
    rivals = []
    for name, score in zip(bases, scores, strict=True):
        seconds = table.of(score.architecture)
        # Any seconds are few enough for the first one, so that its records tell them, too.
        limits: dict[str, list[raynas.costs.Bounds]] = {
            "flops": [
                raynas.FLOPs(at_most=score.costs["flops"]),
                replace(latency, at_least=None, at_most="100%"),
            ],
            "latency": [replace(latency, at_least=None, at_most=seconds)],
        }
        found = {
            limited: best_of(
                supernet, data, strategy, directory / f"{name}-{limited}",
                constraint=bounds, **options,
            )
            for limited, bounds in limits.items()
        }  # fmt: skip
        baseline = replace(score, costs={**score.costs, latency.name: seconds})
        rivals.append(Rivals(name, baseline, found))
    return rivals


def best_of(
    supernet: raynas.ChainSupernet,
    data: raynas.data.SearchData,
    strategy: Strategy,
    run_dir: Path,
    **options: Any,
) -> Best:
    """Search with progress, or read what a finished search found, and return the best of it."""
    screen = terminal.make_console()
    screen.print(f"Search: {run_dir}", soft_wrap=True)
    with terminal.search_progress(screen, strategy.generations) as observer:
        result = raynas.search(
            supernet, data, strategy=strategy, run_dir=run_dir, resume=True, observer=observer,
            **options,
        )  # fmt: skip
    return result.best


def rivals_table(rivals: Sequence[Rivals], latency: str = "latency") -> Table:
    """A row per baseline: its costs and top-1, and that of both searches.

    Args:
        rivals: as `search_beside` finds them.
        latency: the name of that cost.
    """
    table = Table(title="Searches at the costs of baselines, on one supernet")
    for column in ("baseline", "MFLOPs", "ms", "top-1", "at its FLOPs", "at its latency"):
        table.add_column(column, justify="left" if column == "baseline" else "right")
    for each in rivals:
        costs = each.baseline.costs
        cells = [terminal.share(each.baseline.top1)]
        for limited in ("flops", "latency"):
            best = each.found[limited]
            told = f"{best.costs['flops'] / 1e6:.3f} MFLOPs, {1e3 * best.costs[latency]:.2f} ms"
            cells.append(f"{terminal.share(best.top1)} ({told})")
        table.add_row(
            f"all {each.name}", f"{costs['flops'] / 1e6:.3f}", f"{1e3 * costs[latency]:.2f}", *cells
        )
    return table
