"""Freezes on which selections of samples are judged: who could vote, and which generations follow.

A search records few of them, so others are made from the generations of the plain evolutionary
search: its Top-K and its next two populations, overwritten with the majority prefix of a depth.
(They are not checked against limits: nothing is searched here.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from outcomes import Generation, members, recorded_outcomes

import raynas
from raynas.evaluation.scores import Outcomes
from raynas.evolution.freezing import choice_percentages, majority

MADE = ((2, 3), (4, 4), (4, 7), (6, 6), (6, 9))
"""After which generation of the evolutionary search how many blocks are frozen."""


@dataclass(frozen=True)
class Freeze:
    """A freeze, with everything scored on all samples.

    Args:
        name: which one.
        past: the generations before it, unfrozen.
        parents: the rescored parents behind the new prefix.
        generations: those behind the prefix, by the bits at which it is stored.
    """

    name: str
    past: tuple[Generation, ...]
    parents: Outcomes
    generations: dict[int, list[Generation]]

    @property
    def last(self) -> Outcomes:
        """The last generation before the freeze."""
        return self.past[-1].voters


def all_freezes(
    supernet: raynas.ChainSupernet,
    images: raynas.data.SearchData,
    searches: dict[str, list[dict[str, Any]]],
    folder: Path,
    bits: Sequence[int],
    workers: int | None,
) -> tuple[list[Freeze], dict[str, list[Generation]]]:
    """The recorded freeze of PCF-ES, those made from EA, and all generations of both.

    Args:
        supernet: that was searched.
        images: on which it was searched.
        searches: what `generations.jsonl` holds, by `"ea"` and `"pcf"`.
        folder: where the outcomes are kept.
        bits: at which the activations behind the prefixes are stored; 32 is always among them.
        workers: Ray actors; 0 for this process.
    """

    def outcomes(records: list[dict[str, Any]], name: str, depth: int) -> list[Generation]:
        place = folder / f"{name}-bits{depth}"
        return recorded_outcomes(supernet, images, records, place, bits=depth, workers=workers)

    depths = list(dict.fromkeys((32, *bits)))
    whole = {name: outcomes(records, name, 32) for name, records in searches.items()}
    freezes = []
    frozen = [g for g in whole["pcf"] if g.prefix]
    if frozen:
        by_bits = {b: outcomes(searches["pcf"], "pcf", b) for b in depths if b < 32}
        past = tuple(g for g in whole["pcf"] if not g.prefix)
        freezes.append(
            Freeze("pcf", past, frozen[0].rescored, {32: frozen, **by_bits}),
        )
    for number, blocks in MADE:
        records = overwritten(searches["ea"], number, blocks, supernet.space)
        name = f"ea-{number}-{blocks}"
        by_bits = {b: outcomes(records, name, b) for b in depths}
        past = tuple(whole["ea"][: number + 1])
        freezes.append(Freeze(name, past, by_bits[32][0].rescored, by_bits))
    return freezes, whole


def overwritten(
    records: Sequence[dict[str, Any]], number: int, blocks: int, space: raynas.SearchSpace
) -> list[dict[str, Any]]:
    """Two generations as they would be recorded after a freeze that follows generation `number`."""
    populations = [members(record) for record in records]
    prefix = majority(choice_percentages(populations[number], space))[:blocks]
    scored = [score for record in records[: number + 1] for score in record["population"]]
    top = sorted(scored, key=lambda score: (-score["top1"], score["loss"]))[:10]
    taken: set[raynas.Architecture] = set()

    def fresh(architectures: Sequence[Sequence[int]]) -> list[dict[str, Any]]:
        found = dict.fromkeys((*prefix, *architecture[blocks:]) for architecture in architectures)
        new = [architecture for architecture in found if architecture not in taken]
        taken.update(new)
        return [{"architecture": list(architecture)} for architecture in new]

    parents = fresh([score["architecture"] for score in top])
    return [
        {
            "generation": later,
            "prefix": list(prefix),
            "rescored": parents if later == number + 1 else [],
            "population": fresh(populations[later]),
        }
        for later in (number + 1, number + 2)
    ]
