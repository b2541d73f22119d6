"""`raynas export`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import raynas
from raynas.commands.blocks import read_blocks, require_searched_blocks
from raynas.commands.families import require_trained
from raynas.commands.loading import DataOptions, SupernetOptions, load_data
from raynas.commands.terminal import make_console
from raynas.errors import require
from raynas.report.read import read_run
from raynas.space import encode


def export(
    data: DataOptions,
    supernet: SupernetOptions,
    out: Path,
    architecture: str | None = None,
    run_dir: Path | None = None,
    all: bool = False,
    batch_norm: Literal["recalibrate", "inherit"] | None = None,
) -> None:
    """Write one architecture as a plain torch module, with batch norm calibrated on the data.

    Args:
        data: the samples whose calibration split is used.
        supernet: what it is a part of.
        out: the directory that receives architecture.json, weights.safetensors and model.pt2;
            where torch cannot write all of them, the exit code is 2, and the others are there.
        architecture: one choice per block, as 2,1,0,3 or c7,c5,c3,x; that of --run-dir's result if
            omitted.
        run_dir: a finished search of this supernet; its batch norm is that of the search.
        all: with --run-dir: every member of its front, each in a folder of its own.
        batch_norm: with --architecture: recalibrate statistics (if omitted), or inherit the
            supernet's.
    """
    require(
        (architecture is None) != (run_dir is None),
        "architecture",
        "either --architecture or --run-dir",
        "neither" if architecture is None else "both",
        "Give one of them.",
    )
    require(
        run_dir is None or batch_norm is None,
        "batch-norm",
        "none with --run-dir",
        batch_norm,
        "Leave it out: the subnet is exported as the search evaluated it.",
    )
    require(
        run_dir is not None or not all,
        "all",
        "none without --run-dir",
        "--all",
        "Name a search whose front is exported.",
    )
    require_trained(supernet.supernet, supernet.weights)
    run = None if run_dir is None else read_run(run_dir)
    result = None if run is None else run.require_result()
    # What needs torch is loaded when the arguments are known to be right.
    from raynas.export import export_architecture, require_target, require_targets
    from raynas.result import load_result

    if result is not None and all:
        require_targets(out, [member["architecture"] for member in result["front"]])
    elif result is not None:
        require_target(out, result["architecture"])
    samples = load_data(data)
    network, task = supernet.load(data, samples)
    if run is None:
        found = network.read(str(architecture))
        evaluation = raynas.Evaluation(batch_norm=batch_norm or "recalibrate")
        export_architecture(out, network, samples, found, evaluation, {}, task)
    else:
        searched = run.config["supernet"].get("names", network.names)
        require_searched_blocks(searched, network.names, read_blocks(supernet.blocks))
        loaded = load_result(run.directory, network, samples, task)
        if all:
            folders = loaded.export_front(out)
            make_console().print(f"Exported {len(folders)} subnets to {out}", soft_wrap=True)
            return
        found = loaded.best.architecture
        loaded.export(out)
    make_console().print(f"Exported {encode(found)} to {out}", soft_wrap=True)
