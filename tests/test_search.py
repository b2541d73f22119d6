"""A search is determined by its inputs: not by the workers, the process, or global randomness."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from callers_states import STATES
from small_search import (
    PCF,
    SAMPLED,
    SETTINGS,
    Setting,
    determined,
    history,
    records,
    run_search,
    small_data,
    small_supernet,
)

import raynas
from raynas.observers import join_observers
from raynas.report.read import read_run

OTHERS = [name for name in SETTINGS if SETTINGS[name] is not SAMPLED]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The run directory of every setting, searched in this process."""
    base = tmp_path_factory.mktemp("runs")
    directories = {name: base / str(index) for index, name in enumerate(SETTINGS)}
    for name, directory in directories.items():
        run_search(directory, SETTINGS[name])
    return directories


def assert_same_run(one: Path, other: Path) -> None:
    assert history(one) == history(other)
    assert determined(one) == determined(other)


def perturb() -> None:
    """Leave all global randomness, and the number of threads, in an unusual state."""
    random.seed(99)
    np.random.seed(99)  # noqa: NPY002
    torch.manual_seed(99)
    torch.set_num_threads(2)


def global_randomness() -> tuple[Any, ...]:
    kind, keys, *position = np.random.get_state()  # noqa: NPY002
    torch_state = torch.get_rng_state().numpy().tobytes()
    return random.getstate(), kind, np.asarray(keys).tobytes(), position, torch_state


@pytest.fixture
def perturbed() -> Iterator[None]:
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    perturb()
    yield
    torch.set_num_threads(threads)
    torch.set_rng_state(state)


def test_the_settings_reach_the_paths_they_are_for(runs: dict[str, Path]) -> None:
    frozen = {name: [r["frozen"] for r in records(run)] for name, run in runs.items()}
    samples = {name: {r["samples"] for r in records(run)} for name, run in runs.items()}
    for name in ("pcf, top samples, 16 bits", "pcf, weighted samples"):
        assert len(set(frozen[name])) >= 3, "freezes twice"
        assert samples[name] == {62, 31}
    assert len(set(frozen["cf, inherited"])) == 2
    assert 0 < frozen["cf, inherited"][-1] < 8
    assert set(frozen["ea, limited"]) == set(frozen["random"]) == {0}
    assert samples["random"] == {62}


def test_each_selection_leaves_the_importance_of_its_samples(runs: dict[str, Path]) -> None:
    selected = {}
    for name, run in runs.items():
        generations, timed = records(run), records(run, "metrics.jsonl")
        before = [None, *(each["selection"] for each in generations)]
        changes = [now["selection"] != was for now, was in zip(generations, before, strict=False)]
        assert [each["importance"] is not None for each in timed] == changes
        found = [each["importance"] for each in timed if each["importance"]]
        kept = [g["samples"] for g, change in zip(generations, changes, strict=True) if change]
        assert [each["kept"] for each in found] == kept
        selected[name] = [(each["samples"], each["subnets"]) for each in found]
        assert all(torch.__version__.startswith(each["versions"]["torch"]) for each in timed)
    assert selected["pcf, top samples, 16 bits"] == [(62, 1)], "one subnet gives the losses"
    assert selected["pcf, first votes"][0] == (62, 3), "three vote first"
    assert selected["pcf, first votes"][1][0] < 62, "then others, on the samples that are left"
    ((samples, voters),) = selected["pcf, disagreeing samples"]
    assert samples == 62
    assert voters > 8
    assert selected["ea, limited"] == selected["random"] == []


@pytest.mark.usefixtures("perturbed")
@pytest.mark.parametrize("name", SETTINGS)
def test_the_same_again_in_one_process(name: str, runs: dict[str, Path], tmp_path: Path) -> None:
    before = global_randomness()
    run_search(tmp_path, SETTINGS[name])
    assert global_randomness() == before, "a search draws nothing from global generators"
    assert torch.get_num_threads() == 2, "a search leaves the number of threads as it was"
    assert_same_run(tmp_path, runs[name])


@pytest.mark.parametrize("name", STATES)
def test_the_same_whatever_the_callers_state_of_torch(
    name: str, runs: dict[str, Path], tmp_path: Path
) -> None:
    supernet = small_supernet()
    with STATES[name]():
        run_search(tmp_path, supernet=supernet)
    assert_same_run(tmp_path, runs["pcf, top samples, 16 bits"])


FRESH = """
import sys
from pathlib import Path
import small_search
import test_search
test_search.perturb()
for index, setting in enumerate(small_search.SETTINGS.values()):
    small_search.run_search(Path(sys.argv[1]) / str(index), setting)
"""


def test_the_same_in_a_fresh_process(
    runs: dict[str, Path], helper_environment: dict[str, str], tmp_path: Path
) -> None:
    environment = {**helper_environment, "PYTHONHASHSEED": "4711", "OMP_NUM_THREADS": "2"}
    command = [sys.executable, "-W", "error", "-c", FRESH, str(tmp_path)]
    subprocess.run(command, env=environment, check=True)
    for index, name in enumerate(SETTINGS):
        assert_same_run(tmp_path / str(index), runs[name])


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """A connection to Ray that the searches find."""
    import ray

    ray.init(address="local", num_cpus=2, include_dashboard=False, configure_logging=False)
    yield
    ray.shutdown()


@pytest.mark.ray
@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize(
    ("name", "workers"),
    [
        ("pcf, top samples, 16 bits", 1),
        ("pcf, top samples, 16 bits", 2),
        ("pcf, first votes", 2),
    ],
)
def test_the_same_with_workers(
    name: str, workers: int, runs: dict[str, Path], tmp_path: Path
) -> None:
    import ray

    result = run_search(tmp_path, SETTINGS[name], workers=workers)
    assert result.record["workers"] == workers
    assert_same_run(tmp_path, runs[name])
    assert ray.is_initialized(), "the caller's connection is left as it was found"


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("name", OTHERS)
def test_every_strategy_the_same_with_workers(
    name: str, workers: int, runs: dict[str, Path], tmp_path: Path
) -> None:
    run_search(tmp_path, SETTINGS[name], workers=workers)
    assert_same_run(tmp_path, runs[name])


@pytest.mark.parametrize("other", ["seed", "data", "supernet", "prefix sharing"])
def test_what_changes_a_history(other: str, runs: dict[str, Path], tmp_path: Path) -> None:
    unshared = replace(SAMPLED, evaluation=replace(SAMPLED.evaluation, prefix_sharing=False))
    changes: dict[str, dict[str, Any]] = {
        "seed": {"seed": 5},
        "data": {"data": small_data(1)},
        "supernet": {"supernet": small_supernet(1)},
        "prefix sharing": {"setting": unshared},
    }
    run_search(tmp_path, **changes[other])
    same = history(tmp_path) == history(runs["pcf, top samples, 16 bits"])
    assert same == (other == "prefix sharing"), "sharing prefixes is exact"


def test_the_test_split_never_steers(runs: dict[str, Path], tmp_path: Path) -> None:
    others = replace(small_data(), test=small_data(7).test)
    run_search(tmp_path, data=others)
    assert history(tmp_path) == history(runs["pcf, top samples, 16 bits"])


def test_supernet_and_data_are_left_as_they_were(tmp_path: Path) -> None:
    supernet, data = small_supernet().train(), small_data()
    before = {name: tensor.clone() for name, tensor in supernet.state_dict().items()}
    modes = [module.training for module in supernet.modules()]
    pixels = [shard.features.tobytes() for shard in data.validation]
    run_search(tmp_path, supernet=supernet, data=data)
    assert [module.training for module in supernet.modules()] == modes
    assert all(torch.equal(supernet.state_dict()[name], before[name]) for name in before)
    assert [shard.features.tobytes() for shard in data.validation] == pixels
    assert [norm.momentum for norm in supernet.modules() if hasattr(norm, "momentum")] == [0.1] * 32


def test_the_observer_sees_what_is_recorded(tmp_path: Path) -> None:
    seen: list[tuple[dict[str, Any], dict[str, Any]]] = []

    def observe(record: dict[str, Any], metrics: dict[str, Any]) -> None:
        assert records(tmp_path)[-1] == record, "the record is on the disk by then"
        seen.append((record, metrics))

    run_search(tmp_path, observer=observe)
    assert [record for record, _ in seen] == records(tmp_path)
    assert [metrics for _, metrics in seen] == records(tmp_path, "metrics.jsonl")
    assert [record["generation"] for record, _ in seen] == list(range(len(seen)))


def test_nothing_depends_on_what_an_observer_does_with_its_records(tmp_path: Path) -> None:
    seen = []

    def observe(record: dict[str, Any], metrics: dict[str, Any]) -> None:
        seen.append(len(record["population"]))
        record["population"].clear()
        record["best"] = None
        metrics.clear()

    run_search(tmp_path / "plain")
    run_search(tmp_path / "told", observer=join_observers(observe, observe))
    plain, told = (read_run(tmp_path / name) for name in ("plain", "told"))
    assert told.generations == plain.generations
    assert seen == [len(each["population"]) for each in plain.generations for _ in range(2)]
    assert told.result is not None
    seconds = sum(each["seconds"] for each in told.metrics)
    assert told.result["seconds"] >= seconds > 0


def test_records_say_what_was_proposed_and_scored(runs: dict[str, Path]) -> None:
    for name, run in runs.items():
        setting = SETTINGS[name]
        seen: set[tuple[int, ...]] = set()
        prefix: list[int] = []
        for record in records(run):
            population = [tuple(s["architecture"]) for s in record["population"]]
            rescored = [tuple(s["architecture"]) for s in record["rescored"]]
            assert record["prefix"][: len(prefix)] == prefix, "a prefix only grows"
            assert record["frozen"] == len(record["prefix"])
            assert bool(rescored) <= (record["prefix"] != prefix)
            prefix = record["prefix"]
            assert all(list(a[: len(prefix)]) == prefix for a in population + rescored)
            assert not seen & set(population)
            assert len(set(population)) == len(population) <= setting.strategy.population
            assert sum(record["origins"].values()) == len(population)
            seen |= {*population, *rescored}
            for score in (*record["rescored"], *record["population"]):
                assert score["finite"]
                assert 0 <= score["correct"] <= record["samples"]
                assert 0 <= score["top1"] <= score["top5"] <= 1
        assert [r["finished"] is None for r in records(run)[:-1]] == [True] * (
            len(records(run)) - 1
        )


def test_a_population_larger_than_the_space_ends_as_exhausted(tmp_path: Path) -> None:
    supernet = small_supernet(blocks=2)
    for strategy in (raynas.EA, raynas.RandomSearch, raynas.CFES, raynas.PCFES):
        directory = tmp_path / strategy.__name__
        result = run_search(
            directory, Setting(strategy(population=50, generations=9)), supernet=supernet
        )
        assert result.record["finished"] == "legal architectures exhausted"
        assert result.record["evaluations"] == result.record["legal_architectures"] == 16
        assert records(directory)[-1]["finished"] == "legal architectures exhausted"


@pytest.mark.parametrize("at_most", [8 * 144 + 348, 8 * 144 + 348 + 1152])
def test_hardly_any_legal_architecture(at_most: int, tmp_path: Path) -> None:
    setting = Setting(replace(PCF, population=20), constraint=raynas.FLOPs(at_most=at_most))
    result = run_search(tmp_path, setting)
    assert result.record["legal_architectures"] in (1, 9)
    assert result.record["evaluations"] == result.record["legal_architectures"]
    assert result.best.flops <= at_most


def test_a_search_can_stop_after_one_generation(tmp_path: Path) -> None:
    result = run_search(tmp_path, Setting(replace(PCF, generations=1)))
    assert result.record["generations"] == 1
    assert result.record["finished"] == "generation limit"
