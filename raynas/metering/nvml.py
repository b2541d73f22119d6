"""Energy counters and power sensors of NVIDIA GPUs, through NVML.

GPUs since Volta count the millijoules since their driver was loaded. Older ones tell their power
alone, which has to be read often.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any, final

from raynas.errors import describe_error
from raynas.metering.gauges import Absent, Gauge, Unit, UnreadableError


@final
class Gpu(Gauge):
    """One GPU, which is looked up again after it could not be read.

    Args:
        device: its UUID.
        nvml: the `pynvml` module; its session is opened by whoever makes this.
    """

    kind = "gpu"

    def __init__(self, device: str, nvml: Any) -> None:
        self.device = device
        self._nvml = nvml
        self._handle: Any = None
        self._unit: Unit = "J"

    @property
    def unit(self) -> Unit:
        """Joules, or watts where it counts none; known once it was read."""
        return self._unit

    def read(self) -> float:
        """Joules counted so far, or watts."""
        nvml = self._nvml
        try:
            if self._handle is None:
                self._handle = nvml.nvmlDeviceGetHandleByUUID(self.device)
                self._unit = "J" if self._counts() else "W"
            if self._unit == "J":
                return float(nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)) / 1e3
            return float(nvml.nvmlDeviceGetPowerUsage(self._handle)) / 1e3
        except nvml.NVMLError as error:
            self._handle = None
            raise UnreadableError(f"NVML: {describe_error(error)}") from error

    def close(self) -> None:
        """End the session."""
        try:
            self._nvml.nvmlShutdown()
        except self._nvml.NVMLError:
            return

    def _counts(self) -> bool:
        """Whether it counts its energy."""
        try:
            self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)
        except self._nvml.NVMLError as error:
            if error.value != self._nvml.NVML_ERROR_NOT_SUPPORTED:
                raise
            return False
        return True


def gpus(uuids: Sequence[str], module: Any = None) -> list[Gauge]:
    """The gauges of GPUs of this machine.

    Args:
        uuids: of the GPUs that this process uses, as `GPU-…` or `MIG-…`. Instances of one GPU share
            its gauge, which counts the whole of it.
        module: `pynvml`, or something of its kind; imported if omitted.
    """
    if not uuids:
        return []
    try:
        nvml = module or importlib.import_module("pynvml")
    except ImportError as error:
        return [Absent(uuid, "gpu", describe_error(error)) for uuid in uuids]
    found: dict[str, Gauge] = {}
    for uuid in uuids:
        try:
            # One session for each, since each ends its own.
            nvml.nvmlInit()
        except nvml.NVMLError as error:
            found[uuid] = Absent(uuid, "gpu", f"NVML: {describe_error(error)}")
            continue
        gauge = Gpu(_whole(uuid, nvml), nvml)
        if gauge.device in found:
            gauge.close()
        else:
            found[gauge.device] = gauge
    return list(found.values())


def _whole(uuid: str, nvml: Any) -> str:
    """The UUID of the GPU that an instance is a part of; of a whole GPU its own."""
    for name in dict.fromkeys((uuid, uuid.replace("GPU-", "MIG-", 1))):
        try:
            handle = nvml.nvmlDeviceGetHandleByUUID(name)
            if not name.startswith("MIG-"):
                return name
            parent = nvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(handle)
            return str(nvml.nvmlDeviceGetUUID(parent))
        except nvml.NVMLError:
            continue
    return uuid
