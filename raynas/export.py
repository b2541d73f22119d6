"""One architecture on its own: a plain torch module with calibrated batch norm, and its files."""

from __future__ import annotations

import copy
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final

import torch
from torch import nn

from raynas.data.splits import SearchData
from raynas.errors import InputError, require
from raynas.evaluation.batch_norm import statistics as batch_stats
from raynas.evaluation.batch_norm.statistics import Statistics
from raynas.evaluation.device.numerics import numerics
from raynas.evaluation.settings import Arithmetic, Evaluation, protocol_for
from raynas.evaluation.trie import nodes_of
from raynas.files import plain_number, write_through, writing
from raynas.inputs import Inputs
from raynas.module_files import PROGRAM, WEIGHTS, first_line, program_bytes, weights_bytes
from raynas.population.evaluated import Splits
from raynas.population.evaluator import PopulationEvaluator
from raynas.shards.inspection import Inspector
from raynas.space import Architecture
from raynas.supernets.chain import ChainSupernet, batch_norms
from raynas.supernets.chain_nodes import example_batch
from raynas.supernets.plain_modules import plain_nodes
from raynas.supernets.recalibration import require_recalibratable
from raynas.task import Task, classification_or
from raynas.workers.open_pool import open_pool

DESCRIPTION = "architecture.json"


@final
class PartialExportError(InputError):
    """An export that lacks what torch could not write; all else was written."""


@final
@dataclass(frozen=True)
class Exported:
    """The files of an exported subnet.

    Args:
        directory: that holds them.
        files: their names.
        refused: why something could not be written, by the name of a file or of a tensor.
        batch: the one batch size that `model.pt2` takes; `None` for any.
    """

    directory: Path
    files: tuple[str, ...]
    refused: Mapping[str, str]
    batch: int | None = None

    def require_complete(self) -> Exported:
        """These files, if they are all that was asked for.

        Raises:
            PartialExportError: something was refused.
        """
        lacking = [f"{name} was not ({reason})" for name, reason in self.refused.items()]
        if self.batch is not None:
            lacking.append(f"{PROGRAM} takes batches of {self.batch}")
        if lacking:
            raise PartialExportError(
                "export",
                "a subnet that torch can write as a program for any batch size",
                f"{', '.join(self.files)} in {self.directory}, but {'; '.join(lacking)}",
                "What is there can be used; to have the rest, change what was refused in the "
                "module.",
            )
        return self


def plain_subnet(
    supernet: ChainSupernet, architecture: Architecture, statistics: Statistics | None
) -> nn.Sequential:
    """Copy one architecture, so that it shares nothing with the supernet.

    Modules with a `raynas_plain` are replaced by what that gives (`supernets.plain_modules`).

    Args:
        supernet: whose weights it inherits.
        architecture: one choice per block.
        statistics: merged batch-norm statistics of the nodes of the architecture; `None` keeps
            the supernet's running ones.

    Returns:
        A `nn.Sequential` on the CPU in evaluation mode: samples `[n, ...]` to outputs.

    Raises:
        InputError: an architecture that the supernet does not have, modules that cannot be
            copied, or a `raynas_plain` that gives no module that computes the same.
    """
    chosen = supernet.space.validate(architecture)
    try:
        # Module by module: blocks that share one get statistics of their own.
        modules = [copy.deepcopy(module) for module in supernet.subnet(chosen)]
    except (RuntimeError, TypeError) as error:
        raise InputError(
            "supernet",
            "modules that can be copied",
            first_line(error),
            "Keep no tensors that gradients flow through as attributes of modules.",
        ) from error
    subnet = nn.Sequential(*modules).to("cpu").eval()
    if statistics is not None:
        with torch.no_grad():
            for module, path in zip(subnet, nodes_of(chosen), strict=True):
                batch_stats.write(batch_norms(module), statistics[path])
    # After the statistics, so that a module that stands for others can hold theirs.
    with torch.no_grad():
        plain_nodes(subnet, example_batch(supernet, 2))
    return subnet


def export_architecture(
    directory: Path | str,
    supernet: ChainSupernet,
    data: SearchData,
    architecture: Architecture,
    evaluation: Evaluation,
    description: dict[str, Any],
    task: Task | None = None,
) -> Exported:
    """Write one subnet with its batch norm calibrated on the calibration split.

    Args:
        directory: receives `architecture.json`, `weights.safetensors` and `model.pt2`.
        supernet: whose weights it inherits.
        data: whose calibration split it is calibrated on, unless statistics are inherited.
        architecture: one choice per block.
        evaluation: the protocol that the statistics follow.
        description: added to `architecture.json`.
        task: of the search; classification if omitted.

    Raises:
        InputError: an architecture that the supernet does not have, images that do not fit it, what
            a search would refuse to recalibrate, or a directory that cannot be written to or holds
            the export of another architecture.
        PartialExportError: torch refuses the module; all else has been written.
    """
    chosen = supernet.space.validate(architecture)
    require_target(Path(directory), chosen)
    if protocol_for(supernet, evaluation).batch_norm == "recalibrate":
        supernet.check(classification_or(task, supernet.num_classes))
        require_recalibratable(supernet)
    return export_searched(directory, supernet, data, chosen, evaluation, description, task)


def export_searched(
    directory: Path | str,
    supernet: ChainSupernet,
    data: SearchData,
    architecture: Architecture,
    evaluation: Evaluation,
    description: dict[str, Any],
    task: Task | None = None,
) -> Exported:
    """As `export_architecture`, of a supernet that a search has accepted under this protocol."""
    chosen = supernet.space.validate(architecture)
    require_target(Path(directory), chosen)
    with numerics(torch.device("cpu"), Arithmetic(threads=evaluation.threads)):
        statistics: Statistics | None = None
        if protocol_for(supernet, evaluation).batch_norm == "recalibrate":
            judged = classification_or(task, supernet.num_classes)
            inspect = Inspector(supernet.inputs, judged)
            # Nobody reads the pool's digest.
            with open_pool(supernet, evaluation, 0, task=judged, digest="") as pool:
                splits = Splits(data.calibration, (), inspect=inspect)
                statistics = PopulationEvaluator(pool, splits, evaluation, 0).statistics(chosen)
        subnet = plain_subnet(supernet, chosen, statistics)
        names = list(supernet.decode(chosen))
        content = {**description, "architecture": list(chosen), "names": names}
        return export_subnet(directory, subnet, supernet.inputs, content).require_complete()


def export_subnet(
    directory: Path | str, subnet: nn.Module, inputs: Inputs, description: Mapping[str, Any]
) -> Exported:
    """Write a subnet to a directory: all of it that torch can write.

    `architecture.json` is the description with the inputs, the batch size that the program takes
    and what could not be written. `weights.safetensors` is the state dict, in which tensors that
    share memory are written once for each name. `model.pt2` is a `torch.export` program that runs
    without raynas (`torch.export.load(path).module()`), for any batch size, or else for one.

    Args:
        directory: created; must not hold an export of another architecture.
        subnet: a plain module on the CPU.
        inputs: the shape and type of one sample.
        description: a JSON object with at least `"architecture"`.

    Raises:
        InputError: the directory holds the export of another architecture, or cannot be written
            to; the files that were there are still whole.
    """
    target = Path(directory)
    require_target(target, description["architecture"])
    refused: dict[str, str] = {}
    weights = weights_bytes(subnet, refused)
    program, batch = program_bytes(subnet, inputs, refused)
    told = {
        **description,
        "inputs": asdict(inputs),
        "batch": "any" if batch is None else batch,
        "not_written": refused,
    }
    described = json.dumps(told, indent=2, default=plain_number).encode() + b"\n"
    made = {DESCRIPTION: described, WEIGHTS: weights, PROGRAM: program}
    files = {name: content for name, content in made.items() if content is not None}
    with writing("export directory", target):
        target.mkdir(parents=True, exist_ok=True)
        replace_files(target, files)
        # Of an earlier export, with weights that may have been others.
        for name in made.keys() - files:
            (target / name).unlink(missing_ok=True)
    return Exported(target, tuple(files), refused, batch)


def require_target(target: Path, architecture: Sequence[int]) -> None:
    """See that an export may be written to a directory; creates nothing.

    Raises:
        InputError: it holds the export of another architecture, or files that are not those of an
            export, or it cannot be written to.
    """
    with writing("export directory", target):
        existing = next(each for each in (target, *target.absolute().parents) if each.exists())
        if not existing.is_dir():
            raise NotADirectoryError(f"{existing} is not a directory")
        if not os.access(existing, os.W_OK | os.X_OK):
            raise PermissionError(f"{existing} cannot be written to")
        described = (target / DESCRIPTION).exists()
        others = [name for name in (WEIGHTS, PROGRAM) if (target / name).exists()]
    held: object = f"{' and '.join(others)} without {DESCRIPTION}"
    if described:
        try:
            held = json.loads((target / DESCRIPTION).read_text())["architecture"]
        except (OSError, ValueError, KeyError, TypeError):
            held = "something unreadable"
    require(
        held == list(architecture) or not (described or others),
        "export directory",
        "an empty one, or one with the same architecture",
        f"{target}, which holds {held}",
        "Export into another directory.",
    )


def require_targets(directory: Path, architectures: Sequence[Sequence[int]]) -> list[Path]:
    """Folders `00`, `01`, … for the exports of several architectures; creates nothing.

    Raises:
        InputError: as `require_target`, or another numbered folder is there, so that it could not
            be told from these.
    """
    folders = [directory / f"{index:02d}" for index in range(len(architectures))]
    for folder, architecture in zip(folders, architectures, strict=True):
        require_target(folder, architecture)
    there = sorted(each.name for each in directory.iterdir()) if directory.is_dir() else []
    foreign = [name for name in there if name.isdecimal() and directory / name not in folders]
    require(
        not foreign,
        "export directory",
        f"no numbered folder in {directory} but those of {len(folders)} architectures",
        ", ".join(foreign),
        "Export into another directory, or remove them.",
    )
    return folders


def replace_files(target: Path, files: Mapping[str, bytes]) -> None:
    """Write files to a directory, all of them before the first of them replaces another.

    Raises:
        OSError: they cannot be written.
    """
    parts = target / f".{os.getpid()}.part"
    try:
        parts.mkdir()
        for name, content in files.items():
            write_through(parts / name, content)
        for name in files:
            os.replace(parts / name, target / name)
    finally:
        shutil.rmtree(parts, ignore_errors=True)
