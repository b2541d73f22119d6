"""`Limits`: which architectures are legal.

The cost of a chain is the cost of its stem and head plus one entry of a `[block][choice]` table per
block. So under one limit the cheapest and the dearest completion of a prefix are known at once, and
the legal architectures can be counted exactly without listing them. Several limits together take
an integer program, and are counted exactly in small spaces only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import Any, Literal, final

import numpy as np

from raynas.costs.drawing import FINE, RESOLUTION, Sampler, sampler
from raynas.costs.feasibility import nearest, satisfiable
from raynas.costs.rejection import drawn_within, hits, share_within
from raynas.costs.sums import count_within
from raynas.costs.tables import Amount, CostTable, same_choices, show
from raynas.costs.windows import Limit, Window, described, merged, require_possible
from raynas.errors import InputError, require
from raynas.space import Architecture, SearchSpace

PATIENCE = 1000
"""The draws in a row, none of them legal, after which arrays of them are drawn."""

DRAWS = 2**21
"""The draws in a row in arrays, none of them legal, after which the legal ones are enumerated."""

FEW = 64
"""Fewer legal architectures than this are listed when draws starve."""

REMEMBERED = 100_000
"""The number of prefixes for which the answer of the integer program is cached."""

SAMPLERS = 4
"""The number of prefixes and resolutions for which the tables to draw by are cached."""

Way = Literal["singly", "in arrays", "listed"]
"""A way of drawing legal architectures."""


@final
@dataclass(frozen=True)
class Limits:
    """The limits on the costs of one supernet's architectures; all of them must be kept.

    Args:
        space: the choices of each block.
        limits: on costs of different names; those on the same table are merged. None: every
            architecture is legal.
        names: of each block's choices, for errors; indices alone if `None`.

    Raises:
        InputError: a table of another space, or two tables of one name.
    """

    space: SearchSpace
    limits: tuple[Limit, ...] = ()
    names: tuple[tuple[str, ...], ...] | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        found: dict[str, Limit] = {}
        for limit in self.limits:
            name = limit.table.name
            same_choices(limit.table, self.space.choices)
            found[name] = merged(found[name], limit) if name in found else limit
        object.__setattr__(self, "limits", tuple(found.values()))

    @property
    def tables(self) -> Mapping[str, CostTable]:
        """The tables by name."""
        return {limit.table.name: limit.table for limit in self.limits}

    def allows(self, architecture: Architecture) -> bool:
        """Whether the architecture keeps every limit."""
        return all(limit.allows(architecture) for limit in self.limits)

    def costs(self, architecture: Architecture) -> dict[str, Amount]:
        """The costs of a whole architecture by name."""
        return {name: table.of(architecture) for name, table in self.tables.items()}

    def feasible(self, prefix: Architecture = ()) -> bool | None:
        """Whether any legal architecture starts with `prefix`.

        `None` if that is unknown: several bounds, too narrow for the solver, in a space too large
        to count. It never is under one bound.
        """
        windows = self.windows(prefix)
        if any(window.closed for window in windows):
            return False
        if sum(window.bounds for window in windows) <= 1:
            return True
        if prefix in self.known:
            return self.known[prefix]
        answer = satisfiable(windows, self.space.choices[len(prefix) :])
        if len(self.known) < REMEMBERED:
            self.known[prefix] = answer
        return answer

    @cached_property
    def known(self) -> dict[Architecture, bool | None]:
        """The prefixes under several bounds that were decided so far: neighbours share them."""
        return {}

    def windows(self, prefix: Architecture = ()) -> list[Window]:
        """The room that each limit leaves behind a prefix."""
        return [limit.window(prefix) for limit in self.limits]

    def count(self, prefix: Architecture = ()) -> int | None:
        """The exact number of legal architectures that start with `prefix`.

        `None` if it is unknown: it would take more than about a second.
        """
        return count_within(self.windows(prefix), self.space.choices[len(prefix) :])

    def require_feasible(self) -> None:
        """Raise `InputError` unless some architecture is legal, naming the nearest and its costs.

        Also where that is unknown: a search had better not begin.
        """
        for limit in self.limits:
            require_possible(limit, self.shown)
        feasible = self.feasible()
        require(
            feasible is not None,
            "constraint",
            "bounds of which it can be told whether an architecture keeps them",
            "; ".join(map(str, self.limits)),
            "Widen the room between the bounds.",
        )
        if not feasible:
            closest = nearest(self.windows(), self.space.choices)
            costs = ", ".join(f"{show(c)} {name}" for name, c in self.costs(closest).items())
            broken = "; ".join(str(limit) for limit in self.limits if not limit.allows(closest))
            raise InputError(
                "constraint",
                f"limits that some architecture keeps; the nearest, {self.shown(closest)}, has "
                f"{costs}, and breaks {broken}",
                f"no architecture that keeps {'; '.join(map(str, self.conflict()))}",
                "Widen one of these.",
            )

    def shown(self, architecture: Architecture) -> str:
        """An architecture in errors: `[2, 0, 1]`, and the names of its choices if known."""
        pairs = zip(self.names or (), architecture, strict=False)
        named = " ".join(own[choice] for own, choice in pairs)
        return f"{list(architecture)} ({named})" if named else str(list(architecture))

    def conflict(self) -> tuple[Limit, ...]:
        """Limits that no architecture keeps together, though it does without any one of them.

        Of limits that some architecture keeps, all of them. Where it is unknown whether some of
        them can be kept, more are named than need be.
        """
        kept = self.limits
        for limit in self.limits:
            others = tuple(each for each in kept if each is not limit)
            if Limits(self.space, others).feasible() is False:
                kept = others
        return kept

    def draw(self, prefix: Architecture, rng: np.random.Generator) -> Iterator[Architecture]:
        """Draw, without end, legal architectures that start with the prefix; nothing without any.

        Each is uniform over the legal ones, also under several limits: draws that are not legal are
        rejected, first one by one, and where `PATIENCE` of them in a row are, in arrays. Only where
        `DRAWS` of these in a row are rejected, the legal ones are enumerated: fewer than `FEW` are
        listed, and drawn uniformly; of more, the first of a new random depth-first walk is taken
        each time, which favours rare prefixes.
        """
        if self.feasible(prefix) is False:
            return
        way, misses = self.way(prefix), 0
        for candidate in self.near(prefix, rng) if way == "singly" else ():
            misses = 0 if self.allows(candidate) else misses + 1
            if misses == PATIENCE:
                break
            if misses == 0:
                yield candidate
        if way != "listed":
            source = self.sampler(prefix, FINE)
            for suffix in drawn_within(self.windows(prefix), source, rng, DRAWS):
                yield prefix + suffix
        legal = list(islice(self.enumerate(prefix, rng), FEW))
        while legal:
            if len(legal) < FEW:
                yield legal[int(rng.integers(len(legal)))]
            else:
                yield next(self.enumerate(prefix, rng))

    def way(self, prefix: Architecture) -> Way:
        """The first way of drawing that is worth trying.

        It depends on the limits and the prefix alone, so that a resumed search draws as before.
        """
        windows = self.windows(prefix)
        if sum(window.bounds for window in windows) <= 1:
            return "singly"
        if prefix not in self.ways:
            if share_within(windows, self.sampler(prefix)) >= 0.5 / PATIENCE:
                self.ways[prefix] = "singly"
            else:
                found = hits(windows, self.sampler(prefix, FINE), DRAWS)
                self.ways[prefix] = "in arrays" if found else "listed"
        return self.ways[prefix]

    @cached_property
    def ways(self) -> dict[Architecture, Way]:
        """The prefixes for which `way` was asked so far."""
        return {}

    def sampler(self, prefix: Architecture, resolution: int = RESOLUTION) -> Sampler:
        """Draws all legal completions of a prefix with equal probability, and others.

        The last ones are kept: a training draws a path a step.
        """
        key = prefix, resolution
        if key not in self.samplers:
            free = Window(tuple((0,) * n for n in self.space.choices[len(prefix) :]), 0, 0, 0)
            while len(self.samplers) >= SAMPLERS:
                del self.samplers[next(iter(self.samplers))]
            self.samplers[key] = sampler(self.windows(prefix) or [free], resolution)
        return self.samplers[key]

    @cached_property
    def samplers(self) -> dict[tuple[Architecture, int], Sampler]:
        """The samplers that were asked for last."""
        return {}

    def near(self, prefix: Architecture, rng: np.random.Generator) -> Iterator[Architecture]:
        """Draw, without end, architectures that are legal or nearly; none if none is legal.

        All legal ones are equally likely. Under a single upper bound few others are drawn.
        """
        if self.feasible(prefix) is False:
            return
        for suffix in self.sampler(prefix).one_by_one(rng):
            yield prefix + suffix

    def proposals(self, prefix: Architecture, rng: np.random.Generator) -> Iterator[Architecture]:
        """`near` if that wastes few draws, else `draw`, for a caller with bounded tries."""
        bounds = sum(window.bounds for window in self.windows(prefix))
        return self.near(prefix, rng) if bounds <= 1 else self.draw(prefix, rng)

    def enumerate(
        self, prefix: Architecture = (), rng: np.random.Generator | None = None
    ) -> Iterator[Architecture]:
        """All legal architectures that start with `prefix`.

        Depth first, never entering a prefix that is known to have no legal completion; in
        lexicographic order, or with the choices of each visited block shuffled if `rng` is given.
        """
        stack: list[Iterator[Architecture]] = [iter((prefix,))]
        while stack:
            node = next(stack[-1], None)
            if node is None:
                stack.pop()
            elif self.feasible(node) is False:
                continue
            elif len(node) == self.space.blocks:
                yield node
            else:
                stack.append(self.children(node, rng))

    def children(
        self, prefix: Architecture, rng: np.random.Generator | None
    ) -> Iterator[Architecture]:
        """The prefixes that are one block longer, in order or shuffled."""
        choices = np.arange(self.space.choices[len(prefix)])
        if rng is not None:
            rng.shuffle(choices)
        return iter([(*prefix, choice) for choice in choices.tolist()])

    def description(self) -> dict[str, dict[str, Any]]:
        """Bounds by name of their cost, and the digest of its table, for `config.json`."""
        return {limit.table.name: described(limit) for limit in self.limits}
