"""Names of processors: those that compute otherwise, or take other seconds, have other names."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from raynas import devices
from raynas.costs import Latency, LatencyTable
from raynas.costs.latency import this_machine
from raynas.costs.latency_table import Measurement, Verification
from raynas.errors import InputError
from raynas.evaluation.device.machine import gpu_uuids

CORE = "processor\t: {}\nFeatures\t: fp asimd\nCPU implementer\t: 0x41\nCPU part\t: {}\n\n"
INTEL = "processor\t: 0\nmodel name\t: A processor @ 2 GHz\nflags\t: sse avx\n"
BOARD = "A small board Rev 1.4\0"


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The files of a system that is put in the place of this one, which has no GPU."""
    files: dict[str, str] = {}
    monkeypatch.setattr(devices, "system_text", lambda path: files.get(path, ""))
    monkeypatch.setattr("platform.processor", lambda: "")
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    return files


@pytest.mark.parametrize(
    ("uuid", "named"),
    [
        ("3a0c-11", "GPU-3a0c-11"),
        ("MIG-77", "MIG-77"),
        (None, "GPU 2"),
    ],
)
def test_a_gpu_is_named_as_nvml_names_it(
    uuid: str | None, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2")
    properties = SimpleNamespace() if uuid is None else SimpleNamespace(uuid=uuid)
    monkeypatch.setattr("torch.cuda.get_device_properties", lambda device: properties)
    assert gpu_uuids(torch.device("cuda")) == (named,)
    assert gpu_uuids(torch.device("cpu")) == ()


def test_processors_of_other_designs_have_other_names(told: dict[str, str]) -> None:
    names = []
    for parts, board in (
        (("0xd40",), ""),
        (("0xd08",), ""),
        (("0xd08",), BOARD),
        (("0xd05", "0xd0b", "0xd05"), ""),
    ):
        told["/proc/cpuinfo"] = "".join(CORE.format(*each) for each in enumerate(parts))
        told["/proc/device-tree/model"] = board
        names.append(devices.cpu_model())
    assert names == [
        "ARM 0x41 0xd40",
        "ARM 0x41 0xd08",
        "A small board Rev 1.4, ARM 0x41 0xd08",
        "ARM 0x41 0xd05 and 0x41 0xd0b",
    ]
    assert devices.cpu_flags() == {"fp", "asimd"}


def test_a_model_is_a_name(told: dict[str, str]) -> None:
    told["/proc/cpuinfo"] = INTEL
    assert devices.cpu_name() == devices.cpu_model() == "A processor @ 2 GHz"
    assert devices.cpu_flags() == {"sse", "avx"}


def test_where_only_an_architecture_is_known_a_table_needs_its_device(
    told: dict[str, str],
) -> None:
    assert (devices.cpu_name(), devices.cpu_model(), this_machine()) == (None, "aarch64", ())
    seconds = Measurement(0.1, ((0.1, 0.2),), 0.1, Verification(((0,),), (0.3,), (0.3,)))
    table = LatencyTable("aarch64", "", {1: seconds}, {})
    with pytest.raises(InputError, match="device='aarch64'") as caught:
        Latency(at_most=1.0, table=table)
    assert caught.value.argument == "table"
    Latency(at_most=1.0, table=table, device="aarch64")


def test_files_that_are_not_there_tell_nothing(tmp_path: Path) -> None:
    assert devices.system_text(str(tmp_path / "none")) == ""
