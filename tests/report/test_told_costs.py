"""What a run took, as a report tells it: its parts, totals so far, and readable numbers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from written_runs import GENERATIONS, metrics, result, write_run

from raynas.report.facts import comparison, members
from raynas.report.runs import ReportedRun, read_runs
from raynas.report.settings import limits_of
from raynas.report.spending import consumed, spent
from raynas.report.units import count_text, energy_text, mass_text


def read(directory: Path) -> ReportedRun:
    (run,), _ = read_runs([directory])
    return run


def test_an_unfinished_run_is_told_its_costs_so_far(tmp_path: Path) -> None:
    write_run(tmp_path, generations=GENERATIONS[:2])
    replay = {"seconds": 2.0, "workers": 2, "busy_seconds": 0.0, "energy_j": 5.0, "co2_g": 0.5,
              "energy_source": "measured", "energy_missing": "GPU-a: reset"}  # fmt: skip
    own = [
        metrics(0, energy_j=100.0, energy_source="estimated", busy_seconds=8.0, co2_g=1.0),
        metrics(1, energy_j=50.0, energy_source="measured", busy_seconds=1.0, co2_g=1.0,
                replay=replay),
    ]  # fmt: skip
    (tmp_path / "metrics.jsonl").write_text("".join(f"{json.dumps(each)}\n" for each in own))
    told = dict(consumed(read(tmp_path)))
    # Nine busy seconds of two workers in ten seconds, those of the resume among them.
    assert told["wall time"] == "10.0 s"
    assert told["workers busy"] == "9.00 s"
    assert told["utilisation"] == "45%"
    assert (
        told["energy"] == "155 J (estimated); not in it: GPU-a: reset (in 1 of 3 parts of the run)"
    )
    assert told["CO₂"] == "2.5 g"
    assert ("reading records back to resume", "2.00 s", "20%") in spent(read(tmp_path))


def test_what_no_generation_knows_is_not_told(tmp_path: Path) -> None:
    write_run(tmp_path, generations=GENERATIONS[:1])
    unknown = metrics(0, busy=None, busy_seconds=None, energy_missing="no counters")
    (tmp_path / "metrics.jsonl").write_text(f"{json.dumps(unknown)}\n")
    told = dict(consumed(read(tmp_path)))
    assert told["energy"] == "not measured; no counters"
    assert not {"utilisation", "workers busy", "CO₂"} & told.keys()


def test_why_something_was_not_measured_is_told(tmp_path: Path) -> None:
    missing = {"energy_j": None, "energy_source": None, "co2_g": None,
               "energy_missing": "no counter can be read on node-2"}  # fmt: skip
    told = dict(consumed(read(write_run(tmp_path, ended=result(**missing)))))
    assert told["energy"] == "not measured; no counter can be read on node-2"
    assert "CO₂" not in told


def test_reading_back_is_a_part_of_a_finished_run(tmp_path: Path) -> None:
    write_run(tmp_path, ended=result(seconds=20.0, replay_seconds=2.0))
    told = spent(read(tmp_path))
    assert told[-2:] == [
        ("reading records back to resume", "2.00 s", "10%"),
        ("finalists in full, and the test", "2.00 s", "10%"),
    ]


@pytest.mark.parametrize(
    ("tell", "value", "text"),
    [
        (energy_text, 999.4, "999 J"),
        (energy_text, 999.6, "1 kJ"),
        (energy_text, 999_600.0, "1 MJ"),
        (energy_text, 1.2345e9, "1,234 MJ"),
        (mass_text, 999.4, "999 g"),
        (mass_text, 999.6, "1 kg"),
        (mass_text, 1_234_500.0, "1,234 kg"),
        (count_text, 9_999.6, "10,000"),
        (count_text, 9_999.4, "9,999"),
    ],
)
def test_large_numbers_have_no_powers_of_ten(
    tell: Callable[[object], str], value: float, text: str
) -> None:
    assert tell(value) == text


def test_seconds_of_networks_are_milliseconds(tmp_path: Path) -> None:
    winner = {**result()["front"][0], "costs": {"flops": 7, "latency": 0.0005786}}
    ended = result(costs=winner["costs"], front=[winner])
    limits = {"latency": {"at_most": 0.0006, "table": "0a"}}
    run = read(write_run(tmp_path, ended=ended, constraint=limits))
    assert dict(members(run)[0].facts)["latency (ms)"] == "0.5786"
    assert dict(comparison([run]))["latency (ms)"] == ["0.5786"]
    assert limits_of(run) == [("limit on latency (ms)", "at most 0.6, by the table 0a")]
