"""Machines of known power: joules within 1 % of the integral, and nothing guessed of the rest."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pynvml
import pytest
from fake_machines import RANGE_J, Clock, Curve, FakeGpu, FakeNvml, Powercap, constant, wave

from raynas.metering import nvml, rapl
from raynas.metering.gauges import PROCESSORS, Absent, Gauge
from raynas.metering.sampler import COUNTER_SECONDS, POWER_SECONDS, Sampler, this_host
from raynas.metering.tallies import RESTARTED, Tally

CURVES = {
    "constant": constant(250.0),
    "slow swing": wave(300.0, 250.0, 60.0),
    "fast swing": wave(120.0, 100.0, 1.5),
}


def run(
    sampler: Sampler,
    clock: Clock,
    seconds: float,
    cap: Powercap | None = None,
    step: float | None = None,
) -> list[Tally]:
    """Let time pass, with readings as often as the sampler's thread takes them; what it knows."""
    for now in np.arange(clock.now, clock.now + seconds, step or sampler.interval)[1:]:
        pass_time(clock, float(now) - clock.now, cap)
        sampler.snapshot()
    return list(sampler.snapshot().tallies)


def pass_time(clock: Clock, seconds: float, cap: Powercap | None = None) -> None:
    """Let time pass without a reading."""
    clock.now += seconds
    if cap is not None:
        cap.write()


@pytest.mark.parametrize("curve", CURVES.values(), ids=CURVES)
@pytest.mark.parametrize("counts", [True, False], ids=["counter", "power"])
def test_a_gpu_of_known_power(counts: bool, curve: Curve) -> None:
    clock = Clock()
    sampler = Sampler(nvml.gpus(["GPU-a"], FakeNvml(clock, {"GPU-a": FakeGpu(curve, counts)})),
                      clock=clock)  # fmt: skip
    assert sampler.interval == (COUNTER_SECONDS if counts else POWER_SECONDS)
    (tally,) = run(sampler, clock, 97.3)
    assert tally.joules == pytest.approx(curve(clock.now), rel=0.01)
    assert (tally.unknown, tally.reason) == (0.0, "")
    assert (tally.counter is None) == (not counts)


@pytest.mark.parametrize("curve", CURVES.values(), ids=CURVES)
def test_packages_of_known_power_wrap_around_many_times(tmp_path: Path, curve: Curve) -> None:
    clock = Clock()
    cap = Powercap(tmp_path, clock, curve, constant(90.0), start=RANGE_J - 1.0)
    sampler = Sampler(rapl.packages(tmp_path), clock=clock)
    first, second = run(sampler, clock, 3600.0, cap, step=50.0)
    assert curve(clock.now) > 5 * RANGE_J
    assert first.joules == pytest.approx(curve(clock.now), rel=1e-6)
    assert second.joules == pytest.approx(90.0 * clock.now, rel=1e-6)
    assert (first.device, second.device) == ("package-0", "package-1")
    assert first.unknown == second.unknown == 0


def test_a_wrap_that_nobody_saw_is_not_passed_over(tmp_path: Path) -> None:
    clock = Clock()
    cap = Powercap(tmp_path, clock, constant(200.0))
    sampler = Sampler(rapl.packages(tmp_path), clock=clock)
    (before,) = run(sampler, clock, 60.0, cap)
    pass_time(clock, 1.5 * RANGE_J / 200.0, cap)
    (after,) = sampler.snapshot().tallies
    assert after.joules == before.joules, "what is not known is not added"
    assert after.unknown == pytest.approx(1.5 * RANGE_J / 200.0)
    assert after.reason == f"its counter may have wrapped around unseen in {after.unknown:.0f} s"


def test_a_package_whose_counter_began_anew_did_not_wrap_around(tmp_path: Path) -> None:
    clock = Clock()
    cap = Powercap(tmp_path, clock, constant(100.0), start=RANGE_J / 2)
    sampler = Sampler(rapl.packages(tmp_path), clock=clock)
    run(sampler, clock, 20.0, cap)
    cap.zone("0", "package-0", 3.0)
    clock.now += 5.0
    (tally,) = sampler.snapshot().tallies
    assert (tally.reason, tally.unknown) == (RESTARTED, 5.0)


def test_parts_of_packages_are_not_counted_twice(tmp_path: Path) -> None:
    cap = Powercap(tmp_path, Clock(), constant(1.0))
    for number, name in {"0:0": "core", "0:1": "dram", "1": "psys"}.items():
        cap.zone(number, name)
    cap_inside = Powercap(tmp_path / "intel-rapl", Clock(), constant(1.0))
    assert cap_inside.folder.exists()
    (tmp_path / "intel-rapl-mmio:0").mkdir()
    (tmp_path / "intel-rapl-mmio:0" / "name").write_text("package-0\n")
    assert [gauge.device for gauge in rapl.packages(tmp_path)] == ["package-0"]


def test_a_package_without_a_known_range_never_wraps(tmp_path: Path) -> None:
    clock = Clock()
    zone = Powercap(tmp_path, clock, constant(100.0)).zone("0", "package-0", 50.0)
    (zone / "max_energy_range_uj").unlink()
    sampler = Sampler(rapl.packages(tmp_path), clock=clock)
    (zone / "energy_uj").write_text("2000000\n")
    clock.now = 5.0
    (tally,) = sampler.snapshot().tallies
    assert (tally.joules, tally.reason) == (0.0, RESTARTED)


def test_without_any_counter_it_says_so(tmp_path: Path) -> None:
    (gauge,) = rapl.packages(tmp_path / "absent")
    assert isinstance(gauge, Absent)
    clock = Clock()
    sampler = Sampler([gauge], clock=clock).start()
    clock.now = 7.0
    (tally,) = sampler.snapshot().tallies
    assert tally == Tally(PROCESSORS, "cpu", 0.0, 7.0, f"no energy counters in {tmp_path}/absent")
    assert sampler._thread is None, "there is nothing to read"


@pytest.mark.parametrize("content", ["", "no number", None])
def test_a_counter_that_cannot_be_read_for_a_while(content: str | None, tmp_path: Path) -> None:
    clock = Clock()
    cap = Powercap(tmp_path, clock, constant(100.0))
    sampler = Sampler(rapl.packages(tmp_path), clock=clock)
    run(sampler, clock, 20.0, cap)
    file = tmp_path / "intel-rapl:0" / "energy_uj"
    if content is None:
        file.unlink()
    else:
        file.write_text(content)
    clock.now = 20.0
    (tally,) = sampler.snapshot().tallies
    assert (tally.unknown, tally.counter) == (5.0, None)
    assert tally.reason.startswith(f"{file}: ")
    pass_time(clock, 5.0, cap)
    pass_time(clock, 0.0, cap)
    (tally,) = sampler.snapshot().tallies
    assert (tally.unknown, tally.joules) == (10.0, pytest.approx(1500.0))
    pass_time(clock, 5.0, cap)
    assert sampler.snapshot().tallies[0].joules == pytest.approx(2000.0), "it goes on"


def test_counters_that_only_root_may_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    Powercap(tmp_path, clock, constant(100.0))
    read = Path.read_text

    def refuse(path: Path) -> str:
        if path.name == "energy_uj":
            raise PermissionError(13, "Permission denied")
        return read(path)

    monkeypatch.setattr(Path, "read_text", refuse)
    sampler = Sampler(rapl.packages(tmp_path), clock=clock)
    clock.now = 3.0
    (tally,) = sampler.snapshot().tallies
    assert (tally.device, tally.joules, tally.unknown) == ("package-0", 0.0, 3.0)
    assert tally.reason == (
        f"counters in {tmp_path} may be read by root alone (chmod a+r */energy_uj lets all read "
        "them)"
    )


def test_a_gpu_that_was_reset_and_one_that_is_lost() -> None:
    clock = Clock()
    fake = FakeNvml(clock, {"GPU-a": FakeGpu(constant(300.0)), "GPU-b": FakeGpu(constant(100.0))})
    sampler = Sampler(nvml.gpus(list(fake.gpus), fake), clock=clock)
    run(sampler, clock, 50.0)
    clock.now = 54.0
    fake.gpus["GPU-a"].reset = 53.0
    fake.gpus["GPU-b"].error = pynvml.NVML_ERROR_GPU_IS_LOST
    reset, lost = sampler.snapshot().tallies
    assert (reset.unknown, reset.reason) == (9.0, RESTARTED)
    assert lost.unknown == 9.0
    assert lost.reason == "NVML: NVMLError_GpuIsLost: GPU is lost"
    fake.gpus["GPU-b"].error = None
    clock.now = 60.0
    reset, lost = sampler.snapshot().tallies
    assert reset.joules == pytest.approx(300.0 * (45.0 + 6.0)), "it goes on"
    assert lost.unknown == 15.0
    clock.now = 61.0
    assert sampler.snapshot().tallies[1].joules == pytest.approx(100.0 * (45.0 + 1.0))
    sampler.close()
    assert fake.sessions == 0


def test_a_power_that_was_not_read_often_enough_is_not_guessed() -> None:
    clock = Clock()
    fake = FakeNvml(clock, {"GPU-a": FakeGpu(constant(300.0), counts=False)})
    sampler = Sampler(nvml.gpus(["GPU-a"], fake), clock=clock)
    clock.now = 30.0
    (tally,) = sampler.snapshot().tallies
    assert (tally.joules, tally.unknown) == (0.0, 30.0)
    assert tally.reason == "its power was read only after 30 s"


@pytest.mark.parametrize("name", ["LIBRARY_NOT_FOUND", "NO_PERMISSION", "DRIVER_NOT_LOADED"])
def test_gpus_without_nvml(name: str) -> None:
    code = getattr(pynvml, f"NVML_ERROR_{name}")
    fake = FakeNvml(Clock(), {"GPU-a": FakeGpu(constant(1.0))}, missing=code)
    (gauge,) = nvml.gpus(["GPU-a"], fake)
    assert (gauge.device, type(gauge)) == ("GPU-a", Absent)
    assert nvml.gpus([]) == [], "no GPU is used"


def test_a_gpu_that_nvml_does_not_know() -> None:
    clock = Clock()
    sampler = Sampler(nvml.gpus(["GPU 0"], FakeNvml(clock, {})), clock=clock)
    clock.now = 1.0
    (tally,) = sampler.snapshot().tallies
    assert (tally.device, tally.unknown) == ("GPU 0", 1.0)
    assert tally.reason.startswith("NVML: NVMLError_NotFound")


def test_instances_of_one_gpu_share_its_counter() -> None:
    clock = Clock()
    whole = FakeGpu(constant(400.0))
    parts = {f"MIG-{name}": FakeGpu(constant(0.0), parent="GPU-a") for name in "xy"}
    fake = FakeNvml(clock, {"GPU-a": whole, **parts})
    gauges = nvml.gpus(["GPU-x", "MIG-y"], fake)
    assert [gauge.device for gauge in gauges] == ["GPU-a"]
    sampler = Sampler(gauges, clock=clock)
    clock.now = 2.0
    assert sampler.snapshot().tallies[0].joules == 800.0
    sampler.close()
    assert fake.sessions == 0


class Counting(Gauge):
    """A gauge that tells how often it was read."""

    device, kind, unit = "GPU-a", "gpu", "W"

    def __init__(self) -> None:
        self.reads, self.read_again = 0, threading.Event()

    def read(self) -> float:
        self.reads += 1
        if self.reads >= 3:
            self.read_again.set()
        return 0.0


def test_a_thread_reads_in_between_and_ends_with_the_sampler() -> None:
    gauge = Counting()
    sampler = Sampler([gauge]).start()
    assert gauge.read_again.wait(60.0)
    assert sampler.start() is sampler, "starting it twice does nothing"
    sampler.close()
    assert not [each for each in threading.enumerate() if each.name == "raynas-meter"]


def test_the_host_is_the_same_in_every_process() -> None:
    assert this_host() == this_host()
    assert this_host().key
