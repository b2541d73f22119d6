"""How long calls and their nodes take, measured without waiting for the device.

Times never enter results: they only let the planner predict what the next calls will cost.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from raynas.supernets.chain import Path

NodeKind = tuple[int, int]
"""Depth and choice: `(0, 0)` the stem, `(k, c)` choice c of the k-th block, and at the depth after
the last block the head."""


@dataclass(frozen=True)
class CallTimes:
    """How long one call took.

    Args:
        seconds: of the whole call.
        nodes: of each kind of node, its seconds and the images it was executed on.
    """

    seconds: float = 0.0
    nodes: Mapping[NodeKind, tuple[float, int]] = field(default_factory=dict)


class Stopwatch:
    """Times the nodes of one call.

    On CUDA it marks the stream with events, so that the nodes are not waited for. It does not see
    those of a graph, neither while they are recorded nor when they are launched.

    Args:
        device: what the nodes run on.
    """

    def __init__(self, device: torch.device) -> None:
        self._on_cuda = device.type == "cuda"
        self._begun = time.perf_counter()
        self._laps: list[tuple[NodeKind, int, Any, Any]] = []

    def mark(self) -> Any:
        """A point in time of the device, for `lap`."""
        if not self._on_cuda:
            return time.perf_counter()
        import torch

        if torch.cuda.is_current_stream_capturing():
            return None
        event: Any = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def lap(self, path: Path, images: int, begun: Any) -> None:
        """Note that the node at a path was executed on so many images since a mark."""
        if begun is not None:
            self._laps.append((kind_of(path), images, begun, self.mark()))

    def read(self) -> CallTimes:
        """The times so far. Read them when the results are on the host: nothing waits then."""
        if self._on_cuda and self._laps:
            self._laps[-1][3].synchronize()
        nodes: dict[NodeKind, tuple[float, int]] = {}
        for kind, images, begun, ended in self._laps:
            seconds = begun.elapsed_time(ended) / 1e3 if self._on_cuda else ended - begun
            before = nodes.get(kind, (0.0, 0))
            nodes[kind] = (before[0] + seconds, before[1] + images)
        return CallTimes(time.perf_counter() - self._begun, nodes)


def kind_of(path: Path) -> NodeKind:
    """What is executed at a path of the trie, whatever came before it."""
    return len(path), path[-1] if path else 0
