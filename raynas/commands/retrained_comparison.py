"""Architectures that are retrained with one recipe, side by side."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rich.table import Table

import raynas
from raynas.commands import terminal
from raynas.commands.retrain import retrain_with_progress
from raynas.costs import CostTable
from raynas.space import Architecture


def compare_retrained(
    supernet: raynas.ChainSupernet,
    data: raynas.data.SearchData,
    architectures: Mapping[str, Architecture],
    recipe: raynas.TrainingSettings,
    home: Path,
    *costs: CostTable,
) -> list[raynas.Retrained]:
    """Retrain architectures with one recipe, each once, and print what they reach.

    Args:
        supernet: trained.
        data: that it was searched on.
        architectures: by their names.
        recipe: of each.
        home: the folder of the networks; those that are there are not retrained again.
        costs: columns beside FLOPs and parameters.

    Returns:
        The retrained networks, in the order of the architectures.

    Raises:
        InputError: as `raynas.retrain`.
    """
    screen = terminal.make_console()
    table = Table(title=f"Retrained for {recipe.epochs} epochs")
    names = ("network", "val top-1 in supernet", "test top-1 retrained", "MFLOPs", "parameters")
    for column in (*names, *(terminal.cost_heading(cost.name) for cost in costs)):
        table.add_column(column, justify="left" if column == "network" else "right")
    scores = raynas.evaluate(supernet, data, list(architectures.values()))
    found = []
    for (name, architecture), score in zip(architectures.items(), scores, strict=True):
        screen.print(f"{name}: {' '.join(supernet.decode(architecture))}", soft_wrap=True)
        folder = home / "-".join(map(str, architecture))
        found.append(retrain_with_progress(screen, supernet, data, architecture, recipe, folder))
        best = found[-1].best
        table.add_row(
            name,
            terminal.share(score.top1),
            terminal.share(best.test_top1),
            f"{best.flops / 1e6:.3f}",
            f"{best.params:,}",
            *(terminal.cost_cell(cost.name, cost.of(architecture)) for cost in costs),
        )
    screen.print(table)
    return found
