"""`Shard`: a fixed set of samples with their activations at one depth; everything that flows.

A shard is one Arrow `RecordBatch`, so it pickles without copies into Ray's object store, and it is
exactly one batch of the evaluation: batch norm is calibrated on whole shards, one after another.
The samples themselves are the shards at depth 0. A shard is a value: it owns its bytes, and what it
gives out are read-only views of them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import pyarrow as pa

from raynas.errors import InputError, is_whole, require
from raynas.shards.features import StoredFeatures
from raynas.shards.samples import (
    as_inputs,
    as_targets,
    as_weights,
    native,
    owned,
    require_storable,
)
from raynas.space import Architecture

CALIBRATION = "calibration"
VALIDATION = "validation"
TEST = "test"

LABEL = "label"
"""The column of class indices; targets of any other kind are in the column `TARGET`."""

TARGET = "target"


@final
@dataclass(frozen=True)
class Shard:
    """Samples, and their activations behind a frozen prefix.

    Args:
        batch: columns `features` (fixed-shape tensors: the `values` of `StoredFeatures`), `label`
            (int64 class indices) or `target` (float32 or int64 of any fixed shape), `sample`
            (int64 ids within the split) and `weight` (float64 importance weights); the prefix, the
            split, and what the features stand for are in its schema metadata.
    """

    batch: pa.RecordBatch

    @staticmethod
    def build(
        features: StoredFeatures | np.ndarray,
        targets: np.ndarray,
        samples: np.ndarray,
        weights: np.ndarray | None = None,
        *,
        split: str,
        prefix: Architecture = (),
    ) -> Shard:
        """Make a shard of `n` samples, of copies of what is given.

        Args:
            features: activations as they are stored, or inputs `[n, …]` of a type that
                `raynas.inputs.DTYPES` names.
            targets: `[n]` class indices, or integers or floats `[n, …]`; kept as int64 or float32.
            samples: `[n]` ids within the split.
            weights: `[n]` importance weights from 0 on, some above; all 1 if omitted.
            split: `"calibration"`, `"validation"` or `"test"`.
            prefix: the choices of the blocks that the features have been through.

        Raises:
            InputError: inputs or targets of another type, not n of each, or other weights.
        """
        if isinstance(features, StoredFeatures):
            stored = features
        else:
            require_storable(features, f"{split} inputs")
            stored = StoredFeatures.of_inputs(native(features))
        count = len(stored.values)
        known = as_targets(targets, count, f"{split} targets")
        importance = np.ones(count) if weights is None else as_weights(weights, f"{split} weights")
        metadata = {"prefix": list(prefix), "split": split, **stored.metadata()}
        if not are_class_indices(known):
            metadata["targets"] = {"dtype": known.dtype.name, "shape": list(known.shape[1:])}
        fields = {
            "features": tensor_column(stored.values),
            LABEL if are_class_indices(known) else TARGET: column(known),
            "sample": column(np.asarray(samples, dtype=np.int64)),
            "weight": column(importance),
        }
        require(
            all(len(array) == count for array in fields.values()),
            f"{split} samples and weights",
            f"{count} of each",
            [len(array) for array in fields.values()][2:],
            "Give one for each sample.",
        )
        schema = pa.schema(
            [pa.field(name, array.type) for name, array in fields.items()],
            metadata={"raynas": json.dumps(metadata)},
        )
        return Shard(pa.RecordBatch.from_arrays(list(fields.values()), schema=schema))

    @property
    def metadata(self) -> dict[str, Any]:
        """The prefix, the split, and what the features stand for."""
        return json.loads(self.batch.schema.metadata[b"raynas"])

    @property
    def prefix(self) -> Architecture:
        """The choices of the blocks that the features have been through."""
        return tuple(self.metadata["prefix"])

    @property
    def split(self) -> str:
        """The split that the samples are from."""
        return str(self.metadata["split"])

    @property
    def rows(self) -> int:
        """The number of samples."""
        return int(self.batch.num_rows)

    @property
    def features(self) -> np.ndarray:
        """The stored values, `[n, *shape]` unless packed: a read-only view of the Arrow buffer."""
        return self.batch.column("features").to_numpy_ndarray()

    @property
    def stored(self) -> StoredFeatures:
        """The stored values, with what they stand for."""
        return StoredFeatures.from_metadata(self.features, self.metadata)

    @property
    def targets(self) -> np.ndarray:
        """`[n]` int64 class indices, or `[n, …]` int64 or float32: a read-only view."""
        names = self.batch.schema.names
        found = self.batch.column(LABEL if LABEL in names else TARGET)
        if isinstance(found, pa.FixedShapeTensorArray):
            return found.to_numpy_ndarray()
        return found.to_numpy()

    @property
    def labels(self) -> np.ndarray:
        """`[n]` int64 class indices; `InputError` where the targets are something else."""
        targets = self.targets
        if not are_class_indices(targets):
            raise InputError(
                f"{self.split} labels",
                "one class index for each sample, int64 [n]",
                f"{targets.dtype} {list(targets.shape)}",
                "Read shard.targets, or give the shard class indices.",
            )
        return targets

    @property
    def samples(self) -> np.ndarray:
        """`[n]` int64 ids within the split."""
        return self.batch.column("sample").to_numpy()

    @property
    def weights(self) -> np.ndarray:
        """`[n]` float64 importance weights."""
        return self.batch.column("weight").to_numpy()


def are_class_indices(targets: np.ndarray) -> bool:
    """Whether targets may be class indices: one integer for each sample."""
    return targets.ndim == 1 and targets.dtype == np.int64


def column(values: np.ndarray) -> pa.Array:
    """An Arrow array of a copy of values `[n, …]`."""
    return pa.array(owned(values)) if values.ndim == 1 else tensor_column(values)


def tensor_column(values: np.ndarray) -> pa.FixedShapeTensorArray:
    """An Arrow array of a copy of values `[n, …]`, of at least two dimensions."""
    # Arrow orders axes by their strides, and those of axes of length 1 can be anything.
    canonical = owned(values).reshape(-1).reshape(values.shape)
    return pa.FixedShapeTensorArray.from_numpy_ndarray(canonical)


def make_shards(images: object, labels: object, *, split: str, shard_size: int) -> list[Shard]:
    """Cut samples that are in memory into depth-0 shards of nearly equal size.

    The shards hold copies: the arrays may be written to afterwards.

    Args:
        images: samples `[n, …]` of one fixed shape and uint8, float32, float16, int64 or int32: an
            array, a tensor, or a list of them. Images are `[n, c, h, w]`, tokens `[n, length]`.
        labels: `[n]` class indices, or other targets `[n, …]`: integers, kept as int64, or floats,
            kept as the nearest float32.
        split: which split they are.
        shard_size: the largest number of samples in a shard, and so the batch of the evaluation.

    Raises:
        InputError: no samples, another number of labels, samples or labels of another kind, values
            that are not finite, or a shard size below 1.
    """
    samples = as_inputs(images, f"{split} images")
    targets = as_targets(labels, len(samples), f"{split} labels")
    pieces = partition(len(samples), shard_size, split)
    return [Shard.build(samples[p], targets[p], p, split=split) for p in pieces]


def partition(count: int, shard_size: int, split: str) -> list[np.ndarray]:
    """Sample ids `0 … count - 1` in runs of nearly equal length, at most `shard_size`."""
    require(count > 0, split, "at least one image", count, "Give the split some images.")
    require(
        is_whole(shard_size) and shard_size >= 1,
        "shard_size",
        "at least 1",
        repr(shard_size),
        "Use 50 to 250 images.",
    )
    return np.array_split(np.arange(count), -(-count // shard_size))


def gather(shards: Sequence[Shard], rows: Sequence[np.ndarray], weights: np.ndarray) -> Shard:
    """Some samples of several depth-0 shards as one shard.

    Args:
        shards: at least one, of one split.
        rows: of each shard, the samples to keep, ascending.
        weights: `[m]` importance weights of all of them.
    """
    pairs = list(zip(shards, rows, strict=True))
    return Shard.build(
        np.concatenate([shard.features[kept] for shard, kept in pairs]),
        np.concatenate([shard.targets[kept] for shard, kept in pairs]),
        np.concatenate([shard.samples[kept] for shard, kept in pairs]),
        weights,
        split=shards[0].split,
    )


@final
class ShardDigest:
    """A digest of depth-0 shards: all values, targets and weights, their types, and the cuts."""

    def __init__(self) -> None:
        self._total = hashlib.blake2b(digest_size=16)

    def update(self, shard: Shard) -> None:
        """Add the next shard."""
        self._total.update(json.dumps([shard.metadata, list(shard.features.shape)]).encode())
        for column in (shard.features, shard.targets, shard.samples, shard.weights):
            self._total.update(np.ascontiguousarray(column).data)

    def hexdigest(self) -> str:
        """The digest of the shards so far, 32 hexadecimal digits."""
        return self._total.hexdigest()
