"""`raynas train`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import raynas
from raynas.commands.blocks import read_blocks, require_no_blocks
from raynas.commands.loading import (
    PRESETS,
    DataOptions,
    build,
    load_data,
    load_task,
    preset_supernet,
)
from raynas.commands.options import chosen, options_of
from raynas.commands.paths import PathsName, require_greedy, require_progressive
from raynas.commands.supernet_training import adjust, require_room, train_or_load
from raynas.commands.terminal import make_console
from raynas.preparation import inspect_data, prepare, require_calibration, require_seed
from raynas.training import presets
from raynas.training.greedy import GreedySettings
from raynas.training.progressive_paths import ProgressiveSettings

if TYPE_CHECKING:
    from raynas import TrainingSettings as TrainingOptions
    from raynas.training.greedy import GreedySettings as GreedyOptions
    from raynas.training.progressive_paths import ProgressiveSettings as ProgressiveOptions
else:
    TrainingOptions = options_of(raynas.TrainingSettings, unset=True)
    GreedyOptions = options_of(GreedySettings, without=("steps",), unset=True)
    ProgressiveOptions = options_of(ProgressiveSettings, unset=True)


OF_PATHS: Mapping[tuple[str, PathsName], str] = {
    ("fashion-mnist", "fair"): "FASHION_MNIST_FAIR",
    ("fashion-mnist", "progressive"): "FASHION_MNIST_PROGRESSIVE",
    ("imagenet", "greedy"): "IMAGENET_GREEDY",
    ("imagenet", "progressive"): "IMAGENET_PROGRESSIVE",
}
"""Training settings in `raynas.training.presets` for a data set and a kind of paths."""


def train(
    data: DataOptions,
    out: Path,
    settings: TrainingOptions,
    greedy: GreedyOptions,
    progressive: ProgressiveOptions,
    supernet: str | None = None,
    blocks: str | None = None,
    task: str | None = None,
    paths: PathsName = "uniform",
    workers: int | None = 0,
    filter_samples: int | None = None,
) -> None:
    """Train a supernet path by path, and resume where it was interrupted.

    On several GPUs: torchrun --nproc-per-node 4 -m raynas train, with the same options. Each
    process takes an equal part of every batch.

    Args:
        data: the samples.
        out: the safetensors file to write; an existing one is not trained again.
        settings: how it is trained; as in the preset of the data set and the paths if omitted.
            --seed determines the initial weights, too.
        greedy: the filter and the pool of greedy paths; as in the paper, shortened to the length of
            the training, if omitted.
        progressive: the second stage of progressive paths; as in the paper if omitted.
        supernet: spos, spos-channels, proxylessnas, fairnas, greedynas, greedynas-se, ponas,
            resnet-mixed or resnet-mixed-34 (of mixed precision), in the size that fits the images;
            or package.module:function, which returns a raynas.ChainSupernet; the SPOS supernet of a
            named data set if omitted.
        blocks: of a supernet whose channels are searched: train those of these blocks alone, given
            as c3,c5,x or as the architecture.json of an exported subnet.
        task: package.module:function, which returns a raynas.Task; classification if omitted.
        paths: uniform (SPOS), uniform-constraint (over ten bins of FLOPs), fair (FairNAS: as many
            paths a step as blocks have choices), greedy (GreedyNAS: the best of those that are
            compared on validation samples; their pool is written beside out) or progressive (PONAS:
            the largest path, then the choices of one block after another, whose accuracies are
            written beside out, for raynas specialize).
        workers: Ray actors that compare greedy and progressive paths; 0 for this process.
        filter_samples: about how many validation samples greedy paths are compared on; 1,000 if
            omitted.
    """
    import torch

    from raynas.commands.torchrun import joined
    from raynas.supernets.chain import batch_norms
    from raynas.supernets.recalibration import warn_unless

    with joined() as processes:
        terms = training_settings(data.data, settings, paths)
        filtering, tuning = chosen(greedy), chosen(progressive)
        require_greedy(paths, {**filtering, "filter_samples": filter_samples})
        require_progressive(paths, tuning)
        ProgressiveSettings(**tuning)
        kept = read_blocks(blocks)
        if supernet is None:
            require_no_blocks(kept, "no --supernet")
        new = not processes.agree(out.exists)
        if new:
            processes.in_first(partial(require_room, out))
        samples = load_data(data, train=True)
        torch.manual_seed(terms.seed)
        network = (
            preset_supernet(data, samples) if supernet is None else build(supernet, samples, kept)
        )
        judged = load_task(task)
        if len(samples.validation) > 0:
            # Whether the data fit shows here, in seconds; a search would say so after the training.
            protocol = raynas.Evaluation(batch_norm="inherit")
            inspect_data(prepare(network, samples, None, protocol, judged))
            if batch_norms(network) and new and processes.first:
                warn_unless(partial(require_calibration, samples))
        train_or_load(
            network,
            samples,
            terms,
            out,
            judged,
            paths=paths,
            workers=workers,
            filter_samples=filter_samples,
            greedy=filtering,
            progressive=tuning,
        )
        if not new and processes.first:
            asked = {**chosen(settings), **filtering, **tuning, "filter_samples": filter_samples}
            make_console().print(nothing_trained(out, asked), soft_wrap=True)


def nothing_trained(out: Path, asked: Mapping[str, Any]) -> str:
    """One line that says that a supernet was there, and which options were of no use.

    Args:
        out: the file of the supernet.
        asked: values by the names of options of a training; `None` for those that were not given.
    """
    given = [
        f"--{name.replace('_', '-')} {value}" for name, value in asked.items() if value is not None
    ]
    passed = f", and {', '.join(given)} made no difference" if given else ""
    return f"Supernet: nothing was trained{passed}; to train anew, remove {out} or change --out"


def training_settings(
    data: str, options: TrainingOptions, paths: PathsName = "uniform"
) -> raynas.TrainingSettings:
    """The preset of a data set and of a kind of paths, with the options that were given.

    Raises:
        InputError: an option out of range.
    """
    name = PRESETS[data].training if data in PRESETS else "OWN_DATA"
    name = OF_PATHS.get((data, paths), name)
    preset: raynas.TrainingSettings = getattr(presets, name)
    given = chosen(options)
    require_seed(given.get("seed", preset.seed))
    return adjust(preset, **given)
