"""Searches of channels, of blocks and of both on one supernet: the rows of SPOS's Table 4."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import final

import numpy as np
from rich.table import Table

import raynas
from raynas.commands import supernet_training, terminal, workflow
from raynas.commands.families import freezing_of, from_recipe
from raynas.commands.named_strategies import StrategyName, choose_strategy
from raynas.costs import resolve_limits
from raynas.errors import require
from raynas.runlog import require_usable
from raynas.shards.shard import Shard

Names = tuple[str, ...]
"""An architecture of the joint supernet: a pair such as `c3@0.6` for each block."""

KIND = "c3"
"""The operation of which the paper searches the channels alone."""

NEAR = 0.95
"""The least share of the limit that random architectures cost: those of the paper nearly all."""

SEARCHED = ("c3-channels", "blocks", "joint", "two-step")
"""The folders of the searches."""


@final
@dataclass(frozen=True)
class ChannelOptions:
    """The searches, and what they are compared with.

    Args:
        strategy: ea (SPOS), random, cf (CF-ES) or pcf (PCF-ES).
        seed: of the searches and of the random architectures.
        generations: of each search.
        population: architectures per generation.
        random: how many random architectures each row of them has.
        flops: the most multiply-accumulates of an architecture.
        workers: Ray actors; 0 for this process, every GPU or core if omitted.
        run_dir: the folder of the records; a finished search in it is not searched again, an
            interrupted one goes on.
    """

    strategy: StrategyName = "ea"
    seed: int = 0
    generations: int = 20
    population: int = 50
    random: int = 5
    flops: float = 2.8e6
    workers: int | None = None
    run_dir: Path | None = None

    def __post_init__(self) -> None:
        require(self.random >= 1, "random", "at least 1", self.random, "Draw some.")
        require(
            self.strategy != "nsga2",
            "strategy",
            "one that searches under a limit",
            self.strategy,
            "Search with ea, random, cf or pcf.",
        )

    @property
    def constraint(self) -> raynas.FLOPs:
        """The limit of every row."""
        return raynas.FLOPs(at_most=self.flops)

    def chosen(self, supernet: raynas.ChainSupernet) -> raynas.Strategy:
        """The strategy, with the thresholds of the PCF-ES paper.

        Raises:
            InputError: a setting out of range.
        """
        freezing = freezing_of(supernet)
        return choose_strategy(self.strategy, self, freezing)


def train_and_compare(
    supernet: raynas.ChainSupernet,
    data: raynas.data.SearchData,
    settings: raynas.TrainingSettings,
    weights: Path,
    options: ChannelOptions,
) -> Mapping[str, list[raynas.Score]]:
    """Train a joint supernet unless its weights are there, search it, and print the table.

    Scores are those of the supernet's weights on the held-out samples, which no search has seen,
    and on the validation samples, on which each search is at its best.

    Args:
        supernet: of blocks and channels, such as `spos(channels=True)`, as it is built.
        data: to train and to search on.
        settings: of the training.
        weights: the file to read or to write.
        options: of the searches.

    Returns:
        The scores on the held-out samples, by row.

    Raises:
        InputError: as the training, or a search; or no held-out samples.
    """
    require(len(data.test) > 0, "data", "held-out samples", "none", "Keep some for the test split.")
    home = options.run_dir or weights.parent
    for name in SEARCHED:
        require_usable(home / name, resume=True)
    raynas.check_search(
        supernet, data, strategy=options.chosen(supernet), constraint=options.constraint,
        seed=options.seed, run_dir=home / "joint", workers=options.workers, resume=True,
    )  # fmt: skip
    supernet_training.train_or_load(supernet, data, settings, weights)
    rows = found_architectures(supernet, data, weights, home, options)
    listed = list(dict.fromkeys(names for row in rows.values() for names in row))
    wanted = [supernet.encode(names) for names in listed]
    scored: list[dict[Names, raynas.Score]] = []
    for samples in (data, held_out(data)):
        scores = raynas.evaluate(supernet, samples, wanted, workers=options.workers)
        scored.append(dict(zip(listed, scores, strict=True)))
    screen = terminal.make_console()
    screen.print(channel_table(rows, *scored))
    workflow.report_runs(screen, [home / name for name in SEARCHED], home / workflow.REPORT)
    return {name: [scored[1][names] for names in row] for name, row in rows.items()}


def held_out(data: raynas.data.SearchData) -> raynas.data.SearchData:
    """Data whose validation samples are those that no search has seen."""
    shards = [
        Shard.build(each.features, each.targets, each.samples, split="validation")
        for each in data.test
    ]
    return replace(data, validation=shards, test=())


def found_architectures(
    joint: raynas.ChainSupernet,
    data: raynas.data.SearchData,
    weights: Path,
    home: Path,
    options: ChannelOptions,
) -> dict[str, list[Names]]:
    """The architectures of every row of the table."""
    blocks = joint.space.blocks
    strategy = options.chosen(joint)
    find = partial(search, data=data, strategy=strategy, home=home, options=options)
    of_kind = fixed(joint, weights, [KIND] * blocks)
    found = {
        f"all {KIND}@1.0": [(f"{KIND}@1.0",) * blocks],
        f"{KIND}, random channels": draw(of_kind, options),
        f"{KIND}, channels searched": [find(of_kind, name="c3-channels")],
        "random blocks and channels": draw(joint, options),
    }
    default = find(part_of(joint, lambda name: name.endswith("@1.0")), name="blocks")
    found["blocks searched, all @1.0"] = [default]
    found["blocks and channels, jointly"] = [find(joint, name="joint")]
    found["blocks, then their channels"] = [find(fixed(joint, weights, default), name="two-step")]
    return found


def fixed(
    joint: raynas.ChainSupernet, weights: Path, blocks: Sequence[str]
) -> raynas.ChainSupernet:
    """The channels of given blocks, with the joint supernet's weights."""
    supernet = from_recipe(weights, joint.recipe or {}, list(blocks))
    raynas.supernets.load(supernet, weights)
    return supernet.eval()


def part_of(supernet: raynas.ChainSupernet, keeps: Callable[[str], bool]) -> raynas.ChainSupernet:
    """The choices whose names are kept, as a supernet of the same modules.

    Args:
        supernet: whose modules are shared.
        keeps: whether a choice of a name is kept; at least one of each block.
    """
    kept = [[c for c, name in enumerate(own) if keeps(name)] for own in supernet.names]
    return raynas.ChainSupernet(
        supernet.stem,
        [
            [supernet.node((0,) * block + (choice,)) for choice in choices]
            for block, choices in enumerate(kept)
        ],
        supernet.head,
        inputs=supernet.inputs,
        num_classes=supernet.num_classes,
        names=[
            [own[c] for c in choices] for own, choices in zip(supernet.names, kept, strict=True)
        ],
    )


def search(
    supernet: raynas.ChainSupernet,
    *,
    data: raynas.data.SearchData,
    strategy: raynas.Strategy,
    home: Path,
    options: ChannelOptions,
    name: str,
) -> Names:
    """Search, showing progress, or read what an earlier search found; the best by its names."""
    screen = terminal.make_console()
    screen.print(f"{name}: {home / name}", soft_wrap=True)
    result = workflow.search_with_progress(
        screen, supernet, data, strategy, home / name,
        constraint=options.constraint, seed=options.seed, workers=options.workers, resume=True,
    )  # fmt: skip
    return supernet.decode(result.best.architecture)


def draw(supernet: raynas.ChainSupernet, options: ChannelOptions) -> list[Names]:
    """Random architectures that cost nearly what the limit allows."""
    near = raynas.FLOPs(at_most=options.flops, at_least=NEAR * options.flops)
    limits = resolve_limits(near, supernet)
    limits.require_feasible()
    drawn = limits.draw((), np.random.default_rng([options.seed, supernet.space.choices[0]]))
    return [supernet.decode(each) for each in islice(drawn, options.random)]


def channel_table(
    rows: Mapping[str, Sequence[Names]],
    validation: Mapping[Names, raynas.Score],
    test: Mapping[Names, raynas.Score],
) -> Table:
    """A row for each way of finding architectures, means over those of the row."""
    table = Table(title="Channels and blocks (SPOS, Table 4), by the supernet's weights")
    table.add_column("found by")
    for column in ("of", "MFLOPs", "parameters", "val top-1", "test top-1"):
        table.add_column(column, justify="right")
    for name, architectures in rows.items():
        scores = [test[each] for each in architectures]
        table.add_row(
            name,
            str(len(architectures)),
            f"{statistics.fmean(score.costs['flops'] for score in scores) / 1e6:.3f}",
            f"{statistics.fmean(score.costs['params'] for score in scores):,.0f}",
            terminal.share(statistics.fmean(validation[each].top1 for each in architectures)),
            terminal.share(statistics.fmean(score.top1 for score in scores)),
        )
    return table
