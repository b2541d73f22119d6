"""Both splits behind one prefix: references to their shards, and the freezes that led there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from raynas.errors import require
from raynas.evaluation.scores import NOTHING, Dropped
from raynas.evaluation.settings import Arithmetic
from raynas.ledger.score_key import Freeze, digest_of
from raynas.shards.shard import Shard
from raynas.space import Architecture
from raynas.workers.pool import Pool


@final
@dataclass(frozen=True)
class Split:
    """The shards of one split.

    Args:
        shards: references to them in the pool's store.
        rows: how many samples each holds.
        weights: `float64[n]` of all samples, in sample order.
    """

    shards: tuple[Any, ...]
    rows: tuple[int, ...]
    weights: np.ndarray


@final
@dataclass(frozen=True)
class FrozenShards:
    """Both splits behind one prefix.

    Args:
        prefix: the choices that the shards have been through.
        calibration: without shards where statistics are inherited.
        validation: all samples, or those that a selection kept.
        arithmetic: that candidates are scored in.
        full: whether they are scored under the full protocol, as finalists are.
        freezes: that led here from the images.
        dropped: sums that the validation samples that are not here add to scores.
        kept: the rows of the validation split that are here; `None` for all.
        halved: whether some were advanced in smaller batches for lack of memory, so that their
            last bits may be others.
    """

    prefix: Architecture
    calibration: Split
    validation: Split
    arithmetic: Arithmetic
    full: bool = False
    freezes: tuple[Freeze, ...] = ()
    dropped: Dropped = NOTHING
    kept: np.ndarray | None = None
    halved: bool = False

    @property
    def recalibrates(self) -> bool:
        """Whether batch-norm statistics are computed for each candidate."""
        return bool(self.calibration.shards)

    @property
    def selection(self) -> str | None:
        """A digest of the samples that are here; `None` for all."""
        return None if self.kept is None else digest_of(self.kept.astype(np.int64).tobytes())


def put_split(pool: Pool, shards: Sequence[Shard], observe: Callable[[Shard], None]) -> Split:
    """Put depth-0 shards into the pool's store; each is read once."""
    references, rows, weights = [], [], []
    for index in range(len(shards)):
        shard = shards[index]
        observe(shard)
        references.append(pool.put(shard))
        rows.append(shard.rows)
        weights.append(np.array(shard.weights))
    return Split(tuple(references), tuple(rows), np.concatenate(weights or [np.empty(0)]))


def require_longer(before: Architecture, prefix: Architecture, reference: Architecture) -> None:
    """Raise `InputError` unless a prefix continues the one before, and a reference it."""
    require(
        len(prefix) > len(before) and tuple(prefix[: len(before)]) == before,
        "prefix",
        f"a longer one that starts with that of the shards, {list(before)}",
        list(prefix),
        "Freeze further blocks; frozen ones stay as they are.",
    )
    require(
        tuple(reference[: len(prefix)]) == tuple(prefix),
        "reference",
        f"an architecture with the prefix {list(prefix)}",
        list(reference),
        "Give a candidate that is to be scored behind the prefix.",
    )


def first_images(split: Split, images: int | None) -> Split:
    """The first shards of a split, as many as it takes to hold so many images; all for `None`."""
    if images is None:
        return split
    before = np.cumsum((0, *split.rows[:-1]))
    count = int((before < images).sum())
    return Split(split.shards[:count], split.rows[:count], split.weights[: sum(split.rows[:count])])


def require_batches(rows: Sequence[int]) -> None:
    """Raise `InputError` unless there are calibration shards that batch norm can be computed on."""
    require(
        len(rows) > 0 and min(rows) > 1,
        "calibration",
        "shards of at least two samples each",
        list(rows) or "no calibration samples at all",
        "Give more calibration samples or larger shards, or use batch_norm='inherit'.",
    )
