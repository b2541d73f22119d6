"""CUDA graphs: the kernels of a call are recorded once, and then launched together.

A generation runs the same trie over shard after shard. Most of its kernels take a few microseconds
at the usual shard sizes, less than Python needs to launch them one by one, so that the device would
wait for the host. A graph launches the same kernels on the same operands, and gives the same bits.
"""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from raynas.evaluation.memory import brief, is_out_of_memory

Tensors = tuple[Tensor, ...]
Function = Callable[..., Tensors]
Recorder = Callable[[Function, Tensors], Function]
"""Makes of a function and examples of its arguments one that gives the same, faster. Its results
are its own: they change when it is called again."""

REPEATED = 3
"""Calls of the one before from which on a new one is recorded at once: a recording costs about what
a call without one does."""

KEPT = 8
"""Recordings that are kept: of two operations, two sizes of shards, and two parts of a trie."""

REMEMBERED = 256
"""Calls that are remembered, so that only what comes again is recorded."""


@dataclass
class Family:
    """Functions of one group that work on tensors of one shape."""

    loaded: set[Hashable] = field(default_factory=set)
    last: Hashable = None
    runs: int = 0
    before: int = 0

    def due(self, key: Hashable, parts: set[Hashable]) -> bool:
        """Note a call; whether it can be recorded at once, and will probably come again."""
        if key != self.last:
            self.before, self.runs, self.last = self.runs, 0, key
        self.runs += 1
        return self.before >= REPEATED and parts <= self.loaded


class Replays:
    """Runs functions of tensors, from the second time on by their recordings.

    Args:
        recorder: records; `None` runs everything as it is.
    """

    def __init__(self, recorder: Recorder | None) -> None:
        self._recorder = recorder
        self._seen: OrderedDict[Hashable, None] = OrderedDict()
        self._recordings: OrderedDict[Hashable, Function] = OrderedDict()
        self._families: dict[Hashable, Family] = {}
        self.recorded = 0
        """How many recordings were made."""

    def run(
        self,
        group: Hashable,
        key: Hashable,
        parts: Iterable[Hashable],
        function: Function,
        inputs: Tensors,
    ) -> Tensors:
        """Call a function, or play its recording.

        It is recorded when it comes for the second time; or for the first, if the last one of its
        group came several times and its kernels have been loaded, which cannot be recorded.

        Args:
            group: functions of one group run the same kernels for the same part.
            key: functions with one key in a group do the same with tensors of one shape.
            parts: what the function consists of.
            function: reads nothing that changes but its inputs, and waits for no result.
            inputs: its arguments; the first is what its kernels work on.

        Returns:
            What the function returns; the tensors belong to the caller.
        """
        if self._recorder is None:
            return function(*inputs)
        shapes = tuple((x.shape, x.dtype, x.stride()) for x in inputs)
        family = self._families.setdefault((group, shapes[:1]), Family())
        needed = set(parts)
        recording = self._find((group, key, shapes), family.due(key, needed), function, inputs)
        if recording is not None:
            return tuple(y.clone() for y in recording(*inputs))
        results = self._call(function, inputs)
        family.loaded |= needed
        return results

    def forget(self) -> None:
        """Give all recordings up, and their memory back."""
        self._recordings.clear()
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()

    def _call(self, function: Function, inputs: Tensors) -> Tensors:
        """Call a function; if memory is short, once more without that of the recordings."""
        try:
            return function(*inputs)
        except RuntimeError as error:
            if not (self._recordings and is_out_of_memory(error)):
                raise
        self.forget()
        return function(*inputs)

    def _find(
        self, key: Hashable, due: bool, function: Function, inputs: Tensors
    ) -> Function | None:
        """The recording of a call, made now if it is due; `None` if there is none."""
        if key in self._recordings:
            self._recordings.move_to_end(key)
            return self._recordings[key]
        if self._recorder is None or not (due or key in self._seen):
            remember(self._seen, key, None, REMEMBERED)
            return None
        try:
            recording = self._recorder(function, inputs)
        except RuntimeError as error:
            if is_out_of_memory(error):
                self._seen.pop(key, None)
                self.forget()
            else:
                self._give_up(error)
            return None
        self.recorded += 1
        remember(self._recordings, key, recording, KEPT)
        return recording

    def _give_up(self, error: RuntimeError) -> None:
        """Record nothing any more: the next attempt would fail as this one did."""
        self._recorder = None
        self.forget()
        warnings.warn(
            f"kernels are launched one by one from now on, which may take longer: {brief(error)}. "
            "A CUDA graph needs blocks that do not wait for results of the device.",
            RuntimeWarning,
            stacklevel=4,
        )


def replays_on(device: torch.device) -> Replays:
    """Recordings where the device has them: on CUDA."""
    return Replays(GraphRecorder() if device.type == "cuda" else None)


class GraphRecorder:
    """Records CUDA graphs, which share the memory of their intermediate results.

    So they must not run at the same time, and what they return must be copied before another runs.
    """

    def __init__(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, function: Function, inputs: Tensors) -> Function:
        """Record a function, which has run before, so that its kernels are loaded and chosen."""
        own = tuple(x.clone() for x in inputs)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            outputs = function(*own)

        def replay(*given: Tensor) -> Tensors:
            for mine, theirs in zip(own, given, strict=True):
                mine.copy_(theirs)
            graph.replay()
            return outputs

        return replay


def remember(table: OrderedDict, key: Hashable, value: object, most: int) -> None:
    """Add an entry, and drop the oldest if there are too many."""
    table[key] = value
    if len(table) > most:
        table.popitem(last=False)
