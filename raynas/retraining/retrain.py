"""Training one architecture for itself, from scratch or from inherited weights, and testing it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, final

import safetensors.torch
import torch

from raynas.data.splits import SearchData
from raynas.errors import InputError, require, require_flags, require_kind
from raynas.evaluation.device.numerics import numerics
from raynas.evaluation.settings import Arithmetic, Evaluation
from raynas.export import Exported, export_subnet
from raynas.export.folder import FILES
from raynas.export.program import WEIGHTS, first_line
from raynas.files import Record, as_path
from raynas.population.calibration import statistics_for
from raynas.preparation import Prepared, inspect_data, open_evaluator, prepare
from raynas.result import Best, best_of
from raynas.retraining import records
from raynas.retraining.network import Initialize, family_rule, reset, rule_in_words, standalone
from raynas.supernets.chain import ChainSupernet
from raynas.supernets.identity import digest, untrained_digest
from raynas.supernets.value_digest import identity_of_task
from raynas.task import Task, classification_or
from raynas.training.processes import Processes
from raynas.training.progress import EpochReport, StepReport
from raynas.training.settings import TrainingSettings
from raynas.training.trainer import train


@final
@dataclass(frozen=True)
class Retrained:
    """A network that was trained for itself.

    Args:
        best: the architecture as in the supernet, with the scores and costs of this network:
            objectives on the validation split, and on the test split.
        network: with its weights, a chain of one choice a block; `network.subnet((0,) * blocks)`
            is plain.
        reports: of its epochs.
        exported: its files.
        record: the content of `architecture.json`.
    """

    best: Best
    network: ChainSupernet = field(repr=False)
    reports: tuple[EpochReport, ...] = field(repr=False)
    exported: Exported = field(repr=False)
    record: Record = field(repr=False)


def retrain(
    supernet: ChainSupernet,
    data: SearchData,
    architecture: Sequence[int | str] | str,
    settings: TrainingSettings,
    out: str | Path,
    *,
    inherit: bool = False,
    evaluation: Evaluation | None = None,
    task: Task | None = None,
    initialize: Initialize | None = None,
    observer: Callable[[EpochReport], None] | None = None,
    step_observer: Callable[[StepReport], None] | None = None,
) -> Retrained:
    """Train one architecture of a supernet as a network of its own, and test it.

    The network is plain: its batch norm has gain and offset, also where the supernet's has none
    (SPOS), and it has as many parameters as cost tables count. The supernet stays as it is. An
    interrupted retraining goes on from its checkpoint, and ends on the CPU with the same bits as
    one that was not; a finished one is read back where the samples are the same (see `data`). At
    the end the network is scored on the validation split, and once on the test split,
    with the statistics that its batch norm has recorded; nothing is recalibrated.

    In the processes of a `torch.distributed` group all train together; see
    `raynas.training.train`. Process 0 writes and scores.

    Args:
        supernet: whose architecture it is.
        data: to train on, with samples for validation. All samples that the network is scored on
            are compared with those of a retraining that `out` holds. Of training samples their
            `digest()` is: of arrays it is of all values; of image files of all names, classes and
            sizes in bytes, and of the contents of all up to 64 MiB, else of 64 files. Of others
            that have no `digest()` only their number and the first batch are compared.
        architecture: one choice per block, by index or name; or a text such as `"c7,c5,x"`.
        settings: how it is trained; `raynas.training.presets` has those of the papers. Their seed
            determines the initial weights, too.
        out: the directory of the checkpoint while it goes on, and at the end of the files of the
            network; see `raynas.export.export_subnet`.
        inherit: begin with the supernet's weights instead of fresh ones.
        evaluation: how the supernet was searched: the batch-norm statistics that an inherited
            network begins with are recalibrated, or not, by it.
        task: to be learned; classification among the supernet's classes if omitted.
        initialize: draws the weights of a module from torch's generator, after each of its modules
            has been reset as torch does; the family's rule for supernets of this library, else
            none.
        observer: called after each epoch of this call.
        step_observer: called after each step of this call, one step late.

    Raises:
        InputError: an architecture that the supernet does not have, data without training samples,
            modules that cannot be reset, or a directory that holds anything but this retraining.
        TrainingDivergedError: the loss is not finite; the last checkpoint is kept.
    """
    require_kind(supernet, ChainSupernet, "supernet", "Build one of stem, blocks and head.")
    require_kind(data, SearchData, "data", "Make it with raynas.data.from_arrays, or from_folder.")
    require_kind(settings, TrainingSettings, "settings", "Write it as raynas.TrainingSettings(…).")
    require_flags(inherit=inherit)
    directory, processes = as_path(out, "out"), Processes.current()
    named = supernet.read if isinstance(architecture, str) else supernet.encode
    judged = classification_or(task, supernet.num_classes)
    begun = Beginning(
        supernet, data, named(architecture), judged,  # type: ignore[arg-type]
        settings.seed, inherit, evaluation or Evaluation(), initialize or family_rule(supernet),
    )  # fmt: skip
    plan = processes.agree(partial(begun.plan, settings))
    processes.in_first(partial(records.require_directory, directory, plan))
    record = processes.agree(partial(records.ended, directory))
    if record is not None:
        network = begun.network()
        fill(network, directory / WEIGHTS)
        return retrained(directory, network, record)
    there = processes.agree((directory / records.CHECKPOINT).exists)
    network = begun.network(calibrate=not there)
    device = "cpu" if settings.device == "cpu" else "auto"
    protocol = Evaluation(batch_norm="inherit", device=device)  # type: ignore[arg-type]
    prepared = prepare(network, data, None, protocol, judged)
    inspect_data(prepared)
    processes.in_first(partial(records.begin, directory, plan))
    reports = train(
        network, data.train, settings, task=judged, checkpoint=directory / records.CHECKPOINT,  # type: ignore[arg-type]
        observer=observer, step_observer=step_observer,
    )  # fmt: skip
    record = processes.agree(partial(conclude, prepared, directory, plan, reports))
    return retrained(directory, network, record)


@final
@dataclass(frozen=True)
class Beginning:
    """Everything that determines the network before its training.

    Args:
        supernet, data, architecture, task, inherit, evaluation: as those of `retrain`.
        seed: of fresh weights.
        rule: that draws them; torch's own if `None`.

    Raises:
        InputError: no training samples, or a supernet that cannot be calibrated and has to be.
    """

    supernet: ChainSupernet
    data: SearchData
    architecture: tuple[int, ...]
    task: Task
    seed: int
    inherit: bool
    evaluation: Evaluation
    rule: Initialize | None

    def __post_init__(self) -> None:
        require(
            self.data.train is not None,
            "data",
            "a data set with training samples",
            self.data.name,
            "Load it with its training samples.",
        )
        if self.inherit:
            inspect_data(prepare(self.supernet, self.data, None, self.evaluation, self.task))

    def plan(self, settings: TrainingSettings) -> Record:
        """The plan as JSON: all that weights and scores depend on, by digests of all samples.

        Raises:
            InputError: a network that cannot be reset, or samples that cannot be read.
        """
        assert self.data.train is not None
        begun: Record = {"weights": "fresh", "rule": rule_in_words(self.rule)}
        if self.inherit:
            begun = {"weights": digest(self.supernet), "batch_norm": self.evaluation.batch_norm}
        calibration = self.inherit and self.evaluation.batch_norm == "recalibrate"
        return {
            "architecture": list(self.architecture),
            "names": list(self.supernet.decode(self.architecture)),
            "data": self.data.name,
            "begins": begun,
            "settings": records.settings_record(settings),
            "network": untrained_digest(self.network(), "fresh start"),
            "task": identity_of_task(self.task),
            "samples": {
                **records.samples_record(self.data.train, settings),
                **records.splits_record(self.data, calibration=calibration),
            },
        }

    def network(self, *, calibrate: bool = False) -> ChainSupernet:
        """The network; of inherited weights its statistics are calibrated only if they count.

        Raises:
            InputError: fresh weights of a module that cannot be reset.
        """
        statistics = None
        if self.inherit and calibrate:
            with numerics(torch.device("cpu"), Arithmetic(threads=self.evaluation.threads)):
                statistics = statistics_for(
                    self.supernet, self.data, self.architecture, self.evaluation, self.task
                )
        network = standalone(self.supernet, self.architecture, statistics)
        if not self.inherit:
            reset(network, self.seed, self.rule)
        return network


def conclude(
    prepared: Prepared, directory: Path, plan: Record, reports: Sequence[EpochReport]
) -> Record:
    """Score the network, write its files, and return the description of it.

    Raises:
        InputError: the files cannot be written; the checkpoint is kept.
    """
    network = prepared.supernet
    assert isinstance(network, ChainSupernet)
    only = (0,) * network.space.blocks
    with open_evaluator(prepared, 0) as evaluator:
        (score,) = evaluator.score_in_full([only])
        test = evaluator.test(only)
    tested = dict.fromkeys(score.objectives) if test is None else test.known_objectives
    costs = {name: table.of(only) for name, table in prepared.problem.tables.items()}
    description: Record = {
        **{name: plan[name] for name in ("architecture", "names")},
        "objectives": list(score.objectives),
        **score.known_objectives,
        **{f"test_{name}": value for name, value in tested.items()},
        "flops": costs["flops"],
        "params": costs["params"],
        "costs": costs,
        records.ENDED: {
            **{name: plan[name] for name in ("data", "begins", "settings")},
            "seconds": sum(report.seconds for report in reports),
            "reports": [asdict(report) for report in reports],
        },
    }
    with numerics(torch.device("cpu"), Arithmetic()):
        exported = export_subnet(directory, network.subnet(only), network.inputs, description)
    if WEIGHTS in exported.files:
        (directory / records.CHECKPOINT).unlink(missing_ok=True)
    return {**description, "batch": exported.batch or "any", "not_written": dict(exported.refused)}


def fill(network: ChainSupernet, weights: Path) -> None:
    """Fill a network from the file that a retraining wrote of it.

    Raises:
        InputError: another file.
    """
    plain = network.subnet((0,) * network.space.blocks)
    try:
        plain.load_state_dict(safetensors.torch.load_file(weights))
    except (RuntimeError, OSError, safetensors.SafetensorError) as error:
        raise InputError(
            "out",
            f"the {WEIGHTS} that the retraining wrote",
            f"{weights} ({first_line(error)})",
            "Restore the file, or retrain into another directory.",
        ) from error


def retrained(directory: Path, network: ChainSupernet, record: Record) -> Retrained:
    """The result from the description that was written."""
    names: Any = record["objectives"]
    tested = {name: record[f"test_{name}"] for name in names}
    batch = None if record["batch"] == "any" else int(record["batch"])
    return Retrained(
        best_of(record, names, None if None in tested.values() else tested),
        network,
        tuple(EpochReport(**report) for report in record[records.ENDED]["reports"]),
        Exported(
            directory,
            tuple(name for name in FILES if (directory / name).exists()),
            record["not_written"],
            batch,
        ),
        record,
    )
