"""Energy counters: read where they are, unwrapped, and absent where nothing can be measured."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pynvml
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raynas import metering
from raynas.metering import Meter, differences, read_nvml, read_rapl

RANGE_UJ = 262_143_328_850


def zone(
    folder: Path, number: str, name: str, energy_uj: object, range_uj: object = RANGE_UJ
) -> Path:
    """One zone of a powercap folder, as Linux lays it out."""
    path = folder / f"intel-rapl:{number}"
    path.mkdir(parents=True, exist_ok=True)
    (path / "name").write_text(f"{name}\n")
    (path / "energy_uj").write_text(f"{energy_uj}\n")
    if range_uj is not None:
        (path / "max_energy_range_uj").write_text(f"{range_uj}\n")
    return path


@pytest.fixture(autouse=True)
def _without_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver's library is not there."""

    def fail() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInit", fail)


def test_nothing_to_measure_with(tmp_path: Path) -> None:
    assert Meter(tmp_path / "absent").energy_j is None
    assert Meter(tmp_path).energy_j is None
    assert read_nvml() == {}


def test_seconds_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(perf_counter=iter((5.0, 5.25, 7.0)).__next__)
    monkeypatch.setattr(metering, "time", clock)
    meter = Meter(tmp_path)
    assert [meter.seconds, meter.seconds] == [0.25, 2.0]


def test_packages_are_added_up(tmp_path: Path) -> None:
    zone(tmp_path, "0", "package-0", 1_000_000)
    zone(tmp_path, "1", "package-1", 2_000_000)
    meter = Meter(tmp_path)
    assert meter.energy_j == 0
    zone(tmp_path, "0", "package-0", 4_500_000)
    zone(tmp_path, "1", "package-1", 2_250_000)
    assert meter.energy_j == pytest.approx(3.75)
    assert meter.energy_j == pytest.approx(3.75), "asking changes nothing"


def test_parts_of_packages_are_not_counted_twice(tmp_path: Path) -> None:
    zones = {"0": "package-0", "0:0": "core", "0:1": "dram", "1": "psys"}
    for number, name in zones.items():
        zone(tmp_path, number, name, 0)
    zone(tmp_path / "intel-rapl", "0", "package-0", 0)
    meter = Meter(tmp_path)
    for number, name in zones.items():
        zone(tmp_path, number, name, 1_000_000)
    assert meter.energy_j == pytest.approx(1.0)


def test_a_counter_that_wraps_around(tmp_path: Path) -> None:
    zone(tmp_path, "0", "package-0", RANGE_UJ - 3_000_000)
    meter = Meter(tmp_path)
    zone(tmp_path, "0", "package-0", 2_000_000)
    assert meter.energy_j == pytest.approx(5.0)


def test_a_counter_that_went_back_from_an_unknown_end_is_left_out(tmp_path: Path) -> None:
    zone(tmp_path, "0", "package-0", 9_000_000, None)
    meter = Meter(tmp_path)
    zone(tmp_path, "0", "package-0", 2_000_000, None)
    assert meter.energy_j is None


@pytest.mark.parametrize("content", ["", "no number", None])
def test_a_counter_that_cannot_be_read_is_left_out(content: str | None, tmp_path: Path) -> None:
    zone(tmp_path, "0", "package-0", 1_000_000)
    path = zone(tmp_path, "1", "package-1", 1_000_000) / "energy_uj"
    meter = Meter(tmp_path)
    if content is None:
        path.unlink()
        path.mkdir()
    else:
        path.write_text(content)
    zone(tmp_path, "0", "package-0", 3_000_000)
    assert set(read_rapl(tmp_path)) == {"intel-rapl:0"}
    assert meter.energy_j == pytest.approx(2.0)


COUNTERS = st.dictionaries(st.sampled_from("abc"), st.integers(0, 99))


@given(COUNTERS, COUNTERS, st.dictionaries(st.sampled_from("abc"), st.just(100)))
def test_differences_are_never_negative(
    before: dict[str, int], after: dict[str, int], ranges: dict[str, int]
) -> None:
    expected = []
    for name in sorted(before.keys() & after.keys()):
        if after[name] >= before[name]:
            expected.append(after[name] - before[name])
        elif name in ranges:
            expected.append((after[name] - before[name]) % 100)
    assert differences(before, after, ranges) == expected


def fake_gpus(monkeypatch: pytest.MonkeyPatch, energies_mj: list[int | None]) -> SimpleNamespace:
    """A machine with GPUs, some of which cannot measure; counts what is left open."""
    state = SimpleNamespace(open=0, lost=False)

    def init() -> None:
        state.open += 1

    def shutdown() -> None:
        state.open -= 1

    def count() -> int:
        if state.lost:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)
        return len(energies_mj)

    def energy(handle: int) -> int:
        value = energies_mj[handle]
        if value is None:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return value

    monkeypatch.setattr(pynvml, "nvmlInit", init)
    monkeypatch.setattr(pynvml, "nvmlShutdown", shutdown)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetCount", count)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByIndex", lambda index: index)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetTotalEnergyConsumption", energy)
    return state


def test_gpus_are_added_to_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    energies: list[int | None] = [1_000, None, 5_000]
    state = fake_gpus(monkeypatch, energies)
    zone(tmp_path, "0", "package-0", 0)
    meter = Meter(tmp_path)
    energies[:] = [2_500, None, 5_500]
    zone(tmp_path, "0", "package-0", 4_000_000)
    assert meter.energy_j == pytest.approx(1.5 + 0.5 + 4.0)
    assert state.open == 0


def test_a_lost_gpu_ends_no_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = fake_gpus(monkeypatch, [1_000])
    meter = Meter(tmp_path)
    state.lost = True
    assert meter.energy_j is None
    assert state.open == 0
