"""The meter of a search: seconds, GPU hours and joules of the same work, whoever does it."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from fake_machines import (
    HERE,
    THERE,
    Clock,
    Crew,
    FakeGpu,
    FakeNvml,
    Powercap,
    constant,
    gpu,
    snapshot,
    wave,
)
from small_search import determined, history, interrupt, records, run_search

from raynas.errors import InputError
from raynas.metering import nvml, rapl
from raynas.metering.gauges import Gauge
from raynas.metering.meter import UNSEEN, Meter
from raynas.metering.sampler import Host, Sampler
from raynas.metering.settings import Metering
from raynas.report.read import read_run


class Cluster:
    """Hosts of known power, whose processes each have a sampler; one clock for all."""

    def __init__(self, folder: Path) -> None:
        self.clock = Clock()
        self.folder = folder
        self.caps: list[Powercap] = []
        self.gpus = {"GPU-a": FakeGpu(wave(300.0, 200.0, 20.0)), "GPU-b": FakeGpu(constant(150.0))}
        self.nvml = FakeNvml(self.clock, self.gpus)
        self.samplers: list[Sampler] = []

    def cap(self, host: Host, watts: float) -> Powercap:
        """The packages of a host."""
        cap = Powercap(self.folder / host.name, self.clock, constant(watts))
        self.caps.append(cap)
        return cap

    def process(self, host: Host, cap: Powercap | None, *gpus: str) -> Sampler:
        """The sampler of a process on a host that uses some GPUs."""
        gauges: list[Gauge] = [] if cap is None else rapl.packages(cap.folder)
        sampler = Sampler([*gauges, *nvml.gpus(gpus, self.nvml)], host, self.clock)
        self.samplers.append(sampler)
        return sampler

    def work(self, seconds: float) -> None:
        """Let time pass, while all processes read their gauges."""
        end = self.clock.now + seconds
        while self.clock.now < end:
            self.clock.now = min(end, self.clock.now + 20.0)
            for cap in self.caps:
                cap.write()
            for sampler in self.samplers:
                sampler.snapshot()


def test_a_cluster_of_known_power(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    here, there = cluster.cap(HERE, 80.0), cluster.cap(THERE, 120.0)
    driver = cluster.process(HERE, here)
    workers = [
        cluster.process(HERE, here, "GPU-a"),
        cluster.process(HERE, here, "GPU-a"),
        cluster.process(THERE, there, "GPU-b"),
    ]
    crew = Crew(workers=3, gpus=3, busy={"score": 5.0})
    meter = Meter(Metering(co2_per_kwh=500.0), driver, cluster.clock)
    cluster.work(13.0)
    crew.snapshots = [each.snapshot() for each in workers]
    lap = meter.begin(crew)
    cluster.work(1_234.5)
    crew.snapshots = [each.snapshot() for each in workers]
    crew.counters.busy = {"score": 1_005.0, "advance": 851.75}
    record = lap.end()
    begun, ended = 13.0, 13.0 + 1_234.5
    a = cluster.gpus["GPU-a"].curve
    joules = (80.0 + 120.0 + 150.0) * 1_234.5 + a(ended) - a(begun)
    assert record["seconds"] == 1_234.5
    assert record["energy_j"] == pytest.approx(joules, rel=0.01)
    assert (record["energy_source"], record["energy_missing"]) == ("measured", None)
    assert record["co2_g"] == pytest.approx(joules / 3.6e6 * 500.0, rel=0.01)
    assert record["gpu_hours"] == pytest.approx(2 * 1_234.5 / 3600.0), "two share one"
    assert record["busy"] == {"score": 1_000.0, "advance": 851.75}
    assert record["busy_seconds"] == 1_851.75
    assert record["utilisation"] == pytest.approx(0.5)
    assert record["workers"] == 3


def test_only_gpus_that_are_used_are_counted(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    driver = cluster.process(HERE, cluster.cap(HERE, 10.0), "GPU-b")
    lap = Meter(None, driver, cluster.clock).begin(Crew(gpus=1, busy={}))
    cluster.work(100.0)
    record = lap.end()
    assert record["energy_j"] == pytest.approx(160.0 * 100.0, rel=1e-6)
    assert record["utilisation"] == 0.0


def test_laps_that_follow_each_other_add_up_to_the_whole(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    driver = cluster.process(HERE, cluster.cap(HERE, 70.0), "GPU-a")
    meter = Meter(None, driver, cluster.clock)
    joules = 0.0
    for seconds in (0.25, 3.0, 700.0, 0.0):
        lap = meter.begin(Crew())
        cluster.work(seconds)
        joules += lap.end()["energy_j"]
    whole = 70.0 * cluster.clock.now + cluster.gpus["GPU-a"].curve(cluster.clock.now)
    assert joules == pytest.approx(whole, rel=1e-6)


def test_workers_whose_machines_nobody_reads_are_named(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    driver = cluster.process(HERE, cluster.cap(HERE, 70.0))
    meter = Meter(None, driver, cluster.clock)
    laps = [meter.begin(Crew(workers=workers, gpus=2)) for workers in (0, 4)]
    cluster.work(36.0)
    own, others = (lap.end() for lap in laps)
    assert (own["energy_missing"], others["energy_missing"]) == (None, UNSEEN)
    assert own["energy_j"] == pytest.approx(70.0 * 36.0)
    assert own["gpu_hours"] == pytest.approx(0.02)
    assert own["busy"] is own["busy_seconds"] is own["utilisation"] is None


def test_a_worker_whose_meter_never_answers_is_not_left_out_in_silence(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    driver = cluster.process(HERE, cluster.cap(HERE, 70.0))
    worker = cluster.process(THERE, cluster.cap(THERE, 30.0))
    crew = Crew(workers=2)
    crew.snapshots = [worker.snapshot()]
    lap = Meter(None, driver, cluster.clock).begin(crew)
    cluster.work(36.0)
    crew.snapshots = [worker.snapshot()]
    record = lap.end()
    assert record["energy_j"] == pytest.approx(100.0 * 36.0)
    assert record["energy_missing"] == "machines of 1 of 2 workers: their meters were not read"


def test_a_machine_that_joins_and_one_that_is_lost(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    driver = cluster.process(HERE, cluster.cap(HERE, 50.0))
    crew = Crew(workers=1, gpus=1)
    crew.snapshots = [snapshot("old", 60.0, gpu(1e5), host=THERE)]
    lap = Meter(None, driver, cluster.clock).begin(crew)
    cluster.work(60.0)
    cap = cluster.cap(Host("new", "gamma"), 100.0)
    joined = cluster.process(Host("new", "gamma"), cap, "GPU-b")
    cluster.work(40.0)
    crew.snapshots = [joined.snapshot()]
    record = lap.end()
    assert record["energy_j"] == pytest.approx(50.0 * 100.0 + 250.0 * 40.0, rel=1e-6)
    assert record["energy_missing"] == "GPU-a of beta: the machine was lost"
    assert record["gpu_hours"] == pytest.approx((100.0 + 40.0) / 3600.0)


def test_costs_that_are_kept_are_taken_once(tmp_path: Path) -> None:
    meter = Meter(None, Cluster(tmp_path).process(HERE, None))
    meter.keep({"seconds": 1.0})
    assert (meter.take_kept(), meter.take_kept()) == ({"seconds": 1.0}, None)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search that was interrupted under one setting and resumed under another."""
    run_dir = tmp_path_factory.mktemp("measured") / "run"
    interrupt(run_dir, 2, metering=Metering(watts=100.0, co2_per_kwh=36.0))
    run_search(run_dir, resume=True, metering=Metering(watts=200.0, co2_per_kwh=72.0))
    return run_dir


def test_nothing_that_is_found_depends_on_the_metering(measured: Path, tmp_path: Path) -> None:
    run_search(tmp_path / "plain", metering=Metering(co2_per_kwh=72.0))
    assert history(measured) == history(tmp_path / "plain")
    assert determined(measured) == determined(tmp_path / "plain")
    assert (measured / "config.json").read_bytes() == (tmp_path / "plain/config.json").read_bytes()


def test_seconds_and_joules_of_a_resumed_search_are_of_the_same_work(measured: Path) -> None:
    metrics = records(measured, "metrics.jsonl")
    result = read_run(measured).require_result()
    assert ["replay" in each for each in metrics] == [False, False, True, *[False] * 3]
    replay = metrics[2]["replay"]
    assert result["replay_seconds"] == replay["seconds"] > 0
    assert result["seconds"] == pytest.approx(
        sum(each["seconds"] for each in (*metrics, replay)) + result["final_seconds"]
    )
    earlier = sum(each["seconds"] for each in metrics[:2])
    assert result["energy_source"] in ("estimated", "measured")
    if result["energy_source"] == "estimated":
        # No counter of this machine's processors can be read.
        wanted = 100.0 * earlier + 200.0 * (result["seconds"] - earlier)
        assert result["energy_j"] == pytest.approx(wanted)
        assert result["energy_missing"] is None
    assert result["co2_g"] == pytest.approx(result["energy_j"] / 3.6e6 * 72.0)
    assert result["co2_g_per_kwh"] == 72.0
    assert result["gpu_hours"] is None


def test_busy_seconds_are_those_of_the_operations_of_a_generation(measured: Path) -> None:
    metrics = records(measured, "metrics.jsonl")
    assert set(metrics[0]["busy"]) == {"calibrate", "score"}
    frozen = [each["frozen"] for each in metrics]
    grew = [after > before for before, after in itertools.pairwise((0, *frozen))]
    assert any(grew)
    assert [("advance" in each["busy"]) for each in metrics] == grew
    for each in metrics:
        assert each["busy_seconds"] == pytest.approx(sum(each["busy"].values()))
        assert each["busy_seconds"] <= each["seconds"], "one process works"
        assert each["utilisation"] == pytest.approx(each["busy_seconds"] / each["seconds"])


def test_what_is_no_metering_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    for value in (300.0, Metering):
        with pytest.raises(InputError, match="metering: expected a Metering"):
            run_search(tmp_path / "run", metering=value)
    assert not (tmp_path / "run").exists()
