"""`raynas export`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from tyro.conf import Positional

import raynas
from raynas.commands.architectures import architecture_of
from raynas.commands.blocks import read_blocks, require_searched_blocks
from raynas.commands.families import require_trained
from raynas.commands.loading import DataOptions, SupernetOptions, load_data
from raynas.commands.terminal import make_console
from raynas.commands.workflow import warn_of_refused
from raynas.errors import InputError, require
from raynas.files import Record
from raynas.report.read import RunRecords, read_run
from raynas.score import members_of
from raynas.space import Architecture, encode

BatchNorm = Literal["recalibrate", "inherit"]

BEST, MEMBERS = "best", "members"
"""Folders of a run directory that are exported to if no other is named."""


def export(
    data: DataOptions,
    supernet: SupernetOptions,
    run_dir: Positional[Path | None] = None,
    out: Path | None = None,
    architecture: str | None = None,
    all: bool = False,
    onnx: bool = False,
    batch_norm: BatchNorm | None = None,
) -> None:
    """Write what a search found, or any architecture, as files that need no raynas.

    These are architecture.json, weights.safetensors, model.pt2 (a program of torch.export) and
    network.py (readable source that needs torch alone), and on request model.onnx. Batch norm is
    calibrated on the data. What cannot be written is said, and all else is written; the exit code
    is 2 then, unless it is network.py alone.

    Args:
        data: the samples whose calibration split is used.
        supernet: what it is a part of.
        run_dir: a finished search of this supernet; its batch norm is that of the search.
        out: the directory that receives the files; best in the run directory if omitted, and with
            --all members there.
        architecture: without a run directory: one choice per block, as 2,1,0,3 or c7,c5,c3,x; or
            the file of one, of raynas or of another project.
        all: every member of the run's front, or of a search for one winner its finalists, each in a
            folder of its own: 00, the best one, 01, ...
        onnx: write model.onnx, too; needs the extra onnx.
        batch_norm: with --architecture: recalibrate statistics (if omitted), or inherit the
            supernet's.
    """
    require_one_source(run_dir, architecture, batch_norm, all=all)
    require_trained(supernet.supernet, supernet.weights)
    if run_dir is None:
        require(out is not None, "out", "a directory", "none", "Give --out.")
        assert out is not None
        assert architecture is not None
        export_named(data, supernet, out, architecture, batch_norm or "recalibrate", onnx=onnx)
    else:
        run = read_run(run_dir)
        target = out or run.directory / (MEMBERS if all else BEST)
        export_found(data, supernet, run, target, all=all, onnx=onnx)


def require_one_source(
    run_dir: Path | None, architecture: str | None, batch_norm: str | None, *, all: bool
) -> None:
    """Raise `InputError` unless either a run or an architecture is given, with its own options."""
    require(
        (architecture is None) != (run_dir is None),
        "architecture",
        "either --architecture or a run directory",
        "neither" if architecture is None else "both",
        "Give one of them.",
    )
    require(
        run_dir is None or batch_norm is None,
        "batch-norm",
        "none with a run directory",
        batch_norm,
        "Leave it out: the subnet is exported as the search evaluated it.",
    )
    require(
        run_dir is not None or not all,
        "all",
        "none without a run directory",
        "--all",
        "Name a search whose members are exported.",
    )


def export_named(
    data: DataOptions,
    supernet: SupernetOptions,
    out: Path,
    architecture: str,
    batch_norm: BatchNorm,
    *,
    onnx: bool,
) -> None:
    """Export one architecture of a supernet.

    Raises:
        InputError: no such architecture, or what `raynas.export.export_architecture` refuses.
    """
    # What needs torch is loaded when the arguments are known to be right.
    from raynas.export import export_architecture, require_asked

    require_asked(onnx=onnx)
    samples = load_data(data)
    network, task = supernet.load(data, samples)
    found = architecture_of(network, architecture)
    protocol = raynas.Evaluation(batch_norm=batch_norm)
    priced = counted(network, found)
    made = export_architecture(out, network, samples, found, protocol, priced, task, onnx=onnx)
    warn_of_refused([made])
    make_console().print(f"Exported {encode(found)} to {out}", soft_wrap=True)


def counted(network: raynas.ChainSupernet, architecture: Architecture) -> Record:
    """FLOPs and parameters of an architecture, as a search records them; none if not countable."""
    from raynas.costs import flops_table, params_table

    try:
        tables = (flops_table(network), params_table(network))
    except InputError:
        # Such a network can be exported all the same.
        return {}
    costs = {table.name: table.of(architecture) for table in tables}
    return {**costs, "costs": costs}


def export_found(
    data: DataOptions,
    supernet: SupernetOptions,
    run: RunRecords,
    out: Path,
    *,
    all: bool,
    onnx: bool,
) -> None:
    """Export what a search found.

    Raises:
        InputError: the search has not finished, or was one of another supernet or other data, or
            the directory holds something else.
    """
    result = run.require_result()
    from raynas.export import require_asked
    from raynas.export.folder import require_target, require_targets
    from raynas.result import load_result

    require_asked(onnx=onnx)
    if all:
        require_targets(out, [member["architecture"] for member in members_of(result)])
    else:
        require_target(out, result["architecture"])
    samples = load_data(data)
    network, task = supernet.load(data, samples)
    searched = run.config["supernet"].get("names", network.names)
    require_searched_blocks(searched, network.names, read_blocks(supernet.blocks))
    loaded = load_result(run.directory, network, samples, task)
    if all:
        made = loaded.export_each(loaded.members, out, onnx=onnx)
        told = f"{len(made)} subnets"
    else:
        made = [loaded.export(out, onnx=onnx)]
        told = encode(loaded.best.architecture)
    warn_of_refused(made)
    make_console().print(f"Exported {told} to {out}", soft_wrap=True)
