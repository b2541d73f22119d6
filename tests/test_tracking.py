"""MLflow: what a local store holds of a search, resumed or not, and servers that fail."""

from __future__ import annotations

import json
import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import urlsplit

import pytest
from command_runs import BRIEF_SEARCH, TINY, command
from generation_records import record, timing
from small_search import Interrupted, contents, history, records, strict_json

from raynas.errors import InputError
from raynas.runlog import RunLog
from raynas.tracking import (
    MlflowTracking,
    generation_metrics,
    numbers,
    open_client,
    parameters,
)


@pytest.fixture(scope="module", autouse=True)
def local_store() -> Iterator[None]:
    """Files are enough of a store, and nobody is told that tests use it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        yield


def store(folder: Path) -> str:
    """The URI of a store of files."""
    return (folder / "mlruns").as_uri()


def the_run(uri: str) -> Any:
    """The only run of the store."""
    client = open_client(uri)
    (experiment,) = client.search_experiments(filter_string="name = 'raynas'")
    (run,) = client.search_runs([experiment.experiment_id])
    return run


def logged(uri: str, name: str) -> list[tuple[int, float]]:
    """The steps and values of a metric, as they were logged."""
    history = open_client(uri).get_metric_history(the_run(uri).info.run_id, name)
    return sorted((each.step, each.value) for each in history)


def write_run(directory: Path, generations: int) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """A run that was interrupted; its generations."""
    with RunLog(directory, {"seed": 5, "strategy": {"strategy": "EA"}}, resume=True) as log:
        for number in range(len(log.generations), generations):
            log.append(record(generation=number), timing(generation=number, seconds=number / 4))
        return list(zip(log.generations, log.metrics, strict=True))


def test_a_search_is_logged_whole(tmp_path: Path) -> None:
    run_dir, uri = tmp_path / "run", store(tmp_path)
    asked = (*BRIEF_SEARCH, *TINY, "--run-dir", run_dir, "--mlflow", uri)
    done = command(*asked)
    assert (done.code, done.err) == (0, "")
    run = the_run(uri)
    assert (run.info.status, run.info.run_name) == ("FINISHED", "run")
    config, result = (strict_json(run_dir / name) for name in ("config.json", "result.json"))
    assert run.data.params["seed"] == "0"
    assert run.data.params["strategy.population"] == "4"
    assert run.data.params["evaluation.bits"] == "32"
    assert run.data.params["supernet.digest"] == config["supernet"]["digest"]
    (generation,), (metrics,) = records(run_dir), records(run_dir, "metrics.jsonl")
    assert logged(uri, "best_top1") == [(0, generation["best"]["top1"])]
    assert logged(uri, "frozen") == [(0, generation["frozen"])]
    for name in ("seconds", "block_forwards"):
        assert logged(uri, name) == [(0, metrics[name])]
    for name in ("top1", "test_top1", "flops", "seconds"):
        assert run.data.metrics[f"result/{name}"] == result[name]
    assert run.data.metrics["result/costs.params"] == result["params"]
    assert run.data.tags["raynas.finished"] == result["finished"] == "generation limit"
    assert run.data.tags["raynas.architecture"] == ",".join(map(str, result["architecture"]))
    artifacts = Path(urlsplit(run.info.artifact_uri).path)
    names = {"config.json", "generations.jsonl", "metrics.jsonl", "result.json", "best"}
    assert {path.name for path in artifacts.iterdir()} == names
    assert (artifacts / "generations.jsonl").read_bytes() == history(run_dir)
    assert contents(artifacts / "best") == contents(run_dir / "best")
    with MlflowTracking(uri, run_dir) as tracking:
        tracking(generation, metrics)
    assert logged(uri, "best_top1") == [(0, generation["best"]["top1"])]
    assert len(logged(uri, "result/top1")) == 1, "a finished search is not logged again"


def track(uri: str, run_dir: Path, generations: int, end: type[BaseException]) -> list[Any]:
    """Log a run up to a generation, and end in some way; the changes of the status before."""
    with suppress(end), MlflowTracking(uri, run_dir) as tracking:
        client = tracking._client
        patched = mock.patch.object(client, "update_run", wraps=client.update_run)
        updated = patched.start()
        for each in write_run(run_dir, generations):
            tracking(*each)
        raise end
    patched.stop()
    return updated.call_args_list


def test_a_resumed_search_logs_no_generation_twice(tmp_path: Path) -> None:
    run_dir, uri = tmp_path / "run", store(tmp_path)
    assert track(uri, run_dir, 2, KeyboardInterrupt) == []
    assert the_run(uri).info.status == "KILLED"
    goes_on = mock.call(the_run(uri).info.run_id, status="RUNNING")
    assert track(uri, run_dir, 4, Interrupted) == [goes_on]
    assert the_run(uri).info.status == "FAILED"
    assert logged(uri, "seconds") == [(0, 0.0), (1, 0.25), (2, 0.5), (3, 0.75)]
    assert logged(uri, "best_top1") == [(step, 0.9125) for step in range(4)]


def test_a_run_that_was_deleted_or_is_elsewhere_begins_anew(tmp_path: Path) -> None:
    run_dir, uri = tmp_path / "run", store(tmp_path)
    for number in range(2):
        with MlflowTracking(uri, run_dir) as tracking:
            for each in write_run(run_dir, 2):
                tracking(*each)
        run = the_run(uri)
        assert logged(uri, "seconds") == [(0, 0.0), (1, 0.25)]
        if number == 0:
            open_client(uri).delete_run(run.info.run_id)
    other = store(tmp_path / "other")
    (run_dir / "mlflow.json").write_text(json.dumps({uri: run.info.run_id, other: "f" * 32}))
    with MlflowTracking(other, run_dir) as tracking:
        for each in write_run(run_dir, 3):
            tracking(*each)
    assert len(logged(other, "seconds")) == 3
    links = json.loads((run_dir / "mlflow.json").read_text())
    assert links == {uri: run.info.run_id, other: the_run(other).info.run_id}


@pytest.mark.parametrize("failing", ["get_experiment_by_name", "log_batch", "set_terminated"])
def test_a_server_that_fails_never_ends_a_search(
    failing: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_dir, uri = tmp_path / "run", store(tmp_path)
    calls: list[str] = []

    def fail(*arguments: Any, **options: Any) -> None:
        calls.append(failing)
        raise ConnectionError("no route\nto host")

    with MlflowTracking(uri, run_dir) as tracking:
        monkeypatch.setattr(tracking._client, failing, fail)
        for each in write_run(run_dir, 3):
            tracking(*each)
    assert calls == [failing], "it is not asked again"
    (warning,) = caplog.messages
    assert warning.startswith(f"mlflow: {uri} failed (ConnectionError: no route). The search goes")
    caplog.clear()
    with MlflowTracking(uri, run_dir) as tracking:
        for each in write_run(run_dir, 3):
            tracking(*each)
    assert logged(uri, "seconds") == [(0, 0.0), (1, 0.25), (2, 0.5)], "it logs what is missing"
    assert the_run(uri).data.params["seed"] == "5"
    assert caplog.messages == []


def test_a_slow_server_is_waited_for_at_the_end_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_dir, uri = tmp_path / "run", store(tmp_path)
    told = threading.Event()
    monkeypatch.setattr("raynas.tracking.PATIENCE", 0.01)
    monkeypatch.setattr(logging.getLogger("raynas"), "warning", lambda *words: told.set())
    with MlflowTracking(uri, run_dir) as tracking:
        create = tracking._client.create_run

        def slowly(*arguments: Any, **options: Any) -> Any:
            assert told.wait(60.0)
            return create(*arguments, **options)

        monkeypatch.setattr(tracking._client, "create_run", slowly)
        # All three are taken in while the server does nothing.
        for each in write_run(run_dir, 3):
            tracking(*each)
        assert not told.is_set()
    assert told.is_set(), "it is said that it is waited for"
    assert logged(uri, "seconds") == [(0, 0.0), (1, 0.25), (2, 0.5)]
    assert the_run(uri).info.status == "FINISHED"
    assert "raynas-mlflow" not in {thread.name for thread in threading.enumerate()}


def test_a_server_that_does_not_answer(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    # Port 9 discards; nothing listens there.
    with MlflowTracking("http://127.0.0.1:9", tmp_path / "run") as tracking:
        for each in write_run(tmp_path / "run", 2):
            tracking(*each)
    assert len([each for each in caplog.records if each.name == "raynas"]) == 1


@pytest.mark.parametrize("uri", ["ftp://127.0.0.1/x", "nowhere://x"])
def test_a_uri_that_mlflow_refuses_is_named(uri: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"mlflow: expected the URI of .*{uri}"):
        MlflowTracking(uri, tmp_path / "run")
    run_dir = tmp_path / "run"
    done = command(*BRIEF_SEARCH, *TINY, "--run-dir", run_dir, "--mlflow", uri)
    assert done.code == 2
    assert done.err.startswith("error: mlflow: expected the URI of a tracking server")
    assert not run_dir.exists()


def test_without_mlflow_it_is_said_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow.tracking", None)
    with pytest.raises(
        InputError, match=r"mlflow: expected MLflow.*pip install 'raynas\[mlflow\]'"
    ):
        MlflowTracking(store(tmp_path), tmp_path / "run")


def test_a_generation_as_numbers() -> None:
    costs = timing(energy_j=None, busy={"score": 1.5}, energy_source="measured", utilisation=0.5)
    found = generation_metrics(record(best={"architecture": [0, 1], "mae": -0.5}), costs)
    assert found == {
        "seconds": 1.234, "freeze_seconds": 0.2, "candidates": 3, "known": 0, "frozen": 1,
        "block_forwards": 250, "block_forwards_alone": 1000, "halvings": 0, "workers": 0,
        "busy.score": 1.5, "utilisation": 0.5, "best_mae": -0.5, "samples": 300,
    }  # fmt: skip
    nothing = generation_metrics(record(best=None, population=[], rescored=[]), {})
    assert nothing == {"frozen": 1, "samples": 300}
    assert numbers({"a": True, "b": float("nan"), "c": "1", "d": [1], "é(x)": 2}) == {"é_x_": 2.0}


def test_long_settings_are_cut_and_the_supernet_is_its_digest() -> None:
    config = {"supernet": {"digest": "abc", "names": [["x"] * 999]}, "note": "y" * 600, "c[0]": 1}
    found = parameters(config)
    assert found["supernet.digest"] == "abc"
    assert (len(found["note"]), found["note"][-2:]) == (500, "y…")
    assert found["c_0_"] == "1"
    assert len(found) == 3
