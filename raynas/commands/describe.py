"""`raynas describe` and `raynas evaluate`: a look at a supernet, and baselines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table
from tyro.conf import OmitArgPrefixes

import raynas
from raynas.commands.limits import LimitOptions
from raynas.commands.loading import DataOptions, load_data, load_supernet
from raynas.commands.options import given, options_of
from raynas.commands.terminal import make_console
from raynas.overview import Overview
from raynas.score import Score
from raynas.space import decode, encode

if TYPE_CHECKING:
    from raynas import Evaluation as EvaluationOptions
else:
    EvaluationOptions = options_of(raynas.Evaluation)


def describe(
    data: OmitArgPrefixes[DataOptions],
    supernet: str,
    evaluation: OmitArgPrefixes[EvaluationOptions],
    limits: OmitArgPrefixes[LimitOptions],
    weights: Path | None = None,
    paths: int = 4,
    population: int = 50,
    generations: int = 20,
    workers: int | None = 0,
    seed: int = 0,
) -> None:
    """Show what a search would meet: costs, legal architectures, scores of random paths, seconds.

    Args:
        data: the samples.
        supernet: the trained weights, or package.module:function.
        evaluation: the protocol.
        limits: what is legal.
        weights: for --supernet package.module:function: the trained weights.
        paths: how many random architectures to score.
        population: of the search whose time is foretold.
        generations: likewise.
        workers: Ray actors that score; 0 for this process, every GPU or core if omitted.
        seed: of the random architectures.
    """
    samples = load_data(data)
    overview = raynas.describe(
        load_supernet(supernet, data, samples, weights),
        samples,
        constraint=limits.limits() or None,
        evaluation=given(raynas.Evaluation, evaluation),
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
    data: OmitArgPrefixes[DataOptions],
    supernet: str,
    architectures: Sequence[str],
    evaluation: OmitArgPrefixes[EvaluationOptions],
    weights: Path | None = None,
    workers: int | None = 0,
    ledger: Path | None = None,
) -> None:
    """Score architectures under the full protocol, as a search scores its finalists.

    Args:
        data: the samples.
        supernet: the trained weights, or package.module:function.
        architectures: one choice per block each, as 2,1,0,3 0,0,0,0.
        evaluation: the protocol.
        weights: for --supernet package.module:function: the trained weights.
        workers: Ray actors that score; 0 for this process, every GPU or core if omitted.
        ledger: a file of scores that searches share.
    """
    wanted = [decode(text) for text in architectures]
    samples = load_data(data)
    scores = raynas.evaluate(
        load_supernet(supernet, data, samples, weights),
        samples,
        wanted,
        evaluation=given(raynas.Evaluation, evaluation),
        workers=workers,
        ledger=ledger,
    )
    screen = make_console()
    for score in scores:
        screen.print(f"{encode(score.architecture)}  {shown_score(score)}", soft_wrap=True)
