"""Architectures that are retrained for themselves, each once, whichever supernet asks for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from common.trained import Plan, kept
from rich.console import Console

import raynas
from raynas.commands.supernet_training import adjust
from raynas.data.splits import SearchData
from raynas.files import Record
from raynas.space import Architecture
from raynas.supernets import ChainSupernet
from raynas.training import presets


@dataclass(frozen=True)
class Recipe:
    """The retraining of every architecture.

    Args:
        epochs: of each.
        seed: of the weights and the batches, the same for all.
        device: cpu or cuda, the same for all.
    """

    epochs: int
    seed: int
    device: str = "cpu"

    @property
    def folder(self) -> str:
        """The name of the folder of what is retrained so."""
        name = f"epochs{self.epochs}-seed{self.seed}"
        return name if self.device == "cpu" else f"{name}-{self.device}"

    def settings(self, *, quick: bool) -> raynas.TrainingSettings:
        """The training settings."""
        preset = presets.RETRAIN_DIGITS if quick else presets.RETRAIN_FASHION_MNIST
        changes = {"batch_size": 16} if quick else {}
        adjusted = adjust(preset, epochs=self.epochs, seed=self.seed, **changes)
        return replace(adjusted, device=self.device)


@dataclass(frozen=True)
class Retraining:
    """Retrained architectures of one space, and the folder that keeps them.

    Args:
        plan: with the folder and the data.
        recipe: of each.
        supernet: whose architectures they are; its weights do not count.
        images: to train and to test on.
    """

    plan: Plan
    recipe: Recipe
    supernet: ChainSupernet
    images: SearchData

    @property
    def home(self) -> Path:
        """The folder of all architectures that are retrained so."""
        return self.plan.home / f"retrained-{self.plan.system}" / self.recipe.folder

    def of(self, architectures: Sequence[Architecture]) -> list[Record]:
        """The rows of architectures, those retrained that are not kept yet."""
        screen = Console()
        rows = []
        for number, architecture in enumerate(architectures, 1):
            names = " ".join(self.supernet.decode(architecture))
            screen.print(f"{number} of {len(architectures)}: {names}", highlight=False)
            rows.append(self.one(architecture))
        return rows

    def one(self, architecture: Architecture) -> Record:
        """The accuracies, costs and seconds of one architecture, retrained."""
        folder = self.home / "-".join(map(str, architecture))

        def measure() -> Record:
            ended = raynas.retrain(
                self.supernet, self.images, architecture,
                self.recipe.settings(quick=self.plan.quick), folder,
            )  # fmt: skip
            return {
                "architecture": list(architecture),
                "names": list(ended.best.names),
                "top1": ended.best.top1,
                "test_top1": ended.best.test_top1,
                "flops": ended.best.flops,
                "params": ended.best.params,
                "seconds": sum(report.seconds for report in ended.reports),
            }

        return kept(folder.with_suffix(".json"), measure)
