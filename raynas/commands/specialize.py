"""`raynas specialize`: networks for several limits from the table of a progressive training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from rich.table import Table

import raynas
from raynas.commands.families import require_trained
from raynas.commands.limits import LimitOptions
from raynas.commands.loading import DataOptions, SupernetOptions, load_data
from raynas.commands.options import given, options_of
from raynas.commands.supernet_training import table_of
from raynas.commands.terminal import cost_cell, cost_heading, make_console
from raynas.costs.bounds import Bounds
from raynas.errors import require
from raynas.evolution.table_search import TableSearch
from raynas.preparation import require_seed
from raynas.score import objective_text
from raynas.space import Architecture, encode
from raynas.specialization import Specialization, Specialized, measured_on

if TYPE_CHECKING:
    from raynas import Evaluation as EvaluationOptions
    from raynas.evolution.table_search import TableSearch as SearchOptions
else:
    EvaluationOptions = options_of(raynas.Evaluation)
    SearchOptions = options_of(TableSearch)

SEVERAL = ("flops", "flops_at_least", "params", "params_at_least", "latency", "latency_at_least")
"""Limits that may have a value for each network."""


@final
@dataclass(frozen=True)
class SeveralLimits:
    """Limits on networks: numbers, or shares of the largest architecture such as 60%.

    Several values of an option are for as many networks, one each; a single value is for all.

    Args:
        flops: the most multiply-adds that a network may have.
        flops_at_least: the fewest multiply-adds that it may have.
        params: the most parameters that a network may have.
        params_at_least: the fewest parameters that it may have.
        latency: the most seconds that a batch may take, by --latency-table.
        latency_at_least: the fewest seconds that it may take.
        latency_table: the file that raynas latency wrote on the device that will run the network.
        latency_batch: the size of batch that the seconds are of.
        latency_device: that device's name, as the table has it; this machine's if omitted.
        limits: package.module:function, which returns limits on costs of your own, one or a list:
            raynas.Cost(…).
    """

    flops: tuple[str, ...] = ()
    flops_at_least: tuple[str, ...] = ()
    params: tuple[str, ...] = ()
    params_at_least: tuple[str, ...] = ()
    latency: tuple[str, ...] = ()
    latency_at_least: tuple[str, ...] = ()
    latency_table: Path | None = None
    latency_batch: int = 1
    latency_device: str | None = None
    limits: str | None = None

    def constraints(self) -> list[list[Bounds] | None]:
        """The limits of each network.

        Raises:
            InputError: other numbers of values than one and those of the others, a text that is no
                number or share, or a function that makes no limits.
        """
        counts = {name: len(getattr(self, name)) for name in SEVERAL}
        count = max(1, *counts.values())
        for name, values in counts.items():
            require(
                values in (0, 1, count),
                name.replace("_", "-"),
                f"one value, or {count} as another limit has",
                values,
                "Give a value for each network, or one for all.",
            )
        return [LimitOptions(**self.of(number)).constraint() for number in range(count)]

    def of(self, number: int) -> dict[str, Any]:
        """The options of one network."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        for name in SEVERAL:
            own = values[name]
            values[name] = (own[0] if len(own) == 1 else own[number]) if own else None
        return values


def specialize(
    data: DataOptions,
    supernet: SupernetOptions,
    limits: SeveralLimits,
    settings: SearchOptions,
    evaluation: EvaluationOptions,
    table: Path | None = None,
    evaluate: bool = False,
    workers: int | None = 0,
    seed: int = 0,
) -> None:
    """Specialise networks for one limit or several, from the table of a progressive training.

    Each is looked up by the genetic algorithm of PONAS, and beside it by integer programming, which
    finds the optimum.

    Args:
        data: the samples, that --evaluate scores on.
        supernet: trained with --paths progressive.
        limits: of each network.
        settings: of the genetic algorithm.
        evaluation: the protocol of --evaluate.
        table: the accuracy table; the one beside the weights if omitted.
        evaluate: score what was found, and the best path, as a search scores its finalists; samples
            other than those of the table are named.
        workers: Ray actors that score; 0 for this process.
        seed: of the genetic algorithm.
    """
    require_seed(seed)
    search = given(TableSearch, settings)
    require_trained(supernet.supernet, supernet.weights)
    protocol = given(raynas.Evaluation, evaluation)
    constraints = limits.constraints()
    source = table_of(Path(supernet.weights or supernet.supernet)) if table is None else table
    known = raynas.AccuracyTable.load(source)
    samples = load_data(data)
    network, task = supernet.load(data, samples)
    results = raynas.specialize(known, network, constraints, settings=search, seed=seed)
    scores: dict[Architecture, raynas.Score] = {}
    if evaluate:
        wanted = list(dict.fromkeys([known.best, *found_in(results)]))
        options: dict[str, Any] = {"evaluation": protocol, "task": task, "workers": workers}
        scored = raynas.evaluate(network, samples, wanted, **options)
        scores = dict(zip(wanted, scored, strict=True))
    screen = make_console()
    if evaluate and not measured_on(known, samples):
        screen.print(
            f"Scored on other samples ({samples.name}) than those of the table ({known.data}), or "
            "on another cut of them: what is lost and what is scored do not compare.",
            soft_wrap=True,
        )
    screen.print(specialization_table(results, known, scores))
    for result in results:
        for way, each in ways(result):
            shown = f"{encode(each.architecture)}  {','.join(each.names)}"
            screen.print(f"{result.limits}, {way}: {shown}", soft_wrap=True)


def found_in(results: Sequence[Specialization]) -> list[Architecture]:
    """The architectures of all results."""
    return [each.architecture for result in results for _, each in ways(result)]


def ways(result: Specialization) -> list[tuple[str, Specialized]]:
    """The networks of a result by the way in which they were found."""
    optimum = result.optimum
    exact = [] if optimum is None else [("optimum" if optimum.proven else "best known", optimum)]
    return [("genetic", result.found), *exact]


def specialization_table(
    results: Sequence[Specialization],
    known: raynas.AccuracyTable,
    scores: Mapping[Architecture, raynas.Score],
) -> Table:
    """Two rows for each set of limits: what the genetic algorithm found, and the optimum.

    Args:
        results: of the limits.
        known: the table that they were looked up in.
        scores: of their architectures; none if they were not evaluated.
    """
    names = list(dict.fromkeys(name for result in results for name in result.found.costs))
    shown = Table(title=told(known, scores))
    shown.add_column("limits", overflow="fold")
    shown.add_column("found by")
    headings = [cost_heading(name) for name in names]
    for column in (
        f"lost {known.objective}",
        *headings,
        "seconds",
        *(["scored"] if scores else []),
    ):
        shown.add_column(column, justify="right")
    for result in results:
        for way, each in ways(result):
            scored = [in_words(scores[each.architecture])] if scores else []
            costs = [cost_cell(n, each.costs[n]) if n in each.costs else "" for n in names]
            lost = objective_text(known.objective, each.lost)
            shown.add_row(result.limits, way, lost, *costs, f"{each.seconds:.2f}", *scored)
    return shown


def told(known: raynas.AccuracyTable, scores: Mapping[Architecture, raynas.Score]) -> str:
    """The title of a table: what the lost accuracy counts from."""
    best = f" (scored {in_words(scores[known.best])})" if scores else ""
    return f"Specialised networks; lost against the best path{best}"


def in_words(score: raynas.Score) -> str:
    """The first objective of a score."""
    name = next(iter(score.objectives))
    return objective_text(name, score.value)
