"""`raynas search`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import OmitArgPrefixes

import raynas
from raynas.commands.limits import LimitOptions
from raynas.commands.loading import DataOptions, load_data, load_supernet
from raynas.commands.options import given, options_of
from raynas.commands.workflow import StrategyName, choose_strategy, search_and_show
from raynas.runlog import require_usable

if TYPE_CHECKING:
    from raynas import PCFES as StrategyOptions
    from raynas import Evaluation as EvaluationOptions
else:
    # The settings of PCF-ES are those of all strategies.
    StrategyOptions = options_of(raynas.PCFES, without=("survival",))
    EvaluationOptions = options_of(raynas.Evaluation)


def search(
    data: OmitArgPrefixes[DataOptions],
    supernet: str,
    run_dir: Path,
    settings: OmitArgPrefixes[StrategyOptions],
    evaluation: OmitArgPrefixes[EvaluationOptions],
    limits: OmitArgPrefixes[LimitOptions],
    weights: Path | None = None,
    strategy: StrategyName = "pcf",
    workers: int | None = None,
    seed: int = 0,
    resume: bool = False,
    ledger: Path | None = None,
) -> None:
    """Search a trained supernet for the best architecture under limits.

    Args:
        data: the samples.
        supernet: the trained weights (safetensors, a torch state dict, or a released SPOS one), or
            package.module:function, which builds the supernet.
        run_dir: the directory of the records and of the exported best subnet.
        settings: of the strategy; random and ea pass over those of freezing, cf over monitor.
        evaluation: the protocol.
        limits: what is legal.
        weights: for --supernet package.module:function: the trained weights.
        strategy: ea (SPOS), random, cf (CF-ES) or pcf (PCF-ES).
        workers: Ray actors; 0 for this process, every GPU or core if omitted.
        seed: of everything random.
        resume: continue the run in run_dir.
        ledger: a file of scores that searches share; what it holds is not evaluated again.
    """
    chosen = choose_strategy(strategy, settings)
    protocol = given(raynas.Evaluation, evaluation)
    constraint = limits.limits()
    require_usable(run_dir, resume=resume)
    samples = load_data(data)
    search_and_show(
        load_supernet(supernet, data, samples, weights),
        samples,
        chosen,
        run_dir,
        constraint=constraint or None,
        evaluation=protocol,
        workers=workers,
        seed=seed,
        resume=resume,
        ledger=ledger,
    )
