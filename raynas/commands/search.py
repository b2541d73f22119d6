"""`raynas search`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, final

import raynas
from raynas.commands.families import freezing_of, require_trained
from raynas.commands.limits import LimitOptions
from raynas.commands.loading import DataOptions, SupernetOptions, load_data
from raynas.commands.options import given, options_of
from raynas.commands.paths import read_pool
from raynas.commands.workflow import RunOptions, choose_strategy, search_and_show

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
        costs: the costs beside accuracy: flops, params, latency, or one of --limits.
        initial: the pool of a greedy training, which the search begins with.
    """

    costs: tuple[str, ...] = ("flops",)
    initial: Path | None = None

    def settings(self) -> dict[str, Any]:
        """The fields of the strategy.

        Raises:
            InputError: a file that is no pool.
        """
        pool = () if self.initial is None else read_pool(self.initial)
        return {"costs": self.costs, "initial": pool}


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
    options = SimpleNamespace(**vars(settings), **front.settings())
    choose_strategy(run.strategy, options)  # What it refuses, it refuses before anything is read.
    require_trained(supernet.supernet, supernet.weights)
    protocol = given(raynas.Evaluation, evaluation)
    constraint = limits.constraint()
    directory = run.directory(Path("runs") / Path(data.data.replace(":", ".")).name)
    samples = load_data(data)
    network, task = supernet.load(data, samples)
    search_and_show(
        network,
        samples,
        choose_strategy(run.strategy, options, freezing_of(network)),
        directory,
        constraint=constraint,
        evaluation=protocol,
        task=task,
        **run.options(),
    )
