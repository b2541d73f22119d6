"""raynas: the best architecture of a trained supernet for each constraint, fast.

One-shot neural architecture search on Ray, with progressive choice freezing (PCF-ES): blocks on
which the population agrees are frozen from the shallow end, computed once, and shared, so that
workers evaluate only what still differs between candidates.

    import raynas

    data = raynas.data.digits()
    supernet = raynas.supernets.spos_8x8(data.num_classes)
    raynas.training.train(supernet, data.train, raynas.TrainingSettings(
        epochs=20, batch_size=32, learning_rate=0.2, warmup_epochs=1))
    result = raynas.search(supernet, data, strategy=raynas.PCFES(generations=8),
                           constraint=raynas.FLOPs(at_most=680e3), run_dir="runs/example")
    print(result.best.architecture, result.best.test_top1)
    result.export("runs/example/best")

`raynas.supernets`, `raynas.data` and `raynas.training` are loaded when they are first used;
importing raynas itself loads neither torch nor Ray.

Values: `errors`, `space`, `score`, `inputs`, `task`; files and records: `files`, `runlog`;
`metering`: what a search costs; `versions`: of what computes; `torch_state`: torch's switches;
`devices`: the processor and the GPU. Rooms, in the order in which data flows: `supernets`,
`shards`, `costs`, `data`, `training`, `evolution`, `evaluation`, `ledger`, `workers`, `population`.
A search: `preparation` checks its arguments, `task_trial` a task among them, `search` is the loop,
`generation` one turn of it, `observers` are told of it, `tracking` of them is MLflow's, `replay`
its resumption, `conclusion` its end, `result` the winner or the front, `run_samples` compares what
it is asked for, `export` is its product, `retraining` trains that for itself; `overview` looks
before it; `specialization` looks networks up in a table instead. `foreign` reads architectures of
other projects; `report` reads records; `testing` has contract kits; `commands` is the command line;
`cli` and `workflow` are earlier names of its files.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from raynas._version import __version__
from raynas.costs import (
    AccuracyTable,
    BitOps,
    Cost,
    CostTable,
    FLOPs,
    Latency,
    LatencyTable,
    Limits,
    Params,
)
from raynas.errors import InputError
from raynas.evaluation.settings import Evaluation
from raynas.evolution import (
    CFES,
    EA,
    NSGA2,
    PCFES,
    Problem,
    Proposal,
    RandomSearch,
    State,
    Strategy,
)
from raynas.inputs import Inputs
from raynas.metering.settings import Metering
from raynas.overview import describe, evaluate
from raynas.score import Score
from raynas.search import check_search, search, search_with
from raynas.specialization import Specialization, specialize
from raynas.task import Classification, PerSample, Task

if TYPE_CHECKING:
    from raynas import data, supernets, training
    from raynas.foreign import read_architecture
    from raynas.population.interface import CandidateEvaluator
    from raynas.retraining.retrain import retrain
    from raynas.supernets.chain import ChainSupernet
    from raynas.training import TrainingSettings
    from raynas.workers.open_pool import open_pool

__all__ = [
    "CFES",
    "EA",
    "NSGA2",
    "PCFES",
    "AccuracyTable",
    "BitOps",
    "CandidateEvaluator",
    "ChainSupernet",
    "Classification",
    "Cost",
    "CostTable",
    "Evaluation",
    "FLOPs",
    "InputError",
    "Inputs",
    "Latency",
    "LatencyTable",
    "Limits",
    "Metering",
    "Params",
    "PerSample",
    "Problem",
    "Proposal",
    "RandomSearch",
    "Score",
    "Specialization",
    "State",
    "Strategy",
    "Task",
    "TrainingSettings",
    "__version__",
    "check_search",
    "data",
    "describe",
    "evaluate",
    "open_pool",
    "read_architecture",
    "retrain",
    "search",
    "search_with",
    "specialize",
    "supernets",
    "training",
]

ROOMS = ("data", "supernets", "training")

LATER = {
    "CandidateEvaluator": "raynas.population.interface",
    "ChainSupernet": "raynas.supernets",
    "TrainingSettings": "raynas.training",
    "open_pool": "raynas.workers.open_pool",
    "read_architecture": "raynas.foreign",
    "retrain": "raynas.retraining.retrain",
}
"""Names and their modules, which need torch."""


def __getattr__(name: str) -> Any:
    """Load what needs torch when it is first asked for."""
    if name in ROOMS:
        return importlib.import_module(f"raynas.{name}")
    if name in LATER:
        return getattr(importlib.import_module(LATER[name]), name)
    raise AttributeError(f"module 'raynas' has no attribute {name!r}")
