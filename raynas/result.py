"""The result of a search: the winner, or the front, and reading them back from records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import final

from raynas.data.splits import SearchData
from raynas.errors import require
from raynas.evaluation.settings import Evaluation
from raynas.evolution.strategy import Strategy
from raynas.export import Exported, PartialExportError, export_searched
from raynas.export.folder import require_targets
from raynas.files import Record
from raynas.generation import Observer
from raynas.preparation import Prepared
from raynas.replay import retrace
from raynas.report.read import read_run, require_whole
from raynas.run_samples import require_same_data
from raynas.runlog import RESULT, require_same
from raynas.score import members_of
from raynas.space import Architecture
from raynas.supernets.chain import ChainSupernet
from raynas.supernets.identity import Identity, identity
from raynas.task import Task, classification_or


@final
@dataclass(frozen=True)
class Best:
    """The architecture that a search found; shares are in [0, 1].

    Args:
        architecture: one choice per block.
        objectives: on the full validation split, full precision, full protocol, by name.
        test_objectives: on the held-out test split; `None` if there is none.
        flops: multiply-accumulates for one sample.
        params: parameters of the network that would be retrained.
        costs: these, and all others that were limited, by name.
        names: of the choices.
    """

    architecture: Architecture
    objectives: Mapping[str, float]
    test_objectives: Mapping[str, float] | None
    flops: int
    params: int
    costs: Mapping[str, int | float]
    names: tuple[str, ...]

    def record(self) -> Record:
        """The winner as a flat JSON object."""
        tested = {} if self.test_objectives is None else self.test_objectives
        return {
            "architecture": list(self.architecture),
            **self.objectives,
            **{f"test_{name}": value for name, value in tested.items()},
            "flops": self.flops,
            "params": self.params,
            "costs": dict(self.costs),
        }

    @property
    def top1(self) -> float:
        """The share of correct validation samples, for classification.

        Raises:
            InputError: the task was another one, here as in `top5` and `test_top1`.
        """
        return self._share(self.objectives, "top1")

    @property
    def top5(self) -> float:
        """The share of validation samples whose label is among the five largest logits."""
        return self._share(self.objectives, "top5")

    @property
    def test_top1(self) -> float | None:
        """The share of correct test samples; `None` if there are none."""
        tested = self.test_objectives
        return None if tested is None else self._share(tested, "top1", "test_")

    @staticmethod
    def _share(objectives: Mapping[str, float], name: str, prefix: str = "") -> float:
        require(
            name in objectives,
            f"{prefix}{name}",
            "a search for a classification",
            f"one for {', '.join(objectives)}",
            f"Read best.{prefix}objectives.",
        )
        return objectives[name]


@final
@dataclass(frozen=True)
class SearchResult:
    """The result of a search: the winner, and the way to it.

    Args:
        best: the winner.
        front: every architecture that was found, re-scored in full: of a search for a front its
            members, the best first objective first; of any other search the winner.
        record: the content of `result.json`.
    """

    best: Best
    front: tuple[Best, ...]
    record: Record = field(repr=False)
    supernet: ChainSupernet = field(repr=False)
    data: SearchData = field(repr=False)
    evaluation: Evaluation = field(repr=False)
    task: Task = field(repr=False)
    identity: Identity = field(repr=False)

    @property
    def members(self) -> tuple[Best, ...]:
        """The members of the front, or, of a search for one winner, its finalists; the best first.

        Tests were scored of the winner alone.
        """
        every = (best_of(each, self.record["objectives"], None) for each in members_of(self.record))
        own = self.best.architecture
        return tuple(self.best if each.architecture == own else each for each in every)

    def export(
        self, directory: Path | str, member: Best | None = None, *, onnx: bool = False
    ) -> Exported:
        """Write a subnet as files that need no raynas; see `raynas.export.export_subnet`.

        Args:
            directory: that receives them.
            member: of the front, or of the finalists; the best if omitted.
            onnx: whether to write `model.onnx`, too, which needs the extra `onnx`.

        Raises:
            InputError: as there, or the supernet has changed since the search.
            PartialExportError: torch refuses the module; all else has been written.
        """
        chosen = self.best if member is None else member
        require_same_supernet(self.supernet, self.identity, "supernet")
        return export_searched(
            directory, self.supernet, self.data, chosen.architecture, self.evaluation,
            chosen.record(), self.task, onnx=onnx,
        )  # fmt: skip

    def export_front(self, directory: Path | str, *, onnx: bool = False) -> list[Path]:
        """Write every member of the front to a folder of its own: `00`, the best one, `01`, ….

        Raises:
            InputError: as `export`; or one of the folders, or another numbered one, holds something
                else, and nothing has been written.
            PartialExportError: torch refuses a module; all else has been written, of all members.
        """
        return [made.directory for made in self.export_each(self.front, directory, onnx=onnx)]

    def export_each(
        self, members: Sequence[Best], directory: Path | str, *, onnx: bool = False
    ) -> list[Exported]:
        """Write several architectures, such as `members`, as `export_front` does those of a front.

        Raises:
            InputError, PartialExportError: as there.
        """
        folders = require_targets(Path(directory), [member.architecture for member in members])
        exported: list[Exported] = []
        refused: PartialExportError | None = None
        for folder, member in zip(folders, members, strict=True):
            try:
                exported.append(self.export(folder, member, onnx=onnx))
            except PartialExportError as error:
                refused = refused or error
        if refused is not None:
            raise refused
        return exported


def finished_result(
    run_dir: Path, prepared: Prepared, strategy: Strategy, seed: int, notify: Observer
) -> SearchResult | None:
    """The result of a run that had already finished, told to the observer again; else `None`.

    All samples are read once, to see that they are those of the run, files too; nothing is
    evaluated.

    Raises:
        InputError: its generations are not all there, are not what the strategy proposes, or are of
            other samples.
    """
    if not (run_dir / RESULT).exists():
        return None
    records = read_run(run_dir)
    result = records.require_result()
    require_same_data(records.config, result, prepared.data, prepared.evaluation, "resume")
    timings = {metrics["generation"]: metrics for metrics in records.metrics}
    for each in retrace(prepared.problem, strategy, seed, records.generations, run_dir):
        notify(each.record, timings.get(each.record["generation"], {}))
    require_whole(records)
    return result_from(result, prepared)


def load_result(
    run_dir: Path, supernet: ChainSupernet, data: SearchData, task: Task | None = None
) -> SearchResult:
    """The result of a finished search, read back from its run directory.

    Args:
        run_dir: of the search.
        supernet: that was searched.
        data: on which it was searched; its samples are read once, to see that they are the same.
        task: of the search; classification if omitted.

    Raises:
        InputError: the search has not finished, or was one of another supernet or other data.
    """
    records = read_run(run_dir)
    result = records.require_result()
    recorded = records.config
    searched = Identity.from_json(recorded["supernet"])
    require_same_supernet(supernet, searched, "run_dir")
    require_same({"data": recorded["data"]["name"]}, {"data": data.name}, "run_dir")
    evaluation = Evaluation(**recorded["evaluation"])
    require_same_data(recorded, result, data, evaluation, "run_dir")
    judged = classification_or(task, supernet.num_classes)
    best, front = members(result)
    return SearchResult(best, front, result, supernet, data, evaluation, judged, searched)


def require_same_supernet(supernet: ChainSupernet, searched: Identity, argument: str) -> None:
    """Raise `InputError` unless a supernet is the one that was searched."""
    difference = identity(supernet).difference(searched)
    require(
        difference is None,
        argument,
        "the supernet that was searched",
        f"another one: {difference} differ",
        "Load the weights that the search evaluated.",
    )


def result_from(record: Record, prepared: Prepared) -> SearchResult:
    """The result of a search from its record."""
    best, front = members(record)
    return SearchResult(
        best,
        front,
        record,
        prepared.supernet,
        prepared.data,
        prepared.evaluation,
        prepared.task,
        prepared.identity,
    )


def members(record: Record) -> tuple[Best, tuple[Best, ...]]:
    """The winner that a result names, and the members of its front."""
    names = record["objectives"]
    tested = {name: record[f"test_{name}"] for name in names}
    best = best_of(record, names, None if None in tested.values() else tested)
    others = (best_of(each, names, None) for each in record["front"])
    front = (best if each.architecture == best.architecture else each for each in others)
    return best, tuple(front)


def best_of(record: Record, names: Sequence[str], tested: Mapping[str, float] | None) -> Best:
    """One architecture with its score from its record."""
    return Best(
        architecture=tuple(record["architecture"]),
        objectives={name: record[name] for name in names},
        test_objectives=tested,
        flops=record["costs"]["flops"],
        params=record["costs"]["params"],
        costs=record["costs"],
        names=tuple(record["names"]),
    )
