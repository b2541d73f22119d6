"""`raynas export`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from tyro.conf import OmitArgPrefixes

import raynas
from raynas.commands.loading import DataOptions, load_data, load_supernet
from raynas.commands.terminal import make_console
from raynas.errors import require
from raynas.export import export_architecture
from raynas.result import load_result
from raynas.space import decode, encode


def export(
    data: OmitArgPrefixes[DataOptions],
    supernet: str,
    out: Path,
    weights: Path | None = None,
    architecture: str | None = None,
    run_dir: Path | None = None,
    batch_norm: Literal["recalibrate", "inherit"] | None = None,
) -> None:
    """Write one architecture as a plain torch module, with batch norm calibrated on the data.

    Args:
        data: the samples whose calibration split is used.
        supernet: the trained weights, or package.module:function.
        out: the directory that receives architecture.json, weights.safetensors and model.pt2.
        weights: for --supernet package.module:function: the trained weights.
        architecture: one choice per block, as 2,1,0,3; that of run_dir's result if omitted.
        run_dir: a finished search of this supernet; its batch norm is that of the search.
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
    chosen = None if architecture is None else decode(architecture)
    samples = load_data(data)
    network = load_supernet(supernet, data, samples, weights)
    if chosen is not None:
        evaluation = raynas.Evaluation(batch_norm=batch_norm or "recalibrate")
        export_architecture(out, network, samples, chosen, evaluation, {})
    else:
        result = load_result(Path(str(run_dir)), network, samples)
        result.export(out)
        chosen = result.best.architecture
    make_console().print(f"Exported {encode(chosen)} to {out}", soft_wrap=True)
