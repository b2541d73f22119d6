"""`ProgressivePaths`: the largest path, then one block after another (PONAS, section 3.2)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import blake2b
from math import inf
from typing import TYPE_CHECKING, Any, Literal, Protocol, final

import numpy as np

from raynas.costs.accuracy_table import AccuracyTable
from raynas.costs.table_identity import identity_text
from raynas.errors import is_number, is_whole, require, require_kind
from raynas.score import Score, rank_key
from raynas.space import Architecture
from raynas.training.paths import PathSampler
from raynas.training.settings import TrainingSettings

if TYPE_CHECKING:
    from raynas.supernets.chain import ChainSupernet

LOWER = 100
"""The learning rate of the first stage over that of the second (section 4.1: 0.1 and 0.001)."""


class VariantScorer(Protocol):
    """Scores of paths on validation samples, under the weights of the moment."""

    @property
    def data(self) -> str:
        """The name of the data set."""

    @property
    def samples(self) -> str:
        """A digest of the samples."""

    @property
    def objective(self) -> str:
        """The name of the first objective of scores."""

    @property
    def executed(self) -> int:
        """Blocks that were executed so far, times samples."""

    @property
    def alone(self) -> int:
        """Blocks that would have been executed without shared prefixes, times samples."""

    def scores(self, paths: Sequence[Architecture]) -> list[Score]:
        """The score of each path, in the order given."""

    def terms(self) -> str:
        """Text that changes with whatever scores depend on beside the weights."""


@final
@dataclass(frozen=True)
class ProgressiveSettings:
    """The settings of the second stage; the defaults are the paper's.

    Args:
        block_epochs: passes over the samples for each block.
        block_samples: that such a pass takes, at random; all if omitted. Each is seen by as many
            paths as the block has choices, so that small trainings need not take all.
        block_learning_rate: which stays as it is; a hundredth of the first stage's if omitted.
        channels: that smaller choices get of the largest: its first ones, or the important ones,
            which the projection weighs most.

    Raises:
        InputError: a value out of range.
    """

    block_epochs: int = 3
    block_samples: int | None = None
    block_learning_rate: float | None = None
    channels: Literal["first", "important"] = "first"

    def __post_init__(self) -> None:
        rate, samples = self.block_learning_rate, self.block_samples
        for name, valid, expected in (
            ("block_epochs", is_whole(self.block_epochs) and self.block_epochs >= 1, "at least 1"),
            ("block_samples", samples is None or (is_whole(samples) and samples >= 1),
             "at least 1"),
            ("block_learning_rate", rate is None or (is_number(rate) and 0 < rate < inf),
             "a positive finite number"),
            ("channels", self.channels in ("first", "important"), "'first' or 'important'"),
        ):  # fmt: skip
            require(valid, name, expected, repr(getattr(self, name)), "Change the setting.")

    def of_block(self, settings: TrainingSettings, block: int) -> TrainingSettings:
        """The settings of the training of one block, with a random stream of its own."""
        rate = self.block_learning_rate
        return replace(
            settings,
            epochs=self.block_epochs,
            learning_rate=settings.learning_rate / LOWER if rate is None else rate,
            warmup_epochs=0.0,
            schedule="constant",
            seed=int(np.random.SeedSequence([settings.seed, block]).generate_state(1)[0]),
        )


@final
@dataclass(frozen=True)
class Row:
    """One block of the accuracy table, as it was measured.

    Args:
        accuracies: of each choice; `None` for outputs that are not finite.
        best: the best choice.
        executed: blocks executed for it, times samples.
        alone: those without shared prefixes.
    """

    accuracies: tuple[float | None, ...]
    best: int
    executed: int
    alone: int


@final
class ProgressivePaths(PathSampler):
    """The largest path, then the variants of the best path so far in one block after another.

    While block l is trained, the blocks before it have their best choices and those behind it the
    largest ones. Every step takes each choice of block l once, in random order, and sums their
    gradients before the weights change (strict fairness). All weights on these paths are updated,
    also those of stem, head and the other blocks: the paper updates "parameters of the supernet",
    which it defines as all of these paths. Use it with `train_progressively`.

    Args:
        supernet: to be trained, whose choices can be cropped.
        scorer: scores paths under the weights that they have at that moment.
        settings: of the second stage.

    Raises:
        InputError: a supernet without largest choices.
    """

    def __init__(
        self,
        supernet: ChainSupernet,
        scorer: VariantScorer,
        settings: ProgressiveSettings | None = None,
    ) -> None:
        # A command line is explained without the second that torch takes to load.
        from raynas.supernets.chain import ChainSupernet
        from raynas.supernets.cropping import largest_choices

        require_kind(supernet, ChainSupernet, "supernet", "Build one with raynas.supernets.ponas.")
        self.settings = ProgressiveSettings() if settings is None else settings
        self.largest = largest_choices(supernet)
        """The path of the first stage."""
        self.rows: tuple[Row, ...] = ()
        """The blocks that are done."""
        self.stages = 0
        """The number of stages that are done; the first is that of the largest path."""
        self.supernet = supernet
        self._scorer = scorer
        self._paths: tuple[Architecture, ...] = ()
        self._course = ""

    def restart(self) -> None:
        """Forget what an earlier training of this object left in it."""
        self.stages, self.rows = 0, ()
        self._paths, self._course = (), ""

    def sample(self, rng: np.random.Generator) -> tuple[Architecture, ...]:
        """The paths of this stage, in random order: batch norm remembers the last ones best."""
        return tuple(self._paths[place] for place in rng.permutation(len(self._paths)))

    def begin(self, steps: int) -> None:
        """See that somebody leads from block to block.

        Raises:
            InputError: a training of its own, which would stay on the largest path.
        """
        require(
            len(self._paths) > 0,
            "paths",
            "those of one stage",
            type(self).__name__,
            "Train with raynas.training.train_progressively.",
        )

    @property
    def best(self) -> Architecture:
        """The best choices found, and the largest ones of the blocks that are not done."""
        found = tuple(row.best for row in self.rows)
        return found + self.largest[len(found) :]

    def enter(self, block: int | None) -> None:
        """Go to a block, whose choices are cropped from its largest; `None`: the first stage."""
        if block is None:
            self._paths = (self.largest,)
            return
        from raynas.supernets.checkpoints import weights_digest
        from raynas.supernets.cropping import crop_block

        # Before the crop, which could round otherwise on another device.
        self._course = self.course(weights_digest(self.supernet))
        crop_block(self.supernet, block, self.largest[block], self.settings.channels)
        self._paths = self.variants(block)

    def variants(self, block: int) -> tuple[Architecture, ...]:
        """The best path so far with each choice of one block."""
        best = self.best
        count = self.supernet.space.choices[block]
        return tuple((*best[:block], each, *best[block + 1 :]) for each in range(count))

    def leave(self) -> None:
        """End the stage: score the variants of the block that was trained, and keep the best.

        Raises:
            InputError: outputs of all of them are not finite.
        """
        if self.stages > 0:
            self.rows = (*self.rows, self.measured())
        self.stages += 1
        self._paths, self._course = (), ""

    def measured(self) -> Row:
        """The row of the table of the block that was trained."""
        executed, alone = self._scorer.executed, self._scorer.alone
        scores = self._scorer.scores(self._paths)
        best = min(scores, key=rank_key)
        require(
            best.usable,
            "supernet",
            f"finite outputs of some choice of block {len(self.rows)}",
            "none",
            "Lower the learning rate of the blocks, or that of the first stage.",
        )
        return Row(
            tuple(score.value if score.usable else None for score in scores),
            scores.index(best),
            self._scorer.executed - executed,
            self._scorer.alone - alone,
        )

    def table(self) -> AccuracyTable:
        """The accuracy table of the training that has ended.

        Raises:
            InputError: it has not.
        """
        from raynas.supernets.checkpoints import weights_digest

        blocks = self.supernet.space.blocks
        require(
            len(self.rows) == blocks,
            "paths",
            f"{blocks} blocks that were trained",
            len(self.rows),
            "Train with raynas.training.train_progressively.",
        )
        return AccuracyTable(
            names=self.supernet.names,
            accuracies=tuple(row.accuracies for row in self.rows),
            best=self.best,
            weights=weights_digest(self.supernet),
            objective=self._scorer.objective,
            data=self._scorer.data,
            samples=self._scorer.samples,
            executed=sum(row.executed for row in self.rows),
            alone=sum(row.alone for row in self.rows),
            inputs=tuple(self.supernet.inputs.shape),
            supernet=identity_text(self.supernet),
        )

    def course(self, weights: str) -> str:
        """A digest of the blocks that are done, and of the weights that the next begins with."""
        rows = json.dumps([asdict(row) for row in self.rows])
        return blake2b(f"{rows}\n{weights}".encode(), digest_size=16).hexdigest()

    def terms(self) -> str:
        """The settings, the largest path and the terms of the scorer.

        In a block also what it began with: its checkpoint holds that block alone, and continues
        no other training. That of the first stage holds the whole one, as any training's does.
        """
        mine = f"{asdict(self.settings)}, {self.largest}"
        if self._course:
            mine += f", begun with {self._course}"
        return f"{type(self).__name__}({mine}, {self._scorer.terms()})"

    def state(self) -> dict[str, Any]:
        """The stages that are done, as a JSON object for a checkpoint."""
        return {"stages": self.stages, "rows": [asdict(row) for row in self.rows]}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave."""
        self.stages = int(state["stages"])
        rows = [Row(**row) for row in state["rows"]]
        self.rows = tuple(replace(row, accuracies=tuple(row.accuracies)) for row in rows)
