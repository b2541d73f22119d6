"""Batch-norm statistics as values: one vector per node of the trie.

A vector holds the means and the variances of the batch-norm layers of one module, in definition
order. Calibration normalises each shard with its own statistics, so the merged statistics of a node
are means over shards, taken in shard order, whatever worker saw which shard: the cumulative average
of torch's `update_bn`. (SPOS's own search code keeps an exponential average with momentum 0.1
instead, in which the last ten batches count two thirds.) A layer that runs several times in one
forward records the mean over its calls, and one that runs more often for some shards counts these
as often; one that records nothing keeps the supernet's statistics. Variances are unbiased, as
torch's running ones are.

Modules of a user may compute with a layer's buffers, momentum and counter themselves. For them
torch's own average is switched on (`momentum=None`), from a counter of zero at every forward.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, final

import numpy as np
import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from raynas.evaluation.batch_norm.vectors import NodeVectors, ShardStatistics
from raynas.supernets.chain import NodePath

Statistics = Mapping[NodePath, np.ndarray]
"""`float32[2 * channels]` of every node, keyed by its path."""

FixedStatistics = Statistics | Literal["inherited"]
"""Statistics to score under: given ones, or the supernet's own."""

COUNTER = "num_batches_tracked"
"""The buffer in which a layer counts its calls in training mode."""

ALIGNED = 16
"""Bytes that a CUDA kernel reads at once."""


def set_buffers(norms: Sequence[_BatchNorm], moments: Sequence[Tensor]) -> None:
    """Make the layers read and write their running statistics in given tensors.

    Args:
        norms: the layers.
        moments: mean and variance of each by turns.
    """
    for norm, mean, variance in zip(norms, moments[0::2], moments[1::2], strict=True):
        # Not by `Module.__setattr__`, which would take longer than small blocks leave room for.
        norm._buffers["running_mean"], norm._buffers["running_var"] = mean, variance


def start_averages(norms: Sequence[_BatchNorm]) -> None:
    """Let the next call of each layer replace its statistics, and later calls average with it."""
    for norm in norms:
        vars(norm)["momentum"] = 1.0


def start_counters(norms: Sequence[_BatchNorm]) -> list[Tensor | None]:
    """Let torch's own cumulative average begin anew in layers, for the modules that compute it.

    The counters are on the CPU, where reading them does not wait for a device.

    Returns:
        The counters that the layers had, for `stop_counters`.
    """
    before = [norm._buffers.get(COUNTER) for norm in norms]
    for norm in norms:
        vars(norm)["momentum"] = None
        norm._buffers[COUNTER] = torch.zeros((), dtype=torch.int64, device="cpu")
    return before


def stop_counters(norms: Sequence[_BatchNorm], before: Sequence[Tensor | None]) -> list[int]:
    """Put the counters of layers back; how many calls each of them counted."""
    counted = [int(norm._buffers[COUNTER]) for norm in norms]  # type: ignore[arg-type]
    for norm, counter in zip(norms, before, strict=True):
        norm._buffers[COUNTER] = counter
    return counted


def take_back(norms: Sequence[_BatchNorm], moments: Sequence[Tensor]) -> None:
    """Copy statistics that layers keep elsewhere into the tensors that were set for them.

    A forward may have replaced a buffer (`self.running_mean = …`), and layers of another type than
    float32 got converted ones.
    """
    for norm, *pair in zip(norms, moments[0::2], moments[1::2], strict=True):
        for name, room in zip(("running_mean", "running_var"), pair, strict=True):
            held = norm._buffers[name]
            if held is not None and held is not room:
                room.copy_(held.detach())


def share_of_call(norm: _BatchNorm) -> float:
    """The share that a call of a layer has in the mean over its calls so far; the call counts."""
    momentum: float | None = vars(norm)["momentum"]
    if momentum is None:
        assert norm.num_batches_tracked is not None
        norm.num_batches_tracked.add_(1)
        return 1.0 / float(norm.num_batches_tracked)
    count_call(norm)
    return momentum


def count_call(norm: _BatchNorm) -> None:
    """Give the next call of a layer its share of the mean over calls: 1/2, 1/3, 1/4, …"""
    # A momentum of 1/n becomes 1/(n + 1), with which the buffers always hold the mean over calls.
    # The first one, 1, overwrites what they held, so that prefilled buffers need no reset.
    momentum = vars(norm)["momentum"]
    if momentum is not None:
        vars(norm)["momentum"] = momentum / (1.0 + momentum)


def counted_calls(norm: _BatchNorm) -> int:
    """The number of calls of a layer since `start_averages`."""
    momentum = vars(norm)["momentum"]
    return round(1.0 / momentum) - 1 if momentum else 0


@final
class AveragedCalls:
    """The `forward` of a batch norm that a module may run several times.

    Torch's cumulative recalibration (`momentum=None`) averages over calls, but reads a counter from
    the device at each of them. Here the momentum of each call gives the same mean.

    Args:
        norm: the layer, whose momentum `start_averages` sets.
    """

    def __init__(self, norm: _BatchNorm) -> None:
        self._norm = norm
        self._forward = norm.forward

    def __call__(self, x: Tensor) -> Tensor:
        """Run the layer; while it records statistics, count the call."""
        y: Tensor = self._forward(x)
        if self._norm.training:
            count_call(self._norm)
        return y


def parts_of(vector: Tensor, sizes: Sequence[int]) -> Sequence[Tensor]:
    """The parts of a vector, one after another, for layers to read or write.

    CUDA's kernels take several channels at once from a layer whose channels divide by that many,
    wherever its statistics begin: those in between others are copied to an address for it.
    """
    parts = vector.split(list(sizes))
    if vector.device.type == "cpu":
        return parts
    return [part if part.data_ptr() % ALIGNED == 0 else part.clone() for part in parts]


def read(norms: Sequence[_BatchNorm], device: torch.device) -> Tensor:
    """The layers' running statistics as one new vector, `float32[2 * channels]`."""
    parts = [part for norm in norms for part in (norm.running_mean, norm.running_var)]
    flat = [
        part.detach().to(device, torch.float32).reshape(-1) for part in parts if part is not None
    ]
    return torch.cat(flat) if flat else torch.empty(0, device=device)


def set_calibrating(norms: Sequence[_BatchNorm], calibrating: bool) -> None:
    """Switch layers between batch statistics, which they then record, and fixed statistics."""
    for norm in norms:
        # As in `set_buffers`; a batch norm has no children that `train` would have to reach.
        vars(norm)["training"] = calibrating


def merge(shards: Sequence[Statistics]) -> NodeVectors:
    """The mean over shards of each node's vector, summed in float64 in shard order.

    Args:
        shards: the statistics of each calibration shard; every shard has the same nodes.

    Returns:
        `float32[2 * channels]` of every node, in the order of the first shard's.
    """
    first = NodeVectors.join(shards[0])
    total = np.zeros(first.flat.shape, dtype=np.float64)
    for shard in shards:
        vectors = NodeVectors.join(shard)
        if vectors.paths != first.paths:
            vectors = NodeVectors.join({path: shard[path] for path in first.paths})
        total += vectors.flat
    return NodeVectors(first.paths, first.sizes, (total / len(shards)).astype(np.float32))


def merge_calls(results: Sequence[ShardStatistics]) -> NodeVectors:
    """As `merge`, but a shard counts as often as it called a layer, where shards differ in that.

    So does torch's cumulative average, which is one over calls.
    """
    merged = merge([result.statistics for result in results])
    counted = {layer for result in results for layer in result.calls}
    for layer in sorted(counted, key=lambda layer: (layer.node, layer.start)):
        calls = [result.calls.get(layer, 1) for result in results]
        if len({*calls}) > 1 and sum(calls) > 0:
            part = slice(layer.start, layer.stop)
            vectors = [result.statistics[layer.node][part] for result in results]
            mean = np.average(np.asarray(vectors, np.float64), axis=0, weights=calls)
            merged[layer.node][part] = mean
    return merged


def write(norms: Sequence[_BatchNorm], vector: np.ndarray) -> None:
    """Copy a vector into the buffers of layers that an exported subnet keeps."""
    start = 0
    for norm in norms:
        for buffer in (norm.running_mean, norm.running_var):
            assert buffer is not None
            part = torch.tensor(vector[start : start + norm.num_features])
            buffer.copy_(part)
            start += norm.num_features
