"""Training supernets: which paths, how, and with what progress.

`settings`: the settings as a value; `presets`: those of this library's supernets; `paths`: drawing
the paths of a step; `greedy`: filtering them, with a `candidate_pool`; `trainer`: the loop;
`progressive`: block by block, on `progressive_paths`; `decay`: which parameters decay; `fitting`:
the samples it takes; `weight_average`: what a training may end with; `processes`: several that
train together; `progress`: reports; `course`: a training under way; `resume`: its checkpoints.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from raynas.training import presets
from raynas.training.settings import TrainingSettings

if TYPE_CHECKING:
    from raynas.training.greedy import GreedyPaths, GreedySettings
    from raynas.training.paths import (
        FairPaths,
        LegalPaths,
        PathSampler,
        UniformConstraintPaths,
        UniformPaths,
    )
    from raynas.training.progress import EpochReport, StepReport, TrainingDivergedError
    from raynas.training.progressive import train_progressively
    from raynas.training.progressive_paths import ProgressivePaths, ProgressiveSettings
    from raynas.training.trainer import train

__all__ = [
    "EpochReport",
    "FairPaths",
    "GreedyPaths",
    "GreedySettings",
    "LegalPaths",
    "PathSampler",
    "ProgressivePaths",
    "ProgressiveSettings",
    "StepReport",
    "TrainingDivergedError",
    "TrainingSettings",
    "UniformConstraintPaths",
    "UniformPaths",
    "presets",
    "train",
    "train_progressively",
]

LATER = {
    "EpochReport": "progress",
    "FairPaths": "paths",
    "GreedyPaths": "greedy",
    "GreedySettings": "greedy",
    "LegalPaths": "paths",
    "PathSampler": "paths",
    "ProgressivePaths": "progressive_paths",
    "ProgressiveSettings": "progressive_paths",
    "StepReport": "progress",
    "TrainingDivergedError": "progress",
    "UniformConstraintPaths": "paths",
    "UniformPaths": "paths",
    "train": "trainer",
    "train_progressively": "progressive",
}
"""Names and their modules, which need torch."""


def __getattr__(name: str) -> Any:
    """Load what needs torch when it is first asked for."""
    if name in LATER:
        return getattr(importlib.import_module(f"raynas.training.{LATER[name]}"), name)
    raise AttributeError(f"module 'raynas.training' has no attribute {name!r}")
