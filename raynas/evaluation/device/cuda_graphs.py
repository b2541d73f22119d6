"""CUDA graphs: the kernels of a call are recorded once, and then launched together.

A generation runs the same trie over shard after shard. Most of its kernels take a few microseconds
at the usual shard sizes, less than Python needs to launch them one by one, so that the device would
wait for the host. A graph launches the same kernels on the same operands, and gives the same bits.
"""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable, Hashable
from contextlib import suppress
from typing import Protocol, TypeVar, final

import torch
from torch import Tensor

from raynas.evaluation.device.memory import brief, is_out_of_memory

Tensors = tuple[Tensor, ...]
Function = Callable[..., Tensors]
T = TypeVar("T")

PLAIN = 1
"""Calls of a function before it is recorded: they load its kernels, and show whether it waits."""

KEPT = 8
"""Recordings that are kept: of two operations, two sizes of shards, and two parts of a trie."""

WAITS = "synchronizing CUDA operation"
"""The words with which torch warns that the host waits for the device."""

REMEMBERED = 256
"""Calls that are remembered, so that only what comes again is recorded."""


class Recorder(Protocol):
    """A maker of recordings."""

    def rehearse(self, function: Function, inputs: Tensors) -> tuple[Tensors, str | None]:
        """Call a function; return its results, and why it cannot be recorded, if so."""

    def record(self, function: Function, inputs: Tensors) -> Function:
        """A function that gives the same, faster, from examples of its arguments.

        Its results are its own: they change when it is called again.
        """


@final
class Replays:
    """Functions of tensors, run by their recordings once they come again.

    Args:
        new_recorder: makes a recorder; `None` runs everything as it is.
    """

    def __init__(self, new_recorder: Callable[[], Recorder] | None) -> None:
        self._new_recorder = new_recorder
        self._recorder = new_recorder() if new_recorder else None
        self._calls: OrderedDict[Hashable, int] = OrderedDict()
        self._recordings: OrderedDict[Hashable, Function] = OrderedDict()
        self._too_large: set[Hashable] = set()
        self._paused = False
        self.recorded = 0
        """The number of recordings that were made."""

    def run(self, key: Hashable, function: Function, inputs: Tensors) -> Tensors:
        """Call a function, or play its recording, which is made when it comes again.

        Args:
            key: functions with one key do the same with tensors of one shape.
            function: reads nothing that changes but its inputs, and waits for no result.
            inputs: its arguments.

        Returns:
            The function's results; the tensors belong to the caller.
        """
        if self._recorder is None or self._paused:
            return function(*inputs)
        whole = (key, tuple((x.shape, x.dtype, x.stride()) for x in inputs))
        recording = self._recordings.get(whole)
        if recording is not None:
            self._recordings.move_to_end(whole)
        elif self._calls.get(whole, 0) >= PLAIN and whole not in self._too_large:
            recording = self._record(whole, function, inputs)
        if recording is not None:
            return tuple(y.clone() for y in recording(*inputs))
        if self._recorder is None:
            return function(*inputs)
        results, obstacle = self._recorder.rehearse(function, inputs)
        if obstacle is not None:
            self._give_up(obstacle)
            return results
        remember(self._calls, whole, self._calls.get(whole, 0) + 1, REMEMBERED)
        return results

    def retry_unrecorded(self, attempt: Callable[[], T]) -> T:
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

    def _record(self, whole: Hashable, function: Function, inputs: Tensors) -> Function | None:
        """Make a recording; `None` if the call cannot be recorded."""
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
            self._too_large.add(whole)
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


@final
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
        # The state of the generator still counts for the graph; a copy of it counts for itself.
        generator = torch.cuda.default_generators[torch.cuda.current_device()]
        generator.graphsafe_set_state(generator.clone_state())
        # What still lives in the memory of the failed one keeps it from being used again.
        self._pool = torch.cuda.graph_pool_handle()


def first_of(error: BaseException) -> BaseException:
    """The first error of a chain, since a recording that fails ends with an error of its own."""
    while error.__context__ is not None:
        error = error.__context__
    return error


def remember(table: OrderedDict, key: Hashable, value: object, most: int) -> None:
    """Set the latest entry, and drop the oldest if there are too many."""
    table[key] = value
    table.move_to_end(key)
    if len(table) > most:
        table.popitem(last=False)
