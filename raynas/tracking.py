"""Tracking of searches in MLflow (`pip install 'raynas[mlflow]'`), as an observer::

    with MlflowTracking("http://127.0.0.1:5000", "runs/mine") as tracking:
        raynas.search(supernet, data, strategy=…, run_dir="runs/mine", observer=tracking)

A run of MLflow gets the configuration as parameters, each generation as a step of its metrics, and
at the end the result and the records as artifacts. A search that is resumed goes on in the run that
its directory names, where no generation is logged twice. A server that fails or is slow stops no
search: a thread of its own sends, a failure is said once, and then nothing more is sent.
"""

from __future__ import annotations

import logging
import math
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from types import TracebackType
from typing import Any, final

from raynas._version import __version__
from raynas.errors import InputError, describe_error, is_number
from raynas.files import Record, as_path, read_json, write_json
from raynas.generation import median_of, objective_of
from raynas.report.read import read_run
from raynas.runlog import CONFIG, GENERATIONS, METRICS, RESULT, flatten
from raynas.space import encode

LINK = "mlflow.json"
"""The file of a run directory that names its runs of MLflow, by tracking URI."""

EXPORTED = "best"
"""The folder of a run directory that holds the exported best subnet, if it was exported there."""

LONGEST = 500
"""The characters of a parameter; older servers take no more."""

BATCH = 100
"""Parameters that are sent at a time; servers take no more."""

FINISHED = "raynas.finished"
"""The tag of a run whose result has been logged: why the search ended."""

STEPS = "frozen"
"""The metric that every generation has."""

PATIENCE = 10.0
"""The seconds after which it is said that a server is waited for."""

logger = logging.getLogger("raynas")


@final
class MlflowTracking:
    """An observer that logs one search to MLflow, for the time of a context.

    Args:
        uri: of the tracking server or store, such as `http://127.0.0.1:5000`.
        run_dir: of the search.
        experiment: the experiment of MLflow that the run belongs to; created if missing.

    Raises:
        InputError: MLflow is not installed, or refuses the URI.
    """

    def __init__(self, uri: str, run_dir: Path | str, experiment: str = "raynas") -> None:
        self._client = open_client(uri)
        self._uri = uri
        self._directory = as_path(run_dir, "run_dir")
        self._experiment = experiment
        self._run: str | None = None
        self._logged: set[int] = set()
        self._failed = False
        self._actions: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._sender: Thread | None = None

    def __call__(self, record: Record, metrics: Record) -> None:
        """Log a generation, unless it has been logged."""

        def log() -> None:
            run = self._require_run()
            step = int(record["generation"])
            if step not in self._logged:
                self._log_metrics(run, generation_metrics(record, metrics), step)
                self._logged.add(step)

        if self._sender is None:
            self._sender = Thread(target=self._send, name="raynas-mlflow", daemon=True)
            self._sender.start()
        self._actions.put(log)

    def __enter__(self) -> MlflowTracking:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Log the result and the records, and end the run of MLflow; wait until all is sent."""
        if self._sender is None:
            return
        stopped = kind is not None and not issubclass(kind, Exception)
        status = "KILLED" if stopped else "FINISHED" if kind is None else "FAILED"
        self._actions.put(lambda: self._end(status))
        self._actions.put(None)
        self._sender.join(PATIENCE)
        if self._sender.is_alive():
            logger.warning(
                "mlflow: waiting for %s, all else is done. Ctrl-C ends the waiting.", self._uri
            )
            self._sender.join()
        self._sender = None

    def _send(self) -> None:
        """Carry out actions one after another, until there is none: all that talks to a server."""
        while (action := self._actions.get()) is not None:
            # A server that has failed may take minutes to fail again.
            if not self._failed:
                self._attempt(action)

    def _attempt(self, action: Callable[[], None]) -> None:
        """Carry out an action; where the server fails, say so."""
        try:
            action()
        except Exception as error:
            self._failed = True
            logger.warning(
                "mlflow: %s failed (%s). The search goes on without it; the same search with "
                "resume (--resume) and the same URI logs what is missing.",
                self._uri,
                describe_error(error),
            )

    def _require_run(self) -> str:
        """The identifier of the run of MLflow: of the one before, of a search that is resumed."""
        if self._run is None:
            found = self._find_run()
            run = self._make_run() if found is None else found
            self._log_parameters(run.info.run_id, known=run.data.params)
            self._run = run.info.run_id
        return self._run

    def _find_run(self) -> Any:
        """The run that the directory names, going on again; `None` if MLflow has none such."""
        from mlflow.exceptions import MlflowException

        name = read_links(self._directory).get(self._uri)
        if name is None:
            return None
        try:
            run = self._client.get_run(name)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise
        if run.info.lifecycle_stage != "active":
            return None
        self._client.update_run(name, status="RUNNING")
        self._logged = {each.step for each in self._client.get_metric_history(name, STEPS)}
        return run

    def _make_run(self) -> Any:
        """A new run, named in the directory."""
        found = self._client.get_experiment_by_name(self._experiment)
        experiment = (
            self._client.create_experiment(self._experiment)
            if found is None
            else found.experiment_id
        )
        place = self._directory.absolute()
        tags = {"raynas.version": __version__, "raynas.run_dir": str(place)}
        run = self._client.create_run(experiment, run_name=place.name, tags=tags)
        links = {**read_links(self._directory), self._uri: run.info.run_id}
        write_json(self._directory / LINK, links)
        return run

    def _log_parameters(self, run: str, known: Mapping[str, str]) -> None:
        """Log the configuration, but for the parameters that a run has."""
        from mlflow.entities import Param

        wanted = parameters(read_json(self._directory / CONFIG))
        told = [Param(name, value) for name, value in wanted.items() if name not in known]
        for start in range(0, len(told), BATCH):
            self._client.log_batch(run, params=told[start : start + BATCH])

    def _log_metrics(self, run: str, values: Mapping[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now = time.time_ns() // 1_000_000
        metrics = [Metric(name, value, now, step) for name, value in values.items()]
        self._client.log_batch(run, metrics=metrics)

    def _end(self, status: str) -> None:
        """Log the result, where there is one, and the records; set the status of the run."""
        if self._run is None:
            return
        result = read_run(self._directory).result
        tags = self._client.get_run(self._run).data.tags
        if result is not None and FINISHED not in tags:
            self._log_metrics(self._run, result_metrics(result), result["generations"])
            named = ",".join(map(str, result["names"]))
            self._client.set_tag(self._run, "raynas.architecture", encode(result["architecture"]))
            self._client.set_tag(self._run, "raynas.names", named)
            self._client.set_tag(self._run, FINISHED, result["finished"])
        for name in (CONFIG, GENERATIONS, METRICS, RESULT):
            if (self._directory / name).exists():
                self._client.log_artifact(self._run, str(self._directory / name))
        if (self._directory / EXPORTED).is_dir():
            self._client.log_artifacts(self._run, str(self._directory / EXPORTED), EXPORTED)
        self._client.set_terminated(self._run, status)


def open_client(uri: str) -> Any:
    """A client of MLflow; nothing is sent to a server yet.

    Raises:
        InputError: MLflow is not installed, or refuses the URI.
    """
    try:
        from mlflow.exceptions import MlflowException
        from mlflow.tracking import MlflowClient
    except ImportError as error:
        raise InputError(
            "mlflow",
            "MLflow, to track a search with it",
            describe_error(error),
            "Install it: pip install 'raynas[mlflow]'; or leave tracking out.",
        ) from error
    try:
        return MlflowClient(tracking_uri=uri)
    except (MlflowException, ImportError, OSError) as error:
        raise InputError(
            "mlflow",
            "the URI of a tracking server or store that this MLflow takes",
            f"{uri!r} ({describe_error(error)})",
            "Give http://HOST:PORT of an mlflow server, sqlite:///FILE (with all of mlflow: pip "
            "install mlflow), or a folder (with MLFLOW_ALLOW_FILE_STORE=true).",
        ) from error


def read_links(directory: Path) -> Record:
    """The runs of MLflow that a run directory names, by tracking URI."""
    return read_json(directory / LINK) if (directory / LINK).exists() else {}


def parameters(config: Record) -> dict[str, str]:
    """A configuration as parameters; of the supernet, which `config.json` describes, its digest."""
    flat = flatten({**config, "supernet": {"digest": config.get("supernet", {}).get("digest")}})
    told = {re.sub(r"[^\w. /-]", "_", name): str(value) for name, value in flat.items()}
    return {
        name: value if len(value) <= LONGEST else f"{value[: LONGEST - 1]}…"
        for name, value in told.items()
    }


def generation_metrics(record: Record, metrics: Record) -> dict[str, float]:
    """The numbers of a generation: its best and median, what is frozen, and all that it cost."""
    name = objective_of(record)
    scores = {}
    if name is not None:
        scores = {f"best_{name}": record["best"][name], f"median_{name}": median_of(record)}
    costs = {each: value for each, value in metrics.items() if each != "generation"}
    return numbers({**costs, **scores, STEPS: record["frozen"], "samples": record["samples"]})


def result_metrics(result: Record) -> dict[str, float]:
    """The numbers of a result."""
    return {f"result/{name}": value for name, value in numbers(result).items()}


def numbers(record: Record) -> dict[str, float]:
    """The finite numbers of a record and of those inside it, by dotted names."""
    return {
        re.sub(r"[^\w. /-]", "_", name): float(value)
        for name, value in flatten(record).items()
        if is_number(value) and math.isfinite(value)
    }
