"""What storing activations at few bits costs, and what storing them anew at each freeze adds."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from raynas.evaluation.evaluator import Evaluator
from raynas.evaluation.nodes import Mode
from raynas.evaluation.settings import Evaluation
from raynas.shards.shard import Shard
from raynas.shards.storage import decode
from raynas.space import Architecture
from raynas.supernets.chain import ChainSupernet


@dataclass(frozen=True)
class StorageError:
    """How far stored activations are from those that were never rounded, at one depth.

    Both errors are ratios of Euclidean norms over the whole shard: ‖stored - exact‖ / ‖exact‖.

    Args:
        depth: the number of frozen blocks.
        direct: after one step from the images.
        progressive: after one step from each earlier depth to the next.
    """

    depth: int
    direct: float
    progressive: float


def storage_errors(
    supernet: ChainSupernet,
    shard: Shard,
    prefix: Architecture,
    depths: Sequence[int],
    protocol: Evaluation,
    statistics: Mode = "inherited",
) -> list[StorageError]:
    """Advance a shard freeze by freeze, and at once, and compare with float32.

    Args:
        supernet: copied.
        shard: of images.
        prefix: the frozen choices in the end.
        depths: how many of them each freeze has frozen, ascending.
        protocol: whose `bits` the errors are of.
        statistics: of batch norm, as `Evaluator.advance` takes them.

    Returns:
        One error per depth.
    """
    stored = Evaluator(copy.deepcopy(supernet), protocol)
    exact = Evaluator(copy.deepcopy(supernet), replace(protocol, bits=32))
    errors = []
    truth = progressive = shard
    for depth in depths:
        frozen = prefix[:depth]
        truth, _ = exact.advance(truth, frozen, statistics)
        progressive, _ = stored.advance(progressive, frozen, statistics)
        direct, _ = stored.advance(shard, frozen, statistics)
        errors.append(
            StorageError(depth, relative_error(direct, truth), relative_error(progressive, truth))
        )
    return errors


def relative_error(stored: Shard, exact: Shard) -> float:
    """‖stored - exact‖ / ‖exact‖ of the activations of two shards of the same samples."""
    host = torch.device("cpu")
    one, other = (decode(shard.stored, host).numpy() for shard in (stored, exact))
    reference = other.astype(np.float64)
    return float(np.linalg.norm(one - reference) / np.linalg.norm(reference))
