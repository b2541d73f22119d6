"""Features as a shard stores them: inputs, or activations at some number of bits."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np

INPUTS = "none"
"""The quantization of depth-0 shards: samples as they were given."""


@final
@dataclass(frozen=True)
class StoredFeatures:
    """Inputs or activations of `n` samples, as they are stored.

    Args:
        values: `[n, *shape]` inputs of any type that `raynas.inputs` names, float32 or float16
            activations, or uint8 codes; or `[n, ceil(prod(shape) / 2)]` uint8, each two codes of
            4 bits.
        quantization: `"none"` (inputs), `"float32"`, `"float16"`, `"affine8"` or `"affine4"`.
        shape: of one sample before it was stored, such as `(c, h, w)`.
        channels: of affine codes, `float32[3, c]`: the value of code 0, the step from one code to
            the next, and the highest code of a finite value, for each channel of an image or
            feature of a sequence.
        precision: of activations, the type in which blocks gave them, `"float32"`, `"bfloat16"` or
            `"float16"`; under autocast it varies from block to block.
    """

    values: np.ndarray
    quantization: str
    shape: tuple[int, ...]
    channels: np.ndarray | None = None
    precision: str = "float32"

    @staticmethod
    def of_inputs(inputs: np.ndarray) -> StoredFeatures:
        """Inputs `[n, …]`, as they are."""
        return StoredFeatures(inputs, INPUTS, tuple(inputs.shape[1:]))

    @staticmethod
    def from_metadata(values: np.ndarray, metadata: Mapping[str, Any]) -> StoredFeatures:
        """The inverse of `metadata`, of a shard that stores `values`."""
        channels, shape = metadata.get("channels"), tuple(values.shape[1:])
        table = None
        if channels is not None:
            table = np.frombuffer(base64.b64decode(channels), dtype="<f4").reshape(3, -1)
            shape = tuple(metadata["shape"])
        precision = metadata.get("precision", "float32")
        return StoredFeatures(values, metadata["quantization"], shape, table, precision)

    def metadata(self) -> dict[str, Any]:
        """All but the values, as a JSON object: exact, and apart from the Arrow buffers."""
        if self.quantization == INPUTS and self.values.dtype != np.uint8:
            return {"quantization": INPUTS, "dtype": self.values.dtype.name}
        low = {} if self.precision == "float32" else {"precision": self.precision}
        if self.channels is None:
            return {"quantization": self.quantization, **low}
        table = np.ascontiguousarray(self.channels, dtype="<f4")
        return {
            "quantization": self.quantization,
            **low,
            "shape": list(self.shape),
            "channels": base64.b64encode(table.tobytes()).decode("ascii"),
        }

    def select_rows(self, rows: np.ndarray | slice) -> StoredFeatures:
        """Some of the samples, whose codes stand for what they did; a view for a slice."""
        return replace(self, values=self.values[rows])
