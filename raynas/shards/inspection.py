"""A look at every shard as it is read: does it fit the supernet and the task?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import final

import numpy as np

from raynas.errors import InputError, require
from raynas.inputs import Inputs
from raynas.shards.lazy import LazyShards
from raynas.shards.samples import require_finite
from raynas.shards.shard import VALIDATION, Shard
from raynas.task import Classification, Task


@final
class Inspector:
    """Sees every shard as it is read, and checks it; all must have targets of one kind.

    Args:
        inputs: of the supernet.
        task: that targets must fit.
        selects: whether samples of the validation split are selected, which must count alike.
    """

    def __init__(self, inputs: Inputs, task: Task, *, selects: bool = False) -> None:
        self._inputs = inputs
        self._task = task
        self._selects = selects
        self._targets: tuple[np.dtype, tuple[int, ...]] | None = None

    def __call__(self, shard: Shard) -> None:
        """Check one depth-0 shard.

        Raises:
            InputError: samples of another shape or type, token ids outside the vocabulary, floats
                that are not finite, targets that do not fit the task or those seen before, or
                weights beside a selection.
        """
        if self._selects and shard.split == VALIDATION:
            require_unweighted(shard.weights)
        pictures = len(self._inputs.shape) == 3
        require_inputs(
            shard.features, self._inputs, f"{shard.split} {'images' if pictures else 'inputs'}"
        )
        targets = shard.targets
        classes = isinstance(self._task, Classification)
        argument = f"{shard.split} {'labels' if classes else 'targets'}"
        self._task.require_targets(targets, argument)
        kind = (targets.dtype, targets.shape[1:])
        if self._targets is None:
            self._targets = kind
        require(
            kind == self._targets,
            argument,
            f"{self._targets[0]} of shape {self._targets[1]}, as in the shards before",
            f"{kind[0]} of shape {kind[1]}",
            "Give all splits targets of one kind.",
        )


def require_inputs(values: np.ndarray, inputs: Inputs, argument: str) -> None:
    """Raise `InputError`, with the likely remedy, unless samples `[n, …]` fit a supernet.

    Args:
        values: samples as they would enter the network.
        inputs: of the supernet.
        argument: the name of the samples in errors.
    """
    shape = values.shape[1:]
    require(
        shape == inputs.shape,
        argument,
        f"shape {inputs.shape}, which the supernet takes",
        shape,
        shape_remedy(shape, inputs.shape),
    )
    require(
        values.dtype.name == inputs.dtype,
        argument,
        f"{inputs.dtype}, which the supernet takes",
        described(values),
        type_remedy(values, inputs),
    )
    require_finite(values, argument)
    if inputs.vocabulary is not None and len(values):
        low, high = int(values.min()), int(values.max())
        require(
            low >= 0 and high < inputs.vocabulary,
            argument,
            f"token ids from 0 to {inputs.vocabulary - 1}",
            f"{low} to {high}",
            "Give the right vocabulary, and an id of its own to padding.",
        )


def require_unweighted(weights: np.ndarray) -> None:
    """Raise `InputError` unless all validation samples count alike, so that some may be selected.

    A selection gives those that it keeps weights of its own.

    Args:
        weights: `[n]` importance weights of samples.
    """
    require(
        bool((weights == 1.0).all()),
        "validation weights",
        "1 for every sample, beside a sample_rate below 1",
        f"{weights.min():.6g} to {weights.max():.6g}",
        "Set sample_rate=1 (and unfrozen_sample_rate=1), or draw the samples by their weights.",
    )


def shape_remedy(got: tuple[int, ...], wanted: tuple[int, ...]) -> str:
    """The likely way from samples of one shape to samples of another."""
    if len(wanted) == 3:
        if got == wanted[1:] and wanted[0] == 1:
            return "Add the channel: images[:, None]."
        if got == (*wanted[1:], wanted[0]):
            return "Put channels first: images.transpose(0, 3, 1, 2)."
        return "Resize the images (image_size, --image-size), or build the supernet for their size."
    return "Give samples of this shape, or build the supernet for theirs."


def described(values: np.ndarray) -> str:
    """The type of samples, and their range."""
    if values.size == 0:
        return str(values.dtype)
    return f"{values.dtype} from {values.min():.6g} to {values.max():.6g}"


def type_remedy(values: np.ndarray, inputs: Inputs) -> str:
    """The likely way from samples of one type to those that a supernet takes."""
    build = f"build the supernet with inputs=Inputs({inputs.shape}, {values.dtype.name!r})"
    if inputs.dtype == "uint8" and values.dtype.kind == "f":
        unit = values.size and values.min() >= 0 and values.max() <= 1
        scaled = "numpy.rint(255 * images)" if unit else "bytes from 0 to 255"
        return f"Give {scaled} as uint8, or {build}."
    return f"Convert them to what the supernet was trained on, {inputs.dtype}, or {build}."


@final
class InspectedShards(LazyShards):
    """Shards that are looked at whenever they are read, and not before.

    Args:
        shards: to be read.
        inspector: looks at each; its errors are raised on access.
    """

    def __init__(self, shards: Sequence[Shard], inspector: Callable[[Shard], None]) -> None:
        self._shards = shards
        self._inspector = inspector

    def __len__(self) -> int:
        """The number of shards."""
        return len(self._shards)

    def make(self, index: int) -> Shard:
        """Read one shard, and look at it."""
        shard = self._shards[index]
        require_shard(shard, "split")
        self._inspector(shard)
        return shard


def require_shard(item: object, argument: str) -> None:
    """Raise `InputError` unless what a split holds is a shard."""
    if not isinstance(item, Shard):
        raise InputError(
            argument,
            "shards (raynas.data.Shard)",
            f"a {type(item).__name__}",
            "Make them with make_shards, or the whole with raynas.data.from_arrays or "
            "from_datasets.",
        )
