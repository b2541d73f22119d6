"""A search that was killed and resumed ends with the history of the uninterrupted one."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from small_search import (
    PCF,
    SETTINGS,
    CountedShards,
    Setting,
    contents,
    copy_of,
    count_calls,
    determined,
    history,
    interrupt,
    records,
    run_search,
    small_data,
    small_supernet,
)

import raynas
from raynas.errors import InputError

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["raynas.result", "raynas.data", "raynas.supernets", "pytest"])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The uninterrupted run."""
    run_dir = tmp_path_factory.mktemp("whole") / "run"
    run_search(run_dir)
    return run_dir


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The evaluator operations that are called, once per call."""
    return count_calls(monkeypatch)


def assert_same_run(run_dir: Path, whole: Path) -> None:
    assert history(run_dir) == history(whole)
    assert determined(run_dir) == determined(whole)
    generations = [m["generation"] for m in records(run_dir, "metrics.jsonl")]
    assert generations == list(range(len(records(whole)))), "one line of metrics per generation"
    assert (run_dir / "config.json").read_bytes() == (whole / "config.json").read_bytes()
    assert not list(run_dir.glob(".*.part"))


def slow_search(run_dir: Path) -> None:
    """A search that takes long enough to be killed in the middle of anything."""
    run_search(run_dir, observer=lambda record, metrics: time.sleep(0.02))


def killed_after(generations: int, run_dir: Path, delay_seconds: float) -> None:
    """Search in another process, and kill it once so many generations are on the disk."""
    process = CONTEXT.Process(target=slow_search, args=(run_dir,), daemon=True)
    process.start()
    path = run_dir / "generations.jsonl"
    while alive := process.is_alive():
        if path.exists() and path.read_bytes().count(b"\n") >= generations:
            break
        time.sleep(0.001)
    assert alive or path.read_bytes().count(b"\n") >= generations
    time.sleep(delay_seconds)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert process.exitcode in (-signal.SIGKILL, 0)


@pytest.mark.parametrize(("generations", "delay_seconds"), [(1, 0.0), (4, 0.03), (6, 0.02)])
def test_killed_and_resumed(
    generations: int, delay_seconds: float, whole: Path, tmp_path: Path
) -> None:
    killed_after(generations, tmp_path, delay_seconds)
    assert history(whole).startswith(history(tmp_path)[: history(tmp_path).rfind(b"\n") + 1])
    result = run_search(tmp_path, resume=True)
    assert_same_run(tmp_path, whole)
    assert result.record == json.loads((tmp_path / "result.json").read_text())


def test_killed_twice(whole: Path, tmp_path: Path) -> None:
    interrupt(tmp_path, 2)
    interrupt(tmp_path, 4, resume=True)
    run_search(tmp_path, resume=True)
    assert_same_run(tmp_path, whole)


@pytest.mark.parametrize("name", SETTINGS)
def test_every_strategy_resumes(name: str, tmp_path: Path) -> None:
    run_search(tmp_path / "whole", SETTINGS[name])
    interrupt(tmp_path / "run", 3, setting=SETTINGS[name])
    run_search(tmp_path / "run", SETTINGS[name], resume=True)
    assert_same_run(tmp_path / "run", tmp_path / "whole")


@pytest.mark.parametrize("generations", [1, 2])
def test_what_the_first_generation_selected_outlives_a_kill(
    generations: int, tmp_path: Path
) -> None:
    setting = SETTINGS["pcf, first votes"]
    run_search(tmp_path / "whole", setting)
    interrupt(tmp_path / "run", generations, setting=setting)
    run_search(tmp_path / "run", setting, resume=True)
    assert_same_run(tmp_path / "run", tmp_path / "whole")


def test_a_kill_before_the_result_was_written(whole: Path, tmp_path: Path) -> None:
    run_dir = copy_of(whole, tmp_path)
    (run_dir / "result.json").rename(run_dir / ".result.json.part")
    run_search(run_dir, resume=True)
    assert_same_run(run_dir, whole)


@pytest.mark.parametrize("left", [".lock", ".config.json.part"])
def test_a_kill_before_the_first_generation(left: str, whole: Path, tmp_path: Path) -> None:
    (tmp_path / left).write_text("" if left == ".lock" else '{"see')
    run_search(tmp_path, resume=True)
    assert_same_run(tmp_path, whole)


TINY = Setting(
    replace(PCF, population=2, generations=3, top_k=2),
    raynas.Evaluation(batch_norm="inherit", sample_rate=0.5),
)


@pytest.mark.parametrize("step", [61, pytest.param(1, marks=pytest.mark.slow)])
def test_cut_off_at_any_byte_of_the_last_generation(step: int, tmp_path: Path) -> None:
    options: dict[str, Any] = {"supernet": small_supernet(blocks=2), "setting": TINY}
    run_search(tmp_path, **options)
    whole, result, lines = history(tmp_path), determined(tmp_path), len(records(tmp_path))
    start = whole[:-1].rindex(b"\n") + 1
    ends = [*range(start, len(whole), step), len(whole) - 1]
    assert len(ends) > 5
    for end in ends:
        (tmp_path / "generations.jsonl").write_bytes(whole[:end])
        (tmp_path / "result.json").unlink()
        run_search(tmp_path, resume=True, **options)
        assert history(tmp_path) == whole
        assert determined(tmp_path) == result
        assert len(records(tmp_path, "metrics.jsonl")) == lines


def test_a_finished_run_is_returned_without_evaluating(
    whole: Path, tmp_path: Path, calls: list[str]
) -> None:
    first = run_search(tmp_path)
    assert calls.count("score") > 20, "the counter counts"
    calls.clear()
    before = contents(tmp_path)
    data = small_data()
    counted = [CountedShards(getattr(data, s)) for s in ("calibration", "validation", "test")]
    seen: list[int] = []
    again = run_search(
        tmp_path,
        resume=True,
        data=replace(data, calibration=counted[0], validation=counted[1], test=counted[2]),
        workers=2,
        observer=lambda record, metrics: seen.append(record["generation"]),
    )
    assert calls == []
    reads = [shards.reads for shards in counted]
    assert reads == [[0, 1], [0, 1, 2], [0, 1]], "once, to compare them"
    assert contents(tmp_path) == before
    assert again.best == first.best
    assert again.record == first.record
    assert seen == list(range(first.record["generations"]))
    again.export(tmp_path / "best")
    first.export(tmp_path / "best of the first")
    exported = [contents(tmp_path / name) for name in ("best", "best of the first")]
    assert exported[0]["weights.safetensors"] == exported[1]["weights.safetensors"]
    assert exported[0]["architecture.json"] == exported[1]["architecture.json"]


def test_what_is_on_the_disk_is_not_evaluated_again(tmp_path: Path, calls: list[str]) -> None:
    interrupt(tmp_path, 2)
    first = calls.count("score")
    calls.clear()
    run_search(tmp_path, resume=True)
    second = calls.count("score")
    calls.clear()
    run_search(tmp_path / "other")
    again = 3
    assert first + second == calls.count("score") + again, "one candidate, on three shards"


def search_and_wait(run_dir: Path, ready: Any) -> None:
    def observe(record: dict[str, Any], metrics: dict[str, Any]) -> None:
        ready.set()
        signal.pause()

    run_search(run_dir, observer=observe)


def test_two_processes_on_one_run(whole: Path, tmp_path: Path) -> None:
    ready = CONTEXT.Event()
    process = CONTEXT.Process(target=search_and_wait, args=(tmp_path, ready), daemon=True)
    process.start()
    while not ready.wait(1.0):
        assert process.is_alive()
    before = contents(tmp_path)
    with pytest.raises(InputError, match=r"run_dir: .*no other process writes to.*Wait for"):
        run_search(tmp_path, resume=True)
    assert contents(tmp_path) == before
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    run_search(tmp_path, resume=True)
    assert_same_run(tmp_path, whole)
