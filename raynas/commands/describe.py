"""`raynas describe` and `raynas evaluate`: a look at a supernet, and baselines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

import raynas
from raynas.commands.architectures import architecture_of
from raynas.commands.families import require_trained
from raynas.commands.limits import OF_LATENCY, LimitOptions, TableOptions
from raynas.commands.loading import DataOptions, SupernetOptions, load_data
from raynas.commands.options import given, options_of, renamed
from raynas.commands.terminal import make_console, named_cost
from raynas.errors import require
from raynas.evolution import RandomSearch
from raynas.overview import Overview
from raynas.preparation import require_seed
from raynas.space import encode

if TYPE_CHECKING:
    from raynas import Evaluation as EvaluationOptions
else:
    EvaluationOptions = options_of(raynas.Evaluation)


def describe(
    data: DataOptions,
    supernet: SupernetOptions,
    evaluation: EvaluationOptions,
    limits: LimitOptions,
    paths: int = 4,
    population: int = 50,
    generations: int = 20,
    workers: int | None = 0,
    seed: int = 0,
) -> None:
    """Show what a search would meet: costs, legal architectures, scores of random paths, seconds.

    Args:
        data: the samples.
        supernet: what would be searched.
        evaluation: the protocol.
        limits: what is legal.
        paths: how many random architectures to score.
        population: architectures per generation of the search whose time is foretold.
        generations: of the search whose time is foretold.
        workers: Ray actors that score; 0 for this process.
        seed: of the random architectures.
    """
    require_seed(seed)
    RandomSearch(population, generations)
    protocol = given(raynas.Evaluation, evaluation)
    constraint = limits.constraint()
    samples = load_data(data)
    network, task = supernet.load(data, samples)
    with renamed(**OF_LATENCY):
        overview = raynas.describe(
            network,
            samples,
            constraint=constraint,
            evaluation=protocol,
            task=task,
            paths=paths,
            workers=workers,
            seed=seed,
        )
    given_rows = [("samples", samples.describe_sizes()), ("weights", supernet.weights_in_words())]
    make_console().print(overview_table(given_rows, overview, population * generations))


def overview_table(
    given_rows: Sequence[tuple[str, str]], overview: Overview, candidates: int
) -> Table:
    """An overview as a table of names and values, below rows of what it is of."""
    table = Table(title="Supernet", show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in (*given_rows, *overview.rows()):
        table.add_row(name, value)
    longest = overview.search_seconds(candidates)
    table.add_row(
        f"seconds of {candidates:,} candidates",
        f"at most about {longest:,.0f} on one worker; shared prefixes make it less",
    )
    return table


def evaluate(
    data: DataOptions,
    supernet: SupernetOptions,
    architectures: Sequence[str],
    evaluation: EvaluationOptions,
    seconds: TableOptions,
    workers: int | None = 0,
    ledger: Path | None = None,
) -> None:
    """Score architectures under the full protocol, as a search scores its finalists, with costs.

    Args:
        data: the samples.
        supernet: whose architectures they are.
        architectures: one choice per block each, as 2,1,0,3 or c7,c5,c3,x; or files of them, of
            raynas or of other projects.
        evaluation: the protocol.
        seconds: a cost beside FLOPs and parameters.
        workers: Ray actors that score; 0 for this process.
        ledger: a file of scores that searches share; what it holds is not evaluated again.
    """
    require(len(architectures) > 0, "architectures", "at least one", "none", "Write it as 2,1,0,3.")
    require_trained(supernet.supernet, supernet.weights)
    protocol = given(raynas.Evaluation, evaluation)
    latency = seconds.latency()
    samples = load_data(data)
    network, task = supernet.load(data, samples)
    with renamed(**OF_LATENCY):
        tables = [] if latency is None else [latency.priced(network)]
    scores = raynas.evaluate(
        network,
        samples,
        [architecture_of(network, text) for text in architectures],
        evaluation=protocol,
        task=task,
        workers=workers,
        ledger=ledger,
    )
    screen = make_console()
    for score in scores:
        own = {table.name: table.of(score.architecture) for table in tables}
        costs = ", ".join(named_cost(*each) for each in {**score.costs, **own}.items())
        names = ",".join(network.decode(score.architecture))
        shown = (encode(score.architecture), score.text(), costs, names)
        screen.print("  ".join(shown), soft_wrap=True)
