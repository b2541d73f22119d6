"""`raynas describe` and `raynas evaluate`: a look at a supernet, and baselines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

import raynas
from raynas.commands.limits import LimitOptions
from raynas.commands.loading import DataOptions, SupernetOptions, load_data
from raynas.commands.options import given, options_of
from raynas.commands.terminal import make_console
from raynas.errors import require
from raynas.evolution import RandomSearch
from raynas.overview import Overview
from raynas.preparation import require_seed
from raynas.score import Score
from raynas.space import decode, encode

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
    make_console().print(overview_table(overview, population * generations))


def overview_table(overview: Overview, candidates: int) -> Table:
    """An overview as a table of names and values."""
    table = Table(title="Supernet", show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    table.add_row("choices of the blocks", " ".join(map(str, overview.blocks)))
    table.add_row("architectures", f"{overview.architectures:,}")
    legal = "cannot be counted" if overview.legal is None else f"{overview.legal:,}"
    table.add_row("legal architectures", legal)
    for name, cost in overview.costs.items():
        shown = f"{cost.least:,} to {cost.most:,} ({encode(cost.cheapest)} to "
        table.add_row(name, f"{shown}{encode(cost.dearest)})")
    for score in overview.paths:
        table.add_row(f"random path {encode(score.architecture)}", shown_score(score))
    table.add_row("seconds a candidate", f"{overview.seconds:.3f}, by itself on one worker")
    longest = overview.search_seconds(candidates)
    table.add_row(
        f"seconds of {candidates:,} candidates",
        f"at most about {longest:,.0f} on one worker; shared prefixes make it less",
    )
    return table


def shown_score(score: Score) -> str:
    """The objectives of a score and its loss, shares in per cent."""
    parts = [
        f"{name} {value:.2%}" if name in ("top1", "top5") else f"{name} {value:.4f}"
        for name, value in score.objectives.items()
    ]
    return ", ".join([*parts, f"loss {score.loss:.4f}"])


def evaluate(
    data: DataOptions,
    supernet: SupernetOptions,
    architectures: Sequence[str],
    evaluation: EvaluationOptions,
    workers: int | None = 0,
    ledger: Path | None = None,
) -> None:
    """Score architectures under the full protocol, as a search scores its finalists.

    Args:
        data: the samples.
        supernet: whose architectures they are.
        architectures: one choice per block each, as 2,1,0,3 0,0,0,0.
        evaluation: the protocol.
        workers: Ray actors that score; 0 for this process.
        ledger: a file of scores that searches share; what it holds is not evaluated again.
    """
    wanted = [decode(text) for text in architectures]
    require(len(wanted) > 0, "architectures", "at least one", "none", "Write it as 2,1,0,3.")
    protocol = given(raynas.Evaluation, evaluation)
    samples = load_data(data)
    network, task = supernet.load(data, samples)
    scores = raynas.evaluate(
        network,
        samples,
        wanted,
        evaluation=protocol,
        task=task,
        workers=workers,
        ledger=ledger,
    )
    screen = make_console()
    for score in scores:
        screen.print(f"{encode(score.architecture)}  {shown_score(score)}", soft_wrap=True)
