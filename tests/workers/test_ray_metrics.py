"""Ray's own metrics of a search: their values, and that its Prometheus endpoint shows them."""

from __future__ import annotations

import re
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from generation_records import record, timing
from small_search import records, run_search

from raynas.errors import InputError
from raynas.workers import ray_metrics
from raynas.workers.open_pool import require_dashboard


@pytest.fixture
def values(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The values of all gauges, by name and labels, without a Ray."""
    found: dict[str, Any] = {}

    class Gauge:
        """A gauge that notes its value."""

        def __init__(self, name: str, description: str, labels: tuple[str, ...] = ()) -> None:
            assert description.endswith(".")
            self.name, self.labels = name, labels

        def set(self, value: float, labels: dict[str, str] | None = None) -> None:
            """Note a value."""
            assert tuple(labels or ()) == self.labels
            assert type(value) in (int, float)
            found["|".join([self.name, *(labels or {}).values()])] = value

    monkeypatch.setattr(ray_metrics, "Gauge", Gauge)
    for name, amount in (("cluster_resources", 1000.0), ("available_resources", 400.0)):
        totals = {"object_store_memory": amount, "CPU": 2.0}
        monkeypatch.setattr(ray_metrics.ray, name, lambda totals=totals: totals)
    return found


def test_a_generation_is_shown_under_its_run(values: dict[str, Any]) -> None:
    gauges = ray_metrics.SearchGauges()
    gauges.queue(7)
    gauges.generation("runs/a", record(), timing(seconds=1.5))
    assert values == {
        "raynas_queue_length": 7,
        "raynas_frozen_blocks|runs/a": 1,
        "raynas_candidates_per_second|runs/a": 2.0,
        "raynas_best|runs/a|top1": 0.9125,
        "raynas_stored_bytes": 600.0,
    }


@pytest.mark.parametrize(
    ("changes", "metrics"),
    [
        ({"best": None, "population": [], "rescored": []}, timing()),
        ({"best": {"architecture": [0], "top1": None}}, {}),
    ],
)
def test_what_is_not_known_is_not_shown(
    values: dict[str, Any], changes: dict[str, Any], metrics: dict[str, Any]
) -> None:
    ray_metrics.SearchGauges().generation("runs/a", record(**changes), metrics)
    assert values == {"raynas_frozen_blocks|runs/a": 1, "raynas_stored_bytes": 600.0}


def test_a_dashboard_needs_workers_that_are_started_for_it(tmp_path: Path) -> None:
    require_dashboard(True, None)
    require_dashboard(False, 0)
    for given in ({"workers": 0}, {"pool": object()}):
        with pytest.raises(InputError, match="dashboard: expected workers on Ray"):
            run_search(tmp_path / "run", **given, dashboard=True)
    with pytest.raises(InputError, match="dashboard: expected True or False"):
        run_search(tmp_path / "run", dashboard="yes")
    assert not (tmp_path / "run").exists()


def read(address: str) -> str:
    """The text at an address of this machine."""
    with urllib.request.urlopen(address) as answer:
        assert answer.status == 200
        return str(answer.read().decode())


def shown(port: int, run: Path) -> dict[str, float]:
    """The metrics of raynas that Ray's endpoint shows; those with a run, of this one."""
    found = {}
    for line in read(f"http://127.0.0.1:{port}/metrics").splitlines():
        matched = re.fullmatch(r"ray_raynas_(\w+)\{(.*)\} (\S+)", line)
        if matched and ("run=" not in matched[2] or f'run="{run}"' in matched[2]):
            found[matched[1]] = float(matched[3])
    return found


@pytest.mark.ray
@pytest.mark.slow
def test_the_prometheus_endpoint_and_the_dashboard_show_a_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import ray

    from raynas.workers.ray_cluster import connected

    monkeypatch.setenv("RAY_ADDRESS", "local")
    monkeypatch.setenv("RAY_metrics_report_interval_ms", "200")
    with connected(dashboard=True):
        told = re.search(r"^Ray's dashboard: (http://127\.0\.0\.1:\d+);", capsys.readouterr().out)
        assert told is not None
        assert "<html" in read(told[1])
        run_search(tmp_path / "run", workers=1, dashboard=True)
        assert f"Ray's dashboard: {told[1]};" in capsys.readouterr().out, "of the joined cluster"
        (node,) = ray.nodes()
        last = records(tmp_path / "run")[-1]
        timed = records(tmp_path / "run", "metrics.jsonl")[-1]
        wanted = {"frozen_blocks": last["frozen"], "best": last["best"]["top1"]}
        if timed["candidates"]:
            wanted["candidates_per_second"] = timed["candidates"] / timed["seconds"]
        # The finalists are scored behind the last generation; then nothing waits.
        wanted["queue_length"] = 0
        found: dict[str, float] = {}
        while not found or any(found.get(name) != value for name, value in wanted.items()):
            time.sleep(0.1)
            found = shown(node["MetricsExportPort"], tmp_path / "run")
        assert found["stored_bytes"] > 0
