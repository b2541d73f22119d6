"""Joules, hours and grams as they are recorded: measured, estimated, or unknown with a reason."""

from __future__ import annotations

from typing import Any

import pytest
from fake_machines import HERE, THERE

import raynas
from raynas.errors import InputError
from raynas.metering.bills import EARLIER, Energy, busy_record, energy_of, gpu_hours, total
from raynas.metering.gauges import Kind
from raynas.metering.sampler import Host
from raynas.metering.settings import CO2_PER_KWH, Metering
from raynas.metering.spending import Spending


def part(
    device: str,
    joules: float,
    unknown: float = 0.0,
    *,
    host: Host = HERE,
    seconds: float = 10.0,
    reason: str = "no counter",
) -> Spending:
    kind: Kind = "gpu" if device.startswith("GPU") else "cpu"
    return Spending(host, device, kind, seconds, joules, unknown, reason if unknown else "")


def test_what_is_measured_is_added_up() -> None:
    parts = [part("package-0", 500.0), part("package-1", 400.0), part("GPU-a", 3_000.0)]
    stated = Metering(watts=1e6)
    for settings in (Metering(), stated, Metering(cpu_watts=1e6, gpu_watts=1e6)):
        assert energy_of(parts, settings) == Energy(3_900.0, "measured", None)


def test_a_part_that_cannot_be_measured_is_named() -> None:
    parts = [part("package-0", 0.0, 10.0), part("GPU-a", 3_000.0)]
    assert energy_of(parts, Metering()) == Energy(3_000.0, "measured", "package-0: no counter")
    parts[1] = part("GPU-a", 2_000.0, 2.5, reason="reset")
    assert energy_of(parts, Metering()) == Energy(
        2_000.0, "measured", "package-0: no counter; GPU-a for 2.5 s: reset"
    )


def test_nothing_is_invented_where_nothing_is_known() -> None:
    parts = [part("processors", 0.0, 10.0), part("GPU-a", 0.0, 10.0, reason="no driver")]
    assert energy_of(parts, Metering()) == Energy(
        None, None, "processors: no counter; GPU-a: no driver"
    )
    assert energy_of([], Metering()) == Energy(None, None, "nothing measures it")


def test_hosts_are_named_where_there_are_several() -> None:
    parts = [part(f"GPU-{n}", 0.0, 10.0, host=host) for host in (HERE, THERE) for n in (1, 2)]
    found = energy_of([*parts, part("package-0", 5.0)], Metering())
    assert found.missing == ("GPU-1 of alpha, GPU-2 of alpha, GPU-1 of beta and 1 more: no counter")


def test_the_power_of_parts_stands_for_those_that_are_not_measured() -> None:
    parts = [part("package-0", 500.0), part("package-1", 0.0, 10.0), part("GPU-a", 0.0, 10.0)]
    settings = Metering(cpu_watts=200.0, gpu_watts=300.0)
    # Half of the processors' power for one of two packages.
    assert energy_of(parts, settings) == Energy(500.0 + 1_000.0 + 3_000.0, "estimated", None)
    assert energy_of(parts, Metering(cpu_watts=200.0)) == Energy(
        1_500.0, "estimated", "GPU-a: no counter"
    )


def test_the_power_of_a_gap_is_that_of_its_seconds() -> None:
    parts = [part("GPU-a", 2_400.0, 2.0)]
    assert energy_of(parts, Metering(gpu_watts=250.0)) == Energy(2_900.0, "estimated", None)
    # The joules are those of the eight seconds that were measured: none of them are in the gap.
    assert energy_of(parts, Metering(watts=250.0)) == Energy(
        pytest.approx(2_400.0 + 500.0), "estimated", None
    )
    parts = [part("GPU-a", 2_400.0, 2.0), part("package-0", 500.0)]
    # Of the processors, two of ten seconds are in the gap, where the machine's power has them.
    assert energy_of(parts, Metering(watts=250.0)) == Energy(
        pytest.approx(2_400.0 + 0.8 * 500.0 + 500.0), "estimated", None
    )


def test_the_power_of_a_machine_is_that_of_each_that_works() -> None:
    parts = [
        part("processors", 0.0, 10.0),
        part("GPU-a", 2_000.0),
        part("processors", 0.0, 4.0, host=THERE, seconds=4.0),
    ]
    # The GPU is in the power of its machine; the other machine joined later.
    assert energy_of(parts, Metering(watts=500.0)) == Energy(7_000.0, "estimated", None)
    parts[0] = part("package-0", 800.0)
    assert energy_of(parts, Metering(watts=500.0)) == Energy(4_800.0, "estimated", None)


def test_gpus_count_once_each_for_as_long_as_they_belong_to_the_search() -> None:
    parts = [part("GPU-a", 0.0, 10.0), part("package-0", 0.0), part("GPU-b", 1.0, seconds=2.0)]
    assert gpu_hours(parts, 7, 10.0) == pytest.approx(12.0 / 3600.0)
    assert gpu_hours(parts[1:2], 3, 10.0) == pytest.approx(30.0 / 3600.0)
    assert gpu_hours([], 0, 10.0) is None


def test_grams_of_a_kilowatt_hour() -> None:
    record = Energy(1.8e6, "measured", None).record(Metering(co2_per_kwh=50.0))
    assert record["co2_g"] == 25.0
    assert Energy(3.6e6, "measured", None).record(Metering())["co2_g"] == CO2_PER_KWH == 445.0
    assert Energy(None, None, "why").record(Metering())["co2_g"] is None


def costs(seconds: float, joules: float | None, **changes: Any) -> dict[str, Any]:
    """The record of a part of a run."""
    return {
        "seconds": seconds,
        "workers": 2,
        "busy": {"score": seconds},
        "gpu_hours": seconds / 3600.0,
        "energy_j": joules,
        "energy_source": None if joules is None else "measured",
        "energy_missing": None,
        **changes,
    }


def test_a_run_is_the_sum_of_its_parts() -> None:
    parts = [costs(10.0, 3.6e6), costs(30.0, 3.6e6, busy={"score": 20.0, "advance": 10.0})]
    assert total(parts, Metering(co2_per_kwh=100.0)) == {
        "seconds": 40.0,
        "busy": {"score": 30.0, "advance": 10.0},
        "busy_seconds": 40.0,
        "utilisation": 0.5,
        "gpu_hours": pytest.approx(40.0 / 3600.0),
        "energy_j": 7.2e6,
        "energy_source": "measured",
        "energy_missing": None,
        "co2_g": 200.0,
        "co2_g_per_kwh": 100.0,
    }


def test_a_run_of_which_a_part_is_not_known() -> None:
    parts = [costs(10.0, 5.0), costs(10.0, None, energy_missing="no counter"), costs(1.0, 2.0)]
    found = total(parts, Metering())
    assert (found["energy_j"], found["energy_source"], found["co2_g"]) == (None, None, None)
    assert found["energy_missing"] == "no counter (in 1 of 3 parts of the run)"
    everywhere = total([parts[1]] * 3, Metering())
    assert everywhere["energy_missing"] == "no counter"


def test_a_run_with_an_estimated_part_is_estimated() -> None:
    parts = [costs(10.0, 5.0, energy_missing="x: y"), costs(10.0, 5.0, energy_source="estimated")]
    found = total(parts, Metering())
    assert (found["energy_j"], found["energy_source"]) == (10.0, "estimated")
    assert found["energy_missing"] == "x: y (in 1 of 2 parts of the run)"


def test_many_reasons_are_not_all_told() -> None:
    parts = [costs(1.0, 1.0, energy_missing=f"GPU-a for {n} s: reset") for n in range(5)]
    found = total(parts, Metering())["energy_missing"]
    assert found.count("reset") == 3
    assert found.endswith("; and 2 more")


def test_records_of_earlier_versions() -> None:
    earlier = {"seconds": 10.0, "workers": 0, "energy_j": 7.0}
    found = total([earlier, costs(10.0, 5.0)], Metering())
    assert (found["energy_j"], found["busy"], found["utilisation"]) == (12.0, None, None)
    assert found["energy_missing"] == f"{EARLIER} (in 1 of 2 parts of the run)"
    found = total([{**earlier, "energy_j": None}, costs(10.0, 5.0)], Metering())
    assert found["energy_j"] is None
    assert found["energy_missing"].startswith(EARLIER)


def test_no_part_is_no_energy() -> None:
    found = total([], Metering())
    assert (found["seconds"], found["energy_j"], found["utilisation"]) == (0, None, None)


def test_utilisation_is_a_share() -> None:
    assert busy_record({"score": 2.0}, 8.0)["utilisation"] == 0.25
    # More than there was room for is told as it was counted.
    assert busy_record({"score": 12.0}, 8.0)["utilisation"] == 1.5
    assert busy_record({}, 8.0) == {"busy": {}, "busy_seconds": 0, "utilisation": 0.0}
    assert set(busy_record(None, 8.0).values()) == {None}


@pytest.mark.parametrize(
    ("settings", "argument"),
    [
        ({"co2_per_kwh": -1.0}, "co2_per_kwh"),
        ({"co2_per_kwh": float("nan")}, "co2_per_kwh"),
        ({"co2_per_kwh": None}, "co2_per_kwh"),
        ({"watts": "300"}, "watts"),
        ({"watts": float("inf")}, "watts"),
        ({"gpu_watts": True}, "gpu_watts"),
        ({"watts": 300.0, "gpu_watts": 100.0}, "watts"),
    ],
)
def test_settings_that_cannot_be_used(settings: dict[str, Any], argument: str) -> None:
    with pytest.raises(InputError) as caught:
        raynas.Metering(**settings)
    assert caught.value.argument == argument
