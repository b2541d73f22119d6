"""Networks of an accuracy table beside those of searches: the columns of PONAS's Table 2."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from rich.table import Table

import raynas
from raynas.commands import supernet_training, terminal, workflow
from raynas.commands.specialize import ways
from raynas.costs.bounds import as_bound
from raynas.errors import require
from raynas.files import Record
from raynas.specialization import Specialization


@final
@dataclass(frozen=True)
class TableOptions:
    """The networks that are looked up, and the searches that they are compared with.

    Args:
        limits: the most multiply-adds of each network: numbers, or shares of the largest
            architecture such as 60%.
        generations: of each search.
        population: architectures per generation.
        seed: of the genetic algorithm and of the searches.
        workers: Ray actors; 0 for this process, every GPU or core if omitted.
        run_dir: the folder of the records; a finished search in it is not searched again.
    """

    limits: tuple[str, ...] = ("50%", "60%", "70%")
    generations: int = 20
    population: int = 50
    seed: int = 0
    workers: int | None = None
    run_dir: Path | None = None

    def __post_init__(self) -> None:
        require(
            len(set(self.limits)) == len(self.limits) > 0,
            "limits",
            "at least one, each once",
            " ".join(self.limits) or "none",
            "Name each once.",
        )

    @property
    def constraints(self) -> list[raynas.FLOPs]:
        """The limits of the networks.

        Raises:
            InputError: a text that is no number or share.
        """
        return [raynas.FLOPs(at_most=as_bound(text, "limits")) for text in self.limits]


def train_and_specialize(
    supernet: raynas.ChainSupernet,
    data: raynas.data.SearchData,
    settings: raynas.TrainingSettings,
    weights: Path,
    options: TableOptions,
    **progressive: Any,
) -> list[Record]:
    """Train a supernet progressively unless its weights are there; look networks up, and search.

    Prints what the blocks lose (figure 2) and a row for each network and way (table 2).

    Args:
        supernet: as it is built.
        data: to train and to search on.
        settings: of the training.
        weights: the file to read or to write; its table is beside it.
        options: of networks and searches.
        progressive: settings of the blocks; see `raynas.training.ProgressiveSettings`.

    Returns:
        The content of `result.json` of each search.

    Raises:
        InputError: as the training, or a search.
    """
    constraints = options.constraints
    strategy = raynas.EA(population=options.population, generations=options.generations)
    supernet_training.train_or_load(
        supernet, data, settings, weights,
        paths="progressive", workers=options.workers, progressive=progressive,
    )  # fmt: skip
    table = raynas.AccuracyTable.load(supernet_training.table_of(weights))
    found = raynas.specialize(table, supernet, constraints, seed=options.seed)
    screen = terminal.make_console()
    screen.print(importance_table(table))
    home = options.run_dir or weights.parent
    records, run_dirs = [], []
    for text, constraint in zip(options.limits, constraints, strict=True):
        name = f"ea-{text.replace('%', 'percent')}-seed{options.seed}"
        run_dir = home / name
        run_dirs.append(run_dir)
        screen.print(f"EA, FLOPs at most {text}: {run_dir}", soft_wrap=True)
        result = workflow.search_with_progress(
            screen, supernet, data, strategy, run_dir,
            constraint=constraint, seed=options.seed, workers=options.workers, resume=True,
        )  # fmt: skip
        records.append(result.record)
    wanted = [each.architecture for one in found for _, each in ways(one)]
    scores = raynas.evaluate(supernet, data, wanted, workers=options.workers)
    scored = {score.architecture: score.value for score in scores}
    screen.print(networks_table(found, table, scored, records))
    workflow.report_runs(screen, run_dirs, home / workflow.REPORT)
    return records


def importance_table(table: raynas.AccuracyTable) -> Table:
    """The largest lost accuracy of each block: how much its choice matters (figure 2)."""
    shown = Table(title="Largest lost accuracy of each block")
    for column in ("block", "lost", "best choice", "worst choice"):
        shown.add_column(column, justify="left" if "choice" in column else "right")
    worst = table.lost.dearest()
    for block, names in enumerate(table.names):
        lost = terminal.share(table.largest_lost[block])
        shown.add_row(str(block), lost, names[table.best[block]], names[worst[block]])
    return shown


def networks_table(
    found: Sequence[Specialization],
    table: raynas.AccuracyTable,
    scored: Mapping[tuple[int, ...], float],
    searches: Sequence[Record],
) -> Table:
    """Rows of networks under each limit: by the table in both ways, and by a search."""
    shown = Table(title="Networks under limits")
    shown.add_column("limit", overflow="fold")
    shown.add_column("found by")
    for column in ("MFLOPs", "params", "lost by table", "val top-1", "seconds", "evaluated"):
        shown.add_column(column, justify="right")
    for one, record in zip(found, searches, strict=True):
        for way, each in ways(one):
            top = terminal.share(scored[each.architecture])
            counts = costs_in_words(each.costs)
            shown.add_row(
                one.limits, way, *counts, terminal.share(each.lost), top, f"{each.seconds:.2f}", "0"
            )
        lost = terminal.share(float(table.lost.of(tuple(record["architecture"]))))
        work = (f"{record['seconds']:.1f}", f"{record['evaluations']:,}")
        counts = costs_in_words(record)
        shown.add_row(one.limits, "EA", *counts, lost, terminal.share(record["top1"]), *work)
    return shown


def costs_in_words(costs: Mapping[str, Any]) -> tuple[str, str]:
    """Millions of multiply-adds, and parameters."""
    return f"{costs['flops'] / 1e6:.3f}", f"{costs['params']:,}"
