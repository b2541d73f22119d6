"""What calls will cost: running estimates from the times that came with earlier results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from raynas.evaluation.timing import CallTimes, NodeKind

DISPATCH_SECONDS = 0.002
"""What handing out a call and taking in its result adds to the time inside the worker."""

MEMORY = 50
"""Over how many calls an estimate reaches back, so that it follows what changes."""


@dataclass(frozen=True)
class Costs:
    """Predicted costs of one method: seconds, or counted nodes where nothing was measured.

    Args:
        nodes: of executing each kind of node on one image.
        call: of a call, beside its nodes.
        default: of kinds of nodes whose block was never measured.
    """

    nodes: Mapping[NodeKind, float] = field(default_factory=dict)
    call: float = 0.0
    default: float = 1.0

    def node(self, depth: int, choice: int) -> float:
        """The cost of one image: measured, or as other choices of the block, or any block."""
        known = self.nodes.get((depth, choice))
        if known is not None:
            return known
        others = [cost for (at, _), cost in self.nodes.items() if at == depth]
        return sum(others) / len(others) if others else self.default


@dataclass
class _Mean:
    """A mean that forgets values long past, and the first as soon as there is another.

    The first execution of a kind of node loads and prepares its kernels, in each worker; of several
    workers only the first's is left out.
    """

    value: float = 0.0
    count: int = 0

    def add(self, value: float) -> None:
        self.count = min(self.count + 1, MEMORY)
        self.value += (value - self.value) / max(1, self.count - 1)


class BlockTimes:
    """Estimates per method: of each block's choices per image, and of what a call costs beside."""

    def __init__(self) -> None:
        self._nodes: dict[str, dict[NodeKind, _Mean]] = {}
        self._calls: dict[str, _Mean] = {}

    def update(self, method: str, calls: Iterable[CallTimes]) -> None:
        """Learn from the times of calls of a method; calls that measured nothing are passed over.

        Workers of different speed enter one estimate: the planner sizes units, and the dispatch
        gives fewer of them to slow workers.
        """
        nodes = self._nodes.setdefault(method, {})
        for times in calls:
            if not times.nodes:
                continue
            inside = 0.0
            for kind, (seconds, images) in times.nodes.items():
                nodes.setdefault(kind, _Mean()).add(seconds / images)
                inside += seconds
            self._calls.setdefault(method, _Mean()).add(max(times.seconds - inside, 0.0))

    def costs(self, method: str) -> Costs:
        """The estimates of a method."""
        nodes = {kind: mean.value for kind, mean in self._nodes.get(method, {}).items()}
        if not nodes:
            return Costs()
        call = self._calls[method].value + DISPATCH_SECONDS
        return Costs(nodes, call, sum(nodes.values()) / len(nodes))
