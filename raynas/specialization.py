"""`specialize`: networks for several limits from one accuracy table (PONAS, section 3.3)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, TypeVar, final

import numpy as np

from raynas.costs import AccuracyTable, Constraint, resolve_limits
from raynas.costs.bounds import Bounds, FLOPs, Params
from raynas.costs.counting import counted_tables
from raynas.costs.limits import Limits
from raynas.costs.optimum import least
from raynas.costs.tables import Amount, CostTable
from raynas.errors import require, require_kind
from raynas.evolution.table_search import TableSearch
from raynas.preparation import require_seed
from raynas.space import Architecture

if TYPE_CHECKING:
    from raynas.data.splits import SearchData
    from raynas.supernets.chain import ChainSupernet

T = TypeVar("T")


@final
@dataclass(frozen=True)
class Specialized:
    """A network that was looked up for a limit.

    Args:
        architecture: legal.
        names: of its choices.
        lost: the accuracy that it loses against the best path, by the table.
        costs: by name: FLOPs, parameters, and those of the limits.
        seconds: that finding it took, without counting costs.
        proven: whether nothing legal loses less.
    """

    architecture: Architecture
    names: tuple[str, ...]
    lost: float
    costs: Mapping[str, Amount]
    seconds: float
    proven: bool = False


@final
@dataclass(frozen=True)
class Specialization:
    """The networks that were found for one set of limits, in two ways.

    Args:
        limits: in words.
        found: by the paper's genetic algorithm.
        curve: the least lost accuracy after each of its generations (figure 4).
        optimum: by integer programming; `None` where bounds are too narrow for the solver.
    """

    limits: str
    found: Specialized
    curve: tuple[float, ...]
    optimum: Specialized | None


def specialize(
    table: AccuracyTable,
    supernet: ChainSupernet,
    constraints: Sequence[Constraint | None],
    *,
    settings: TableSearch | None = None,
    seed: int = 0,
) -> list[Specialization]:
    """Specialise networks for limits: those that lose the least accuracy by a table.

    Nothing is evaluated; `raynas.evaluate` scores what was found.

    Args:
        table: of the training that the supernet's weights are from.
        supernet: trained progressively.
        constraints: each as that of `raynas.search`.
        settings: of the genetic algorithm; the paper's if omitted.
        seed: of the genetic algorithm, for each constraint anew.

    Returns:
        What was found for each constraint, in the order given.

    Raises:
        InputError: a table of another supernet, or limits that no architecture keeps; nothing has
            been searched by then.
    """
    require_kind(table, AccuracyTable, "table", "Read it with raynas.AccuracyTable.load(file).")
    search = TableSearch() if settings is None else settings
    require_kind(search, TableSearch, "settings", "Write it as raynas.evolution.TableSearch(…).")
    require_seed(seed)
    require(
        isinstance(constraints, list | tuple),
        "constraints",
        "a list with the limits of each network",
        repr(constraints),
        "Write it as constraints=[raynas.FLOPs(at_most=330e6)].",
    )
    table.require_of(supernet)
    tables = counted_tables(supernet)
    resolved = [resolve_limits(with_counts(each, tables), supernet) for each in constraints]
    for limits in resolved:
        limits.require_feasible()
    return [one(table, limits, tables, search, seed) for limits in resolved]


def measured_on(table: AccuracyTable, data: SearchData) -> bool:
    """Whether a table was measured on the samples of some data, as far as it says.

    Args:
        table: of a training that recalibrated batch norm, or did not.
        data: whose calibration and validation samples are read once.
    """
    if not table.samples:
        return table.data in ("", data.name)
    # `import raynas` is quick without the library that shards are written with.
    from raynas.shards.shard import ShardDigest

    recalibrated, inherited = ShardDigest(), ShardDigest()
    for shard in data.calibration:
        recalibrated.update(shard)
    for shard in data.validation:
        recalibrated.update(shard)
        inherited.update(shard)
    return table.samples in (recalibrated.hexdigest(), inherited.hexdigest())


@final
@dataclass(frozen=True, kw_only=True)
class Counted(Bounds):
    """Bounds on a cost that is counted already, for any number of limits.

    Args and errors as those of `Bounds`.
    """

    table: CostTable
    needed: ClassVar[bool] = False

    def priced(self, supernet: ChainSupernet) -> CostTable:
        """The cost as it was counted."""
        return self.table


def with_counts(
    constraint: Constraint | None, tables: Mapping[str, CostTable]
) -> Constraint | None:
    """A constraint that counts neither FLOPs nor parameters again."""
    if isinstance(constraint, FLOPs | Params):
        counted = tables["flops" if isinstance(constraint, FLOPs) else "params"]
        return Counted(at_most=constraint.at_most, at_least=constraint.at_least, table=counted)
    if isinstance(constraint, list | tuple):
        return [with_counts(each, tables) for each in constraint]  # type: ignore[misc]
    return constraint


def one(
    table: AccuracyTable,
    limits: Limits,
    tables: Mapping[str, CostTable],
    search: TableSearch,
    seed: int,
) -> Specialization:
    """The networks for one set of limits."""

    def described(architecture: Architecture, seconds: float, proven: bool = False) -> Specialized:
        names = zip(table.names, architecture, strict=True)
        costs = {name: each.of(architecture) for name, each in {**tables, **limits.tables}.items()}
        return Specialized(
            architecture,
            tuple(own[choice] for own, choice in names),
            float(table.lost.of(architecture)),
            costs,
            seconds,
            proven,
        )

    rng = np.random.default_rng(seed)
    found, seconds = timed(lambda: search.minimise(table.lost, limits, rng))
    best, solving = timed(lambda: least(table.lost, limits))
    return Specialization(
        "; ".join(str(each) for each in limits.limits if each.bounded) or "none",
        described(found.architecture, seconds),
        tuple(map(float, found.curve)),
        None if best is None else described(best.architecture, solving, best.proven),
    )


def timed(act: Callable[[], T]) -> tuple[T, float]:
    """The result of a function, and the seconds that it took."""
    begun = time.perf_counter()
    result = act()
    return result, time.perf_counter() - begun
