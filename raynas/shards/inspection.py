"""A look at every shard as it is read: does it fit the supernet?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import final, overload

from raynas.errors import require
from raynas.inputs import Inputs
from raynas.shards.shard import Shard
from raynas.task import Task


class Inspector:
    """Sees every shard as it is read, and checks it.

    Args:
        image_shape: `(channels, height, width)` that the supernet takes.
        num_classes: labels must be below it.
    """

    def __init__(self, inputs: Inputs, task: Task) -> None:
        self._shape = inputs.shape
        self._task = task

    def __call__(self, shard: Shard) -> None:
        """Check one depth-0 shard.

        Raises:
            InputError: images of another shape, or labels outside the classes.
        """
        require(
            shard.features.shape[1:] == self._shape,
            f"{shard.split} images",
            f"shape {self._shape}, which the supernet takes",
            shard.features.shape[1:],
            "Resize the images, or build the supernet for their size.",
        )
        self._task.require_targets(shard.labels, f"{shard.split} labels")


@final
class InspectedShards(Sequence[Shard]):
    """Shards that are looked at whenever they are read, and not before.

    Args:
        shards: what to read.
        inspector: looks at each; its errors are raised on access.
    """

    def __init__(self, shards: Sequence[Shard], inspector: Callable[[Shard], None]) -> None:
        self._shards = shards
        self._inspector = inspector

    def __len__(self) -> int:
        """The number of shards."""
        return len(self._shards)

    @overload
    def __getitem__(self, index: int) -> Shard: ...

    @overload
    def __getitem__(self, index: slice) -> list[Shard]: ...

    def __getitem__(self, index: int | slice) -> Shard | list[Shard]:
        """Read one shard, or several."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        shard = self._shards[index]
        self._inspector(shard)
        return shard
