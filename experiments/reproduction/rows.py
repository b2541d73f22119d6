"""A search as one row of raw numbers, made from its records alone.

Scores come from a ledger where another search has them already, so that what was executed says
little. What a search costs by itself follows from what it proposed: the blocks that its candidates
run through, times images, one candidate at a time (as the papers evaluate) and through a trie of
shared prefixes (as raynas does). Both leave out what every search ends with, its finalists on all
samples.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, final

from raynas.files import Record
from raynas.report.read import RunRecords
from raynas.space import Architecture
from reproduction.plan import Variant, Wanted

KEPT = (
    "top1", "top5", "test_top1", "flops", "costs", "evaluations", "legal_architectures", "finished",
    "seconds", "final_seconds", "energy_j", "energy_source", "energy_missing", "co2_g", "gpu_hours",
    "workers", "architecture", "names",
)  # fmt: skip
"""Fields of `result.json` that a row has; `None` where a version does not write one."""


def row_of(wanted: Wanted, records: RunRecords, calibration: int, timing: Record | None) -> Record:
    """The row of one finished search.

    Args:
        wanted: what was searched.
        records: of its run directory.
        calibration: images that batch norm is recalibrated on; 0 where it is not.
        timing: `{"cpu_seconds": [seconds of each generation]}` of a timed search in one process.

    Raises:
        InputError: the search has not finished.
    """
    result = records.require_result()
    choices = records.config["supernet"]["choices"]
    costs = block_costs(records.generations, wanted.variant, len(choices), calibration)
    cpu = (timing or {}).get("cpu_seconds") or [None] * len(records.generations)
    metrics = {each["generation"]: each for each in records.metrics}
    generations = [
        {**generation_row(record, metrics.get(record["generation"], {})), **cost, "cpu_seconds": c}
        for record, cost, c in zip(records.generations, costs, cpu, strict=True)
    ]
    first = sorted(score["top1"] for score in records.generations[0]["population"])
    return {
        **named(wanted),
        **{name: result.get(name) for name in KEPT},
        "choices": choices,
        "generations": generations,
        "counts": [counts_of(record, choices) for record in records.generations]
        if counted(wanted.variant)
        else None,
        "first_population": first,
        "first_best": best_of(records.generations[0]),
        "last_best": next(filter(None, map(best_of, reversed(records.generations)))),
    }


def named(wanted: Wanted) -> Record:
    """The part of a row that says which search it is of."""
    return {
        "family": wanted.family,
        "data": wanted.data,
        "seed": wanted.seed,
        "variant": vars(wanted.variant).copy(),
        "name": wanted.variant.name,
    }


def counted(variant: Variant) -> bool:
    """Whether a row tells what its populations choose: where all samples rank, and no clock."""
    return variant.rate == 1.0 and variant.bits == 32 and not variant.timed


def generation_row(record: Record, metrics: Record) -> Record:
    """One generation: what it proposed, how well, and in what time."""
    best = record["best"]
    return {
        "frozen": record["frozen"],
        "samples": record["samples"],
        "candidates": len(record["population"]) + len(record["rescored"]),
        "best": None if best is None else best["top1"],
        "refused": record["refused"],
        **{name: metrics.get(name) for name in ("seconds", "freeze_seconds", "energy_j", "known")},
    }


def best_of(record: Record) -> list[int] | None:
    """The best architecture up to a generation."""
    best = record["best"]
    return None if best is None else list(best["architecture"])


def counts_of(record: Record, choices: Sequence[int]) -> list[list[int]]:
    """Counts of each choice in the population: `[block][choice]`; empty without a population."""
    members = [score["architecture"] for score in record["population"]]
    taken = [Counter(block) for block in zip(*members, strict=True)]
    return [
        [own[choice] for choice in range(count)] for own, count in zip(taken, choices, strict=False)
    ]


def block_costs(
    generations: Sequence[Record], variant: Variant, blocks: int, calibration: int
) -> list[Record]:
    """Blocks times images that each generation of a search by itself executes.

    Args:
        generations: the records.
        variant: the way to search.
        blocks: of the chain.
        calibration: images that batch norm is recalibrated on.

    Returns:
        For each generation the blocks times images of one candidate at a time (`plain`), and with
        shared prefixes in one worker (`trie`).
    """
    tally = Tally(variant, blocks, calibration)
    return [tally.add(record) for record in generations]


@final
@dataclass
class Tally:
    """A search that is followed generation by generation, and what it has paid for.

    Args:
        variant: the way to search.
        blocks: of the chain.
        calibration: images that batch norm is recalibrated on.
    """

    variant: Variant
    blocks: int
    calibration: int
    _prefix: Architecture = ()
    _images: int = 0
    _known: set[Any] = field(default_factory=set)
    _population: tuple[Architecture, ...] = ()

    def add(self, record: Record) -> Record:
        """The cost of the next generation."""
        prefix = tuple(record["prefix"])
        rescored, population = (
            tuple(tuple(score["architecture"]) for score in record[name])
            for name in ("rescored", "population")
        )
        images = self.calibration + record["samples"]
        plain = trie = 0
        if prefix != self._prefix and (rescored or population):
            plain, trie = self._freeze(prefix, images, rescored, population)
        new = self._new(record["selection"], (*rescored, *population))
        depth = len(self._prefix)
        plain += len(new) * (self.blocks - depth) * images
        trie += nodes(new, depth) * images
        self._images, self._population = images, population
        return {"plain": plain, "trie": trie}

    def _freeze(
        self,
        prefix: Architecture,
        images: int,
        rescored: Sequence[Architecture],
        population: Sequence[Architecture],
    ) -> tuple[int, int]:
        """Advance to a longer prefix; at the first freeze, ask who votes on samples."""
        plain = trie = (len(prefix) - len(self._prefix)) * images
        if not self._prefix and self.variant.rate < 1.0:
            asked = [(*rescored, *population)[0]]
            if self.variant.sampling == "disagreement":
                voters = dict.fromkeys((*rescored, *self._population))
                behind = [each for each in voters if each[: len(prefix)] == prefix]
                # The last generation was scored on all samples, and is not scored again.
                asked = behind or asked
            plain += len(asked) * self.blocks * self._images
            trie += nodes(asked, 0) * self._images
        self._prefix = prefix
        return plain, trie

    def _new(self, selection: str | None, candidates: Sequence[Architecture]) -> list[Architecture]:
        """The candidates that have no score under the present protocol yet.

        Rounded activations make a protocol of their own behind each prefix.
        """
        rounded = self._prefix if self.variant.bits != 32 else ()
        new = [each for each in candidates if (selection, rounded, each) not in self._known]
        self._known.update((selection, rounded, each) for each in new)
        return new


def nodes(architectures: Sequence[Architecture], depth: int) -> int:
    """The choice blocks of the trie of architectures behind a depth."""
    if not architectures:
        return 0
    ends = range(depth + 1, len(architectures[0]) + 1)
    return len({each[:end] for each in architectures for end in ends})
