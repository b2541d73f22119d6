"""One architecture on its own: a plain torch module with calibrated batch norm, and its files."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final

import torch
from torch import nn

from raynas.data.splits import SearchData
from raynas.errors import InputError, require_flags
from raynas.evaluation.batch_norm import statistics as batch_stats
from raynas.evaluation.batch_norm.statistics import Statistics
from raynas.evaluation.device.numerics import numerics
from raynas.evaluation.settings import Arithmetic, Evaluation, protocol_for
from raynas.evaluation.trie import nodes_of
from raynas.export.folder import DESCRIPTION, FILES, replace_files, require_target
from raynas.export.onnx_file import ONNX, onnx_bytes, require_onnx
from raynas.export.program import PROGRAM, WEIGHTS, first_line, program_of, weights_bytes
from raynas.export.source import SOURCE, source_bytes
from raynas.files import plain_number, writing
from raynas.inputs import Inputs
from raynas.population.calibration import statistics_for
from raynas.space import Architecture
from raynas.supernets.chain import ChainSupernet, batch_norms
from raynas.supernets.chain_nodes import example_batch
from raynas.supernets.plain_modules import plain_nodes
from raynas.supernets.recalibration import require_recalibratable
from raynas.task import Task, classification_or


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
        batch: the one batch size that `model.pt2` and `model.onnx` take; `None` for any.
    """

    directory: Path
    files: tuple[str, ...]
    refused: Mapping[str, str]
    batch: int | None = None

    def require_complete(self) -> Exported:
        """These files, if all that runs or can be loaded was written.

        A subnet without `network.py` is complete: it is for people, who may have the code anyway.

        Raises:
            PartialExportError: something else was refused.
        """
        lacking = [
            f"{name} was not ({reason})" for name, reason in self.refused.items() if name != SOURCE
        ]
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
    *,
    onnx: bool = False,
) -> Exported:
    """Write one subnet with its batch norm calibrated on the calibration split.

    Args:
        directory: receives the files; see `export_subnet`.
        supernet: whose weights it inherits.
        data: whose calibration split it is calibrated on, unless statistics are inherited.
        architecture: one choice per block.
        evaluation: the protocol that the statistics follow.
        description: added to `architecture.json`.
        task: of the search; classification if omitted.
        onnx: whether to write `model.onnx`, too.

    Raises:
        InputError: an architecture that the supernet does not have, images that do not fit it, what
            a search would refuse to recalibrate, no packages for ONNX, or a directory that cannot
            be written to or holds the export of another architecture.
        PartialExportError: torch refuses the module; all else has been written.
    """
    chosen = supernet.space.validate(architecture)
    require_target(Path(directory), chosen)
    require_asked(onnx=onnx)
    if protocol_for(supernet, evaluation).batch_norm == "recalibrate":
        supernet.check(classification_or(task, supernet.num_classes))
        require_recalibratable(supernet)
    return export_searched(
        directory, supernet, data, chosen, evaluation, description, task, onnx=onnx
    )


def export_searched(
    directory: Path | str,
    supernet: ChainSupernet,
    data: SearchData,
    architecture: Architecture,
    evaluation: Evaluation,
    description: dict[str, Any],
    task: Task | None = None,
    *,
    onnx: bool = False,
) -> Exported:
    """Write one subnet of a supernet that a search has accepted; see `export_architecture`."""
    chosen = supernet.space.validate(architecture)
    require_target(Path(directory), chosen)
    require_asked(onnx=onnx)
    with numerics(torch.device("cpu"), Arithmetic(threads=evaluation.threads)):
        statistics = statistics_for(supernet, data, chosen, evaluation, task)
        subnet = plain_subnet(supernet, chosen, statistics)
        names = list(supernet.decode(chosen))
        content = {**description, "architecture": list(chosen), "names": names}
        made = export_subnet(directory, subnet, supernet.inputs, content, onnx=onnx)
        return made.require_complete()


def export_subnet(
    directory: Path | str,
    subnet: nn.Module,
    inputs: Inputs,
    description: Mapping[str, Any],
    *,
    onnx: bool = False,
) -> Exported:
    """Write a subnet to a directory: all of it that can be written.

    - `architecture.json`: the description with the inputs, the batch size that the program takes
      and what could not be written.
    - `weights.safetensors`: the state dict, in which tensors that share memory are written once
      for each name.
    - `model.pt2`: a `torch.export` program that runs without raynas
      (`torch.export.load(path).module()`), for any batch size, or else for one.
    - `model.onnx`, if asked for: the same program for other runtimes.
    - `network.py`: a Python module that builds the network and loads its weights with torch alone,
      to be read, fine-tuned and retrained.

    Files of an earlier export that are not written again are removed.

    Args:
        directory: created; must not hold an export of another architecture.
        subnet: a plain module on the CPU.
        inputs: the shape and type of one sample.
        description: a JSON object with at least `"architecture"`; with `"names"`, `network.py` has
            the names of the choices.
        onnx: whether to write `model.onnx`, too.

    Raises:
        InputError: the directory holds the export of another architecture, or cannot be written
            to, or there are no packages for ONNX; the files that were there are still whole.
    """
    target = Path(directory)
    require_target(target, description["architecture"])
    require_asked(onnx=onnx)
    refused: dict[str, str] = {}
    made, batch = contents(subnet, inputs, description, refused, onnx=onnx)
    files = {name: content for name in FILES if (content := made.get(name)) is not None}
    with writing("export directory", target):
        target.mkdir(parents=True, exist_ok=True)
        replace_files(target, files)
        # Of an earlier export, with weights that may have been others.
        for name in set(FILES) - files.keys():
            (target / name).unlink(missing_ok=True)
    return Exported(target, tuple(files), refused, batch)


def contents(
    subnet: nn.Module,
    inputs: Inputs,
    description: Mapping[str, Any],
    refused: dict[str, str],
    *,
    onnx: bool,
) -> tuple[dict[str, bytes | None], int | None]:
    """The contents of the files of an export.

    Args:
        subnet, inputs, description, onnx: as those of `export_subnet`.
        refused: receives the reasons why something could not be written.

    Returns:
        The content of each file by its name, and the one batch size of programs, `None` for any.
    """
    names = description.get("names", ())
    made: dict[str, bytes | None] = {WEIGHTS: weights_bytes(subnet, refused)}
    program = program_of(subnet, inputs, refused)
    made[PROGRAM] = None if program is None else program.content
    made[SOURCE] = source_bytes(subnet, inputs, names, WEIGHTS, refused)
    if onnx and program is not None:
        made[ONNX] = onnx_bytes(program, subnet, inputs, refused)
    elif onnx:
        refused[ONNX] = f"it is made from {PROGRAM}, which was not written"
    batch = None if program is None else program.batch
    told = {
        **description,
        "inputs": asdict(inputs),
        "batch": "any" if batch is None else batch,
        "not_written": refused,
    }
    made[DESCRIPTION] = json.dumps(told, indent=2, default=plain_number).encode() + b"\n"
    return made, batch


def require_asked(*, onnx: bool) -> None:
    """Raise `InputError` unless what is asked for can be written here."""
    require_flags(onnx=onnx)
    if onnx:
        require_onnx()
