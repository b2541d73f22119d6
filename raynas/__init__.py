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
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from raynas._version import __version__
from raynas.costs import Cost, CostTable, FLOPs, Limits, Params
from raynas.errors import InputError
from raynas.evaluation.settings import Evaluation
from raynas.evolution import CFES, EA, PCFES, RandomSearch
from raynas.search import check_search, search

if TYPE_CHECKING:
    from raynas import data, supernets, training
    from raynas.supernets.chain import ChainSupernet
    from raynas.training import TrainingSettings

__all__ = [
    "CFES",
    "EA",
    "PCFES",
    "ChainSupernet",
    "Cost",
    "CostTable",
    "Evaluation",
    "FLOPs",
    "InputError",
    "Limits",
    "Params",
    "RandomSearch",
    "TrainingSettings",
    "__version__",
    "check_search",
    "data",
    "search",
    "supernets",
    "training",
]


def __getattr__(name: str) -> Any:
    """Load the rooms that need torch when they are first asked for."""
    if name in ("data", "supernets", "training"):
        return importlib.import_module(f"raynas.{name}")
    if name == "ChainSupernet":
        return importlib.import_module("raynas.supernets").ChainSupernet
    if name == "TrainingSettings":
        return importlib.import_module("raynas.training").TrainingSettings
    raise AttributeError(f"module 'raynas' has no attribute {name!r}")
