"""`Shard`: a fixed set of samples with their activations at one depth; everything that flows.

A shard is one Arrow `RecordBatch`, so it pickles without copies into Ray's object store, and it is
exactly one batch of the evaluation: batch norm is calibrated on whole shards, one after another.
Images are the shards at depth 0.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from raynas.errors import require
from raynas.shards.features import StoredFeatures
from raynas.space import Architecture

CALIBRATION = "calibration"
VALIDATION = "validation"
TEST = "test"


@dataclass(frozen=True)
class Shard:
    """Samples, and their activations behind a frozen prefix.

    Args:
        batch: columns `features` (fixed-shape tensors: the `values` of `StoredFeatures`), `label`
            (int64), `sample` (int64 ids within the split) and `weight` (float64 importance
            weights); the prefix, the split, and what the features stand for are in its schema
            metadata.
    """

    batch: pa.RecordBatch

    @staticmethod
    def build(
        features: StoredFeatures | np.ndarray,
        labels: np.ndarray,
        samples: np.ndarray,
        weights: np.ndarray | None = None,
        *,
        split: str,
        prefix: Architecture = (),
    ) -> Shard:
        """Make a shard of `n` samples.

        Args:
            features: activations as they are stored, or images `[n, c, h, w]` uint8.
            labels: `[n]` class indices.
            samples: `[n]` ids within the split.
            weights: `[n]` importance weights; all 1 if omitted.
            split: `"calibration"`, `"validation"` or `"test"`.
            prefix: the choices of the blocks that the features have been through.
        """
        ones = np.ones(len(labels)) if weights is None else weights
        stored = (
            features if isinstance(features, StoredFeatures) else StoredFeatures.of_images(features)
        )
        metadata = {"prefix": list(prefix), "split": split, **stored.metadata()}
        values = stored.values
        # Arrow orders axes by their strides, and those of axes of length 1 can be anything.
        canonical = np.ascontiguousarray(values).reshape(-1).reshape(values.shape)
        column = pa.FixedShapeTensorArray.from_numpy_ndarray(canonical)
        fields = {
            "features": column,
            "label": pa.array(np.asarray(labels, dtype=np.int64)),
            "sample": pa.array(np.asarray(samples, dtype=np.int64)),
            "weight": pa.array(np.asarray(ones, dtype=np.float64)),
        }
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
        """Which split the samples are from."""
        return str(self.metadata["split"])

    @property
    def rows(self) -> int:
        """The number of samples."""
        return int(self.batch.num_rows)

    @property
    def features(self) -> np.ndarray:
        """The stored values, `[n, c, h, w]` unless packed: a read-only view of the Arrow buffer."""
        return self.batch.column("features").to_numpy_ndarray()

    @property
    def stored(self) -> StoredFeatures:
        """The stored values, with what they stand for."""
        return StoredFeatures.from_metadata(self.features, self.metadata)

    @property
    def labels(self) -> np.ndarray:
        """`[n]` int64 class indices."""
        return self.batch.column("label").to_numpy()

    @property
    def samples(self) -> np.ndarray:
        """`[n]` int64 ids within the split."""
        return self.batch.column("sample").to_numpy()

    @property
    def weights(self) -> np.ndarray:
        """`[n]` float64 importance weights."""
        return self.batch.column("weight").to_numpy()


def make_shards(
    images: np.ndarray, labels: np.ndarray, *, split: str, shard_size: int
) -> list[Shard]:
    """Cut images that are in memory into depth-0 shards of nearly equal size.

    Args:
        images: `[n, c, h, w]` uint8.
        labels: `[n]` class indices.
        split: which split they are.
        shard_size: the largest number of images in a shard, and so the batch of the evaluation.

    Raises:
        InputError: no images, or a shard size below 1.
    """
    pieces = partition(len(labels), shard_size, split)
    return [Shard.build(images[p], labels[p], p, split=split) for p in pieces]


def partition(count: int, shard_size: int, split: str) -> list[np.ndarray]:
    """Sample ids `0 … count - 1` in runs of nearly equal length, at most `shard_size`."""
    require(count > 0, split, "at least one image", count, "Give the split some images.")
    require(shard_size >= 1, "shard_size", "at least 1", shard_size, "Use 50 to 250 images.")
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
        np.concatenate([shard.labels[kept] for shard, kept in pairs]),
        np.concatenate([shard.samples[kept] for shard, kept in pairs]),
        weights,
        split=shards[0].split,
    )


class ShardDigest:
    """A digest of depth-0 shards: every pixel, label and weight, and how they are cut."""

    def __init__(self) -> None:
        self._total = hashlib.blake2b(digest_size=16)

    def update(self, shard: Shard) -> None:
        """Add the next shard."""
        self._total.update(json.dumps([shard.metadata, list(shard.features.shape)]).encode())
        for column in (shard.features, shard.labels, shard.samples, shard.weights):
            self._total.update(np.ascontiguousarray(column).data)

    def hexdigest(self) -> str:
        """The digest of the shards so far, 32 hexadecimal digits."""
        return self._total.hexdigest()
