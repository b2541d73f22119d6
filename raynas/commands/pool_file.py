"""The file beside weights that holds the pool of the greedy training which they are from."""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import final

import raynas
from raynas.errors import InputError, reason_of, require
from raynas.files import dumps, replace_bytes, writing
from raynas.space import Architecture
from raynas.training.greedy import GreedyPaths


@final
@dataclass(frozen=True)
class PoolFile:
    """The pool of a greedy training as it was read.

    Args:
        file: where it was.
        choices: of each block of the supernet that was trained.
        weights: the digest of the weights that the training ended with; see
            `raynas.supernets.checkpoints.weights_digest`.
        paths: the smallest loss first.
    """

    file: Path
    choices: tuple[int, ...]
    weights: str
    paths: tuple[Architecture, ...]

    def require_of(self, supernet: raynas.ChainSupernet) -> None:
        """Raise `InputError` unless the pool is from the training of a supernet's weights."""
        # A command line is explained without the second that torch takes to load.
        from raynas.supernets.checkpoints import weights_digest

        require(
            self.choices == supernet.space.choices,
            "initial",
            f"a pool of {list(supernet.space.choices)} choices per block",
            f"{self.file}, of {list(self.choices)}",
            "Give the pool that was written beside the weights.",
        )
        require(
            self.weights == weights_digest(supernet),
            "initial",
            "the pool of the training that the supernet's weights are from",
            f"{self.file}, of other weights",
            "Give the pool that was written beside the weights.",
        )


def pool_of(weights: Path) -> Path:
    """The file beside the weights that holds the pool of a greedy training."""
    return weights.with_name(f"{weights.name}.pool.json")


def write_pool(weights: Path, supernet: raynas.ChainSupernet, paths: GreedyPaths) -> None:
    """Write the pool of a greedy training beside its weights, the smallest loss first.

    Losses that are not finite are `null`.

    Args:
        weights: the file that the supernet will be saved to.
        supernet: as it was trained.
        paths: whose pool it is.
    """
    from raynas.supernets.checkpoints import weights_digest

    target = pool_of(weights)
    content = {
        "choices": list(supernet.space.choices),
        "weights": weights_digest(supernet),
        "paths": [[path, loss if isfinite(loss) else None] for path, loss in paths.pool.to_json()],
    }
    with writing("out", target):
        replace_bytes(target, dumps(content).encode())


def read_pool(file: Path) -> PoolFile:
    """Read the pool of a greedy training.

    Raises:
        InputError: no such file, or one of something else.
    """
    try:
        content = json.loads(file.read_text())
        return PoolFile(
            file,
            tuple(map(int, content["choices"])),
            str(content["weights"]),
            tuple(tuple(map(int, path)) for path, _ in content["paths"]),
        )
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise InputError(
            "initial",
            "the pool that a greedy training wrote beside its weights",
            f"{file} ({reason_of(error)})",
            "Train with --paths greedy, or leave it out.",
        ) from error
