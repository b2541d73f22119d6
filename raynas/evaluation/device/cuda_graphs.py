"""CUDA graphs: the kernels of a call are recorded once, and then launched together.

A generation runs the same trie over shard after shard. Most of its kernels take a few microseconds
at the usual shard sizes, less than Python needs to launch them one by one, so that the device would
wait for the host. A graph launches the same kernels on the same operands, and gives the same bits.
"""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from raynas.evaluation.device.memory import brief, is_out_of_memory

Tensors = tuple[Tensor, ...]
Function = Callable[..., Tensors]
T = TypeVar("T")

PLAIN = 2
"""Calls of a function before it is recorded: the first loads its kernels, the second is timed."""

REPEATED = 3
"""Calls of the one before from which on a new one is recorded at once: a recording costs about what
a call without one does."""

KEPT = 8
"""Recordings that are kept: of two operations, two sizes of shards, and two parts of a trie."""

WAITS = "synchronizing CUDA operation"
"""What torch warns of when the host waits for the device."""

REMEMBERED = 256
"""Calls that are remembered, so that only what comes again is recorded."""


class Recorder(Protocol):
    """Makes recordings."""

    def rehearse(self, function: Function, inputs: Tensors) -> tuple[Tensors, str | None]:
        """Call a function; its results, and why it cannot be recorded, if so."""

    def record(self, function: Function, inputs: Tensors) -> Function:
        """A function that gives the same, faster, from examples of its arguments.

        Its results are its own: they change when it is called again.
        """


@dataclass
class Family:
    """Functions of one group that work on tensors of one shape.

    Args:
        loaded: the parts whose kernels have run.
        fits: whether there was memory for their recordings.
        last: the key of the latest call.
        runs: how often that has come in a row.
        before: how often the one before it did.
    """

    loaded: set[Hashable] = field(default_factory=set)
    fits: bool = True
    last: Hashable = None
    runs: int = 0
    before: int = 0

    def comes_again(self, key: Hashable, parts: set[Hashable]) -> bool:
        """Note a call; whether it will probably come again, and all its kernels are loaded."""
        if key != self.last:
            self.before, self.runs, self.last = self.runs, 0, key
        self.runs += 1
        return self.before >= REPEATED and parts <= self.loaded


class Replays:
    """Runs functions of tensors by their recordings, once they come again and again.

    Args:
        new_recorder: makes what records; `None` runs everything as it is.
    """

    def __init__(self, new_recorder: Callable[[], Recorder] | None) -> None:
        self._new_recorder = new_recorder
        self._recorder = new_recorder() if new_recorder else None
        self._calls: OrderedDict[Hashable, int] = OrderedDict()
        self._recordings: OrderedDict[Hashable, Function] = OrderedDict()
        self._families: dict[Hashable, Family] = {}
        self._paused = False
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

        It is recorded when it comes for the third time; or for the first, if the last one of its
        group came as often and its kernels have been loaded, which cannot be recorded.

        Args:
            group: functions of one group run the same kernels for the same part.
            key: functions with one key in a group do the same with tensors of one shape.
            parts: what the function consists of.
            function: reads nothing that changes but its inputs, and waits for no result.
            inputs: its arguments; the first is what its kernels work on.

        Returns:
            What the function returns; the tensors belong to the caller.
        """
        if self._recorder is None or self._paused:
            return function(*inputs)
        shapes = tuple((x.shape, x.dtype, x.stride()) for x in inputs)
        family = self._families.setdefault((group, shapes[:1]), Family())
        needed = set(parts)
        whole = (group, key, shapes)
        recording = self._recordings.get(whole)
        if recording is not None:
            self._recordings.move_to_end(whole)
            family.comes_again(key, needed)
        elif self._due(whole, family.comes_again(key, needed)) and family.fits:
            recording = self._record(whole, family, function, inputs)
        if recording is not None:
            return tuple(y.clone() for y in recording(*inputs))
        if self._recorder is None:
            return function(*inputs)
        results, obstacle = self._recorder.rehearse(function, inputs)
        if obstacle is not None:
            self._give_up(obstacle)
            return results
        family.loaded |= needed
        remember(self._calls, whole, self._calls.get(whole, 0) + 1, REMEMBERED)
        return results

    def with_room(self, attempt: Callable[[], T]) -> T:
        """Do something; if there is no memory for it, once more without the recordings.

        They hold on to the memory of their activations, so that what fits without them might fail.
        """
        try:
            return attempt()
        except (RuntimeError, MemoryError) as error:
            if not (self._recordings and is_out_of_memory(error)):
                raise
        self.forget()
        self._paused = True
        try:
            return attempt()
        finally:
            self._paused = False

    def forget(self) -> None:
        """Give all recordings up, and their memory back."""
        self._recordings.clear()
        # What still lives in the memory of the last ones keeps it from being used again.
        self._recorder = self._new_recorder() if self._recorder and self._new_recorder else None
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()

    def _due(self, whole: Hashable, comes_again: bool) -> bool:
        calls = self._calls.get(whole, 0)
        return calls >= PLAIN or (comes_again and calls == 0)

    def _record(
        self, whole: Hashable, family: Family, function: Function, inputs: Tensors
    ) -> Function | None:
        """A new recording; `None` if the call cannot be recorded."""
        assert self._recorder is not None
        # Autocast keeps the weights that it has cast until its context ends. A recording must cast
        # its own, and nothing else may read those, which have no values before it is played.
        torch.clear_autocast_cache()
        try:
            recording = self._recorder.record(function, inputs)
        except RuntimeError as error:
            cause = first_of(error)
            obstacle = None if is_out_of_memory(cause) else brief(cause)
        else:
            self.recorded += 1
            remember(self._recordings, whole, recording, KEPT)
            return recording
        finally:
            torch.clear_autocast_cache()
        # Outside the handler, where no traceback holds what was recorded any more.
        if obstacle is not None:
            self._give_up(obstacle)
        elif self._recordings:
            self.forget()
        else:
            family.fits = False
        return None

    def _give_up(self, obstacle: str) -> None:
        """Record nothing any more."""
        self._recorder = None
        self.forget()
        warnings.warn(
            f"kernels are launched one by one from now on, which may take longer: {obstacle}. "
            "A CUDA graph needs blocks that do not wait for results of the device.",
            RuntimeWarning,
            stacklevel=4,
        )


def replays_on(device: torch.device) -> Replays:
    """Recordings where the device has them: on CUDA."""
    return Replays(GraphRecorder if device.type == "cuda" else None)


class GraphRecorder:
    """Records CUDA graphs, which share the memory of their intermediate results.

    So they must not run at the same time, and what they return must be copied before another runs.
    """

    def __init__(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()

    def rehearse(self, function: Function, inputs: Tensors) -> tuple[Tensors, str | None]:
        """Call a function, and see whether it waits for the device, which no graph can do.

        A recording that fails for this would leave torch's allocator in the state of recording.
        """
        mode = torch.cuda.get_sync_debug_mode()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                results = function(*inputs)
            finally:
                torch.cuda.set_sync_debug_mode(mode)
        waits = [warning for warning in caught if WAITS in str(warning.message)]
        for other in caught:
            if other not in waits and "prototype" not in str(other.message):
                warnings.warn_explicit(other.message, other.category, other.filename, other.lineno)
        return results, str(waits[0].message).partition(" (")[0] if waits else None

    def record(self, function: Function, inputs: Tensors) -> Function:
        """Record a function, which has run before, so that its kernels are loaded and chosen."""
        own = tuple(x.clone() for x in inputs)
        graph = torch.cuda.CUDAGraph()
        stream = torch.cuda.current_stream()
        try:
            with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
                outputs = function(*own)
        except BaseException:
            self._recover(stream)
            raise

        def replay(*given: Tensor) -> Tensors:
            for mine, theirs in zip(own, given, strict=True):
                mine.copy_(theirs)
            graph.replay()
            return outputs

        return replay

    def _recover(self, stream: torch.cuda.Stream) -> None:
        """Leave the state of recording, in which one that failed may have left the process."""
        torch.cuda.set_stream(stream)
        end = getattr(torch._C, "_cuda_endAllocateToPool", None)
        if end is not None:
            with suppress(RuntimeError):  # It has ended already.
                end(torch.cuda.current_device(), self._pool)
        # What still lives in the memory of the failed one keeps it from being used again.
        self._pool = torch.cuda.graph_pool_handle()


def first_of(error: BaseException) -> BaseException:
    """What went wrong first: a recording that fails ends with an error of its own."""
    while error.__context__ is not None:
        error = error.__context__
    return error


def remember(table: OrderedDict, key: Hashable, value: object, most: int) -> None:
    """Set the latest entry, and drop the oldest if there are too many."""
    table[key] = value
    table.move_to_end(key)
    if len(table) > most:
        table.popitem(last=False)
