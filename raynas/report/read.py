"""`read_run`: the records of a run directory, also of one that is being written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import final

from raynas.errors import InputError, is_whole, require
from raynas.files import Record, complete_records, read_json
from raynas.runlog import CONFIG, GENERATIONS, METRICS, RESULT, metrics_of, recorded_config

NEEDED = ("architecture", "objectives", "costs", "names", "front")
"""Fields of `result.json` that tell a winner and its front; earlier versions lack some of them."""


@final
@dataclass(frozen=True, eq=False)
class RunRecords:
    """The records of one search, as they were when they were read.

    Args:
        directory: that holds them.
        config: the content of `config.json`: supernet, data, strategy and protocol.
        generations: one record per complete generation, in order.
        metrics: timings and costs of those generations, as far as they are there.
        result: of the whole search; `None` unless it has finished.
    """

    directory: Path
    config: Record
    generations: list[Record]
    metrics: list[Record]
    result: Record | None

    @property
    def finished(self) -> bool:
        """Whether the search has ended."""
        return self.result is not None

    def require_result(self) -> Record:
        """The result of the search.

        Raises:
            InputError: it has not finished, or another version wrote the result.
        """
        if self.result is None:
            raise InputError(
                "run_dir",
                f"a finished search, with its {RESULT}",
                self.directory,
                "Continue the search with resume (--resume) until it ends.",
            )
        missing = [name for name in NEEDED if name not in self.result]
        require(
            not missing,
            "run_dir",
            f"a {RESULT} as this version of raynas writes it",
            f"one without {', '.join(missing)} in {self.directory}, of an earlier version",
            "Search again into another directory, or use the version that wrote it.",
        )
        return self.result


def shortfalls(run: RunRecords) -> list[str]:
    """Sentences on records that a result tells of, and that are not there; none if all are.

    Args:
        run: as it could be read; the results of earlier versions do not count generations.
    """
    told = {name: (run.result or {}).get(name) for name in ("generations", "evaluations")}
    scored = sum(len(each["rescored"]) + len(each["population"]) for each in run.generations)
    read = [(GENERATIONS, "generations", len(run.generations))]
    if len(run.generations) == told["generations"]:
        # Metrics are read as far as there are generations.
        read += [(GENERATIONS, "evaluations", scored), (METRICS, "generations", len(run.metrics))]
    return [
        f"{run.directory / name} tells of {count} of the {told[field]} {field} that {RESULT} "
        "counts: it was cut, deleted or replaced after the search. Restore the file from a copy."
        for name, field, count in read
        if is_whole(told[field]) and count != told[field]
    ]


def require_whole(run: RunRecords) -> None:
    """Raise `InputError` unless all generations that a result tells of are there."""
    told, count = (run.result or {}).get("generations"), len(run.generations)
    require(
        not is_whole(told) or count >= told,
        "resume",
        f"the {told} generations that {RESULT} counts",
        f"{count} in {run.directory / GENERATIONS}, which was cut or deleted after the search",
        "Restore the file, or search anew in another directory; raynas export works without it.",
    )


def read_config(directory: Path) -> Record:
    """Read the configuration of a run directory.

    Raises:
        InputError: no run directory, one of a newer version, or a configuration that is damaged.
    """
    require(
        (directory / CONFIG).is_file(),
        "run_dir",
        f"the directory of a search, with its {CONFIG}",
        f"{directory}, which {'has none' if directory.exists() else 'is missing'}",
        "Give the run_dir (--run-dir) that a search was given.",
    )
    return recorded_config(directory)


def read_run(path: Path | str) -> RunRecords:
    """Read the records of a run directory; nothing is written, cut off or locked.

    A search may be writing to it: a last line that is not complete is left out, and so are the
    metrics of a generation that is not recorded yet.

    Args:
        path: the directory.

    Returns:
        What it held at one moment: with a result, it holds all generations.

    Raises:
        InputError: no run directory, one of a newer version, or a record that is not as it was
            written.
    """
    directory = Path(path)
    config = read_config(directory)
    # In this order, since a result is written after all generations, and the metrics of a
    # generation before it.
    result = read_json(directory / RESULT) if (directory / RESULT).exists() else None
    generations, _ = complete_records(directory / GENERATIONS)
    timed, _ = complete_records(directory / METRICS)
    return RunRecords(directory, config, generations, metrics_of(timed, len(generations)), result)
