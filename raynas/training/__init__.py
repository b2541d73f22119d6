"""Training supernets: which paths, how, and with what progress.

`settings`: the settings as a value; `presets`: those of this library's supernets; `paths`: drawing
the paths of a step; `trainer`: the loop; `progress`: its reports; `resume`: its checkpoints.
"""

from raynas.training import presets
from raynas.training.paths import PathSampler, UniformConstraintPaths, UniformPaths
from raynas.training.progress import EpochReport, StepReport, TrainingDivergedError
from raynas.training.settings import TrainingSettings
from raynas.training.trainer import train

__all__ = [
    "EpochReport",
    "PathSampler",
    "StepReport",
    "TrainingDivergedError",
    "TrainingSettings",
    "UniformConstraintPaths",
    "UniformPaths",
    "presets",
    "train",
]
