"""`raynas search`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, final

import raynas
from raynas.commands.families import freezing_of, require_trained
from raynas.commands.limits import OF_LATENCY, LimitOptions
from raynas.commands.loading import DataOptions, SupernetOptions, load_data
from raynas.commands.named_strategies import StrategyName, choose_strategy
from raynas.commands.options import given, options_of, renamed
from raynas.commands.pool_file import PoolFile, read_pool
from raynas.commands.run_options import RunOptions
from raynas.commands.workflow import search_and_show
from raynas.errors import require

if TYPE_CHECKING:
    from raynas import PCFES as StrategyOptions
    from raynas import Evaluation as EvaluationOptions
else:
    # The settings of PCF-ES are those of all strategies.
    StrategyOptions = options_of(
        raynas.PCFES, without=("survival",), unset=("top_k", "threshold", "monitor")
    )
    EvaluationOptions = options_of(raynas.Evaluation)


@final
@dataclass(frozen=True)
class FrontOptions:
    """Settings of nsga2 alone.

    Args:
        costs: the costs beside accuracy: flops (if omitted), params, latency, or one of --limits;
            a --latency-table without a bound joins them.
        initial: the pool of a greedy training, which the search begins with.
    """

    costs: tuple[str, ...] = ()
    initial: Path | None = None

    def settings(self, strategy: StrategyName, limits: LimitOptions) -> dict[str, Any]:
        """The fields of the strategy that are stated here.

        Args:
            strategy: the name of the one that is used.
            limits: a latency table among them without a bound is a cost.

        Raises:
            InputError: a file that is no pool, or settings of nsga2 for another strategy.
        """
        if strategy != "nsga2":
            table = limits.latency_table if limits.minimised else None
            for name, value, expected in (
                ("costs", self.costs, "none"),
                ("initial", self.initial, "none"),
                ("latency-table", table, "a table beside --latency or --latency-at-least"),
            ):
                remedy = "Search for a front with --strategy nsga2, or leave it out."
                require(not value, name, f"{expected} with --strategy {strategy}", value, remedy)
            return {}
        costs = (*(self.costs or raynas.NSGA2.costs), *limits.minimised)
        pool = self.pool()
        initial = () if pool is None else pool.paths
        return {"costs": tuple(dict.fromkeys(costs)), "initial": initial}

    def pool(self) -> PoolFile | None:
        """The pool, if one was given.

        Raises:
            InputError: a file that is no pool.
        """
        return None if self.initial is None else read_pool(self.initial)


def search(
    data: DataOptions,
    supernet: SupernetOptions,
    run: RunOptions,
    settings: StrategyOptions,
    evaluation: EvaluationOptions,
    limits: LimitOptions,
    front: FrontOptions,
) -> None:
    """Search a trained supernet for the best architecture under limits, or for a front.

    Args:
        data: the samples.
        supernet: what is searched.
        run: the search; where torch cannot write all of the best subnet, a line says so, and
            the exit code is 0.
        settings: of the strategy; random and ea pass over those of freezing, cf over monitor. If
            omitted, --top-k is 10, and for nsga2 the population; --threshold and --monitor are
            those of the PCF-ES paper for its supernets, 0.7 and 3 for all others.
        evaluation: the protocol.
        limits: what is legal.
        front: what nsga2 searches for.
    """
    options = SimpleNamespace(**vars(settings), **front.settings(run.strategy, limits))
    choose_strategy(run.strategy, options)  # What it refuses, it refuses before anything is read.
    require_trained(supernet.supernet, supernet.weights)
    protocol = given(raynas.Evaluation, evaluation)
    constraint = limits.constraint()
    directory = run.directory(Path("runs") / Path(data.data.replace(":", ".")).name)
    samples = load_data(data)
    network, task = supernet.load(data, samples)
    pool = front.pool()
    if pool is not None:
        pool.require_of(network)
    with renamed(**OF_LATENCY):
        search_and_show(
            network,
            samples,
            choose_strategy(run.strategy, options, freezing_of(network)),
            directory,
            constraint=constraint,
            evaluation=protocol,
            task=task,
            **run.options(),
            **run.shown(),
        )
