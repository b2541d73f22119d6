"""Runs as a report takes them: as much of their records as can be read, and what is wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, final

from raynas.errors import InputError, require
from raynas.files import Record, complete_records, parse, read_json
from raynas.report.read import NEEDED, RunRecords, read_config, shortfalls
from raynas.runlog import CONFIG, GENERATIONS, METRICS, RESULT, metrics_of

NOT_OBJECTIVES = ("architecture", "correct", "loss", "finite", "samples", "costs")
"""Fields of a recorded score that are no objectives."""


@final
@dataclass(frozen=True, eq=False)
class ReportedRun:
    """One run of a report.

    Args:
        key: tells its marks apart in figures: `r0`, `r1`, ….
        label: tells it apart for a person: the name of its directory, or the end of its path.
        records: what could be read of it.
        problems: what could not, in sentences.
    """

    key: str
    label: str
    records: RunRecords
    problems: tuple[str, ...] = ()

    @property
    def generations(self) -> list[Record]:
        """One record per generation."""
        return self.records.generations

    @property
    def result(self) -> Record | None:
        """The content of `result.json`; `None` where the search has not ended, or has none."""
        return self.records.result

    @property
    def strategy(self) -> Record:
        """The settings of the strategy, with its name."""
        return self.records.config["strategy"]

    @cached_property
    def timings(self) -> dict[int, Record]:
        """The metrics by generation, as far as they are there."""
        return {each["generation"]: each for each in self.records.metrics}

    @cached_property
    def names(self) -> tuple[tuple[str, ...], ...]:
        """The names of the choices of each block; their numbers where no names were recorded."""
        names = part_of(self.records.config, "supernet").get("names")
        choices = choices_of(self.records.config)
        if names and [len(own) for own in names] == choices:
            return tuple(tuple(map(str, own)) for own in names)
        return tuple(tuple(map(str, range(count))) for count in choices)

    @cached_property
    def objective(self) -> str | None:
        """The name of what the search maximises; `None` where nothing has been scored."""
        scored = (each for generation in self.generations for each in scores_of(generation))
        first = next(scored, None)
        return None if first is None else first_objective(first)

    @cached_property
    def freezes(self) -> tuple[tuple[int, int], ...]:
        """The generations, counted from 0, that began with more frozen blocks, and how many."""
        counts = [len(generation["prefix"]) for generation in self.generations]
        steps = zip([0, *counts], counts, strict=False)
        return tuple((index, now) for index, (was, now) in enumerate(steps) if now > was)

    @property
    def ended(self) -> str | None:
        """The reason why the search ended; `None` while it goes on, or was interrupted."""
        return self.generations[-1].get("finished") if self.generations else None


def scores_of(generation: Record) -> list[Record]:
    """All scores of a generation, those of rescored parents first."""
    return [*generation["rescored"], *generation["population"]]


def first_objective(score: Record) -> str | None:
    """The name of the first objective of a recorded score; `None` if it has none."""
    return next((name for name in score if name not in NOT_OBJECTIVES), None)


def part_of(config: Record, name: str) -> Record:
    """A part of a configuration; empty where it is missing, as the supernet of one's own scorer."""
    found = config.get(name)
    return found if isinstance(found, dict) else {}


def choices_of(config: Record) -> list[int]:
    """The number of choices of each block; empty where a configuration does not say."""
    found = part_of(config, "supernet").get("choices", config.get("choices"))
    whole = isinstance(found, list) and all(type(each) is int and each > 0 for each in found)
    return list(found) if whole and found else []


def read_runs(paths: Sequence[Path]) -> tuple[list[ReportedRun], list[tuple[Path, InputError]]]:
    """Read the runs of a report.

    Args:
        paths: their directories, each once.

    Returns:
        Those that are runs, and why others cannot be read.
    """
    read: list[tuple[Path, RunRecords, tuple[str, ...]]] = []
    refused = []
    for path in paths:
        try:
            read.append((path, *salvage(path)))
        except InputError as error:
            refused.append((path, error))
    labels = labels_of([path for path, _, _ in read])
    runs = [
        ReportedRun(f"r{index}", label, records, problems)
        for index, (label, (_, records, problems)) in enumerate(zip(labels, read, strict=True))
    ]
    return runs, refused


def labels_of(paths: Sequence[Path]) -> list[str]:
    """The shortest ends of paths that tell them apart."""
    parts = [path.absolute().parts for path in paths]
    labels = [path.name or str(path) for path in map(Path.absolute, paths)]
    for length in range(2, max(map(len, parts), default=0) + 1):
        counts = Counter(labels)
        labels = [
            str(Path(*own[-length:])) if counts[label] > 1 else label
            for label, own in zip(labels, parts, strict=True)
        ]
    return labels


def salvage(directory: Path) -> tuple[RunRecords, tuple[str, ...]]:
    """Read as much of a run as is whole.

    Returns:
        Its records, and what is wrong with the rest.

    Raises:
        InputError: no run directory, one of a newer version, or one whose configuration is damaged.
    """
    config = read_config(directory)
    require_run(directory, config)
    problems: list[str] = []
    # A result is written after all generations, and the metrics of a generation before it.
    choices = choices_of(config)
    result = whole_result(directory / RESULT, choices, problems)
    generations = whole_generations(directory / GENERATIONS, choices, problems)
    timed = whole_lines(directory / METRICS, problems)
    metrics = [each for each in metrics_of(timed, len(generations)) if is_timed(each)]
    run = RunRecords(directory, config, generations, metrics, result)
    return run, (*problems, *shortfalls(run))


def require_run(directory: Path, config: Record) -> None:
    """Raise `InputError` unless a configuration is that of a search."""
    strategy = config.get("strategy")
    require(
        isinstance(strategy, dict) and "strategy" in strategy and bool(choices_of(config)),
        "run_dir",
        f"a {CONFIG} as a search writes it, with its strategy and the choices of its blocks",
        f"{directory / CONFIG}, which has others",
        "Give the run_dir (--run-dir) that a search was given.",
    )


def whole_result(path: Path, choices: Sequence[int], problems: list[str]) -> Record | None:
    """The result of a search, if it is there and whole; else what is wrong joins the problems."""
    if not path.exists():
        return None
    try:
        result = read_json(path)
    except InputError as error:
        problems.append(str(error))
        return None
    missing = [name for name in NEEDED if name not in result]
    if missing:
        problems.append(
            f"{path} lacks {', '.join(missing)}: another version of raynas wrote it, so that the "
            "winner is told from the generations."
        )
    elif not is_result(result, choices):
        problems.append(f"{path} is not the result of a search of {len(choices)} blocks.")
        return None
    return None if missing else result


def is_result(result: Record, choices: Sequence[int]) -> bool:
    """Whether a record is that of the result of a search, with its winner and its front."""
    lists = [result["objectives"], result["front"], result.get("finalists", [])]
    return (
        all(isinstance(each, list) for each in lists)
        and len(result["objectives"]) > 0
        and all(isinstance(name, str) for name in result["objectives"])
        and all(is_score(each, choices) for each in (result, *lists[1], *lists[2]))
        and all("costs" in each for each in (result, *lists[1], *lists[2]))
    )


def whole_lines(path: Path, problems: list[str]) -> list[Record]:
    """The records of a file up to the first that is damaged, which joins the problems."""
    try:
        return complete_records(path)[0]
    except InputError as error:
        problems.append(str(error))
    try:
        lines = path.read_bytes().split(b"\n")[:-1]
    except OSError:
        return []
    records: list[Record] = []
    with suppress(ValueError):
        for line in lines:
            records.append(parse(line))
    return records


def whole_generations(path: Path, choices: Sequence[int], problems: list[str]) -> list[Record]:
    """The recorded generations up to the first that is none, which joins the problems."""
    records = whole_lines(path, problems)
    for number, record in enumerate(records):
        if not is_generation(record, number, choices):
            problems.append(
                f"{path}, line {number + 1}: not generation {number} of a search of "
                f"{len(choices)} blocks. The report ends before it."
            )
            return records[:number]
    return records


def is_generation(record: Record, number: int, choices: Sequence[int]) -> bool:
    """Whether a record is that of a generation, with the scores of its architectures."""
    scored = [record.get("rescored"), record.get("population")]
    prefix = record.get("prefix")
    return (
        record.get("generation") == number
        and isinstance(prefix, list)
        and fits(prefix, choices[: len(prefix)])
        and all(isinstance(each, list) for each in scored)
        and (record.get("best") is None or is_score(record["best"], choices))
        and all(is_score(each, choices) for each in scores_of(record))
    )


def is_score(record: Any, choices: Sequence[int]) -> bool:
    """Whether a record is that of a score of an architecture with these choices."""
    if not isinstance(record, dict) or not fits(record.get("architecture"), choices):
        return False
    name = first_objective(record)
    value = None if name is None else record[name]
    return (
        name is not None
        and (value is None or isinstance(value, int | float))
        and isinstance(record.get("costs", {}), dict)
    )


def fits(architecture: Any, choices: Sequence[int]) -> bool:
    """Whether something has one choice for each block, and a block has every choice."""
    return (
        isinstance(architecture, list)
        and len(architecture) == len(choices)
        and all(
            isinstance(own, int) and 0 <= own < count
            for own, count in zip(architecture, choices, strict=True)
        )
    )


def is_timed(metrics: Record) -> bool:
    """Whether the metrics of a generation say how long it took."""
    return isinstance(metrics.get("seconds"), int | float)
