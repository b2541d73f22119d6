"""The command line: names to constructors, arguments to calls of the public API."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import tyro

import raynas
from raynas import console as terminal
from raynas.errors import InputError, require
from raynas.evolution import CFES, EA, PCFES, RandomSearch, Strategy
from raynas.space import decode

StrategyName = Literal["ea", "random", "cf", "pcf"]
DataName = Literal["digits", "fashion-mnist", "cifar10", "cifar100", "imagenet"]


@dataclass(frozen=True)
class Preset:
    """What the command line knows about a data set.

    Args:
        data: the loader in `raynas.data`.
        supernet: the builder in `raynas.supernets` that fits its images.
        training: settings that train this supernet well.
    """

    data: str
    supernet: str
    training: Mapping[str, Any]


PRESETS: Mapping[DataName, Preset] = {
    "digits": Preset("digits", "spos_8x8", {"epochs": 120, "batch_size": 32, "learning_rate": 0.2}),
    "fashion-mnist": Preset(
        "fashion_mnist", "spos_28x28", {"epochs": 24, "batch_size": 128, "learning_rate": 0.1}
    ),
    "cifar10": Preset(
        "cifar10", "spos_32x32", {"epochs": 120, "batch_size": 128, "learning_rate": 0.1}
    ),
    "cifar100": Preset(
        "cifar100", "spos_32x32", {"epochs": 120, "batch_size": 128, "learning_rate": 0.1}
    ),
    "imagenet": Preset(
        "imagenet", "spos", {"epochs": 120, "batch_size": 1024, "learning_rate": 0.5}
    ),
}

BUILDERS = {"spos": "spos"}
"""From the `"builder"` of a recipe to the function in `raynas.supernets`."""


def make_strategy(
    name: StrategyName,
    *,
    population: int = 50,
    generations: int = 20,
    top_k: int = 10,
    threshold: float = 0.7,
    monitor: int = 3,
) -> Strategy:
    """A strategy by its name; thresholds and monitor size where it has them."""
    shared: dict[str, Any] = {"population": population, "generations": generations, "top_k": top_k}
    if name == "ea":
        return EA(**shared)
    if name == "random":
        return RandomSearch(**shared)
    if name == "cf":
        return CFES(**shared, threshold=threshold)
    return PCFES(**shared, threshold=threshold, monitor=monitor)


def train_or_load(
    supernet: raynas.ChainSupernet,
    data: raynas.data.SearchData,
    settings: raynas.TrainingSettings,
    weights: Path,
) -> None:
    """Fill a supernet from a file; if there is none, train it, showing progress, and write it.

    An interrupted training goes on from the checkpoint beside the file.

    Raises:
        InputError: weights that do not fit, or a data set without training images.
    """
    screen = terminal.make_console()
    if weights.exists():
        raynas.supernets.load(supernet, weights)
        screen.print(f"Supernet: reusing {weights}")
        return
    require(
        data.train is not None,
        "data",
        "a data set with training images",
        data.name,
        "Load it with its training images, or give a trained checkpoint.",
    )
    assert data.train is not None
    weights.parent.mkdir(parents=True, exist_ok=True)
    checkpoint = weights.with_suffix(".training.pt")
    screen.print(
        f"Supernet: training {supernet.space.count():,} architectures on {len(data.train):,} "
        f"images of {data.name}"
    )
    with terminal.training_progress(screen) as progress:
        reports = raynas.training.train(
            supernet,
            data.train,
            settings,
            checkpoint=checkpoint,
            observer=progress.epoch,
            step_observer=progress.step,
        )
    raynas.supernets.save(supernet, weights)
    checkpoint.unlink(missing_ok=True)
    seconds = sum(report.seconds for report in reports)
    screen.print(
        f"Supernet: {len(reports)} epochs in {seconds:.0f} s, training accuracy of random paths "
        f"{reports[-1].accuracy:.2%}; saved to {weights}"
    )


def search_and_show(
    supernet: raynas.ChainSupernet,
    data: raynas.data.SearchData,
    strategy: Strategy,
    run_dir: Path,
    **options: Any,
) -> None:
    """Search with progress, print the result and export the best subnet to `run_dir/best`."""
    screen = terminal.make_console()
    with terminal.search_progress(screen, strategy.generations) as observer:
        result = raynas.search(
            supernet, data, strategy=strategy, run_dir=run_dir, observer=observer, **options
        )
    screen.print(terminal.result_table(result.record))
    result.export(run_dir / "best")
    screen.print(f"Records: {run_dir}, best subnet: {run_dir / 'best'}")


def choose_run_dir(base: Path, strategy: str, seed: int, *, resume: bool) -> Path:
    """Where a search without `--run-dir` writes: a new folder, or the latest one to resume.

    Raises:
        InputError: nothing to resume.
    """
    stem = f"{strategy}-seed{seed}-"
    if resume:
        earlier = sorted(path for path in base.glob(f"{stem}*") if path.is_dir())
        require(
            bool(earlier),
            "resume",
            f"an earlier search in {base}/{stem}*",
            "none",
            "Name the run with --run-dir, or start one without --resume.",
        )
        return earlier[-1]
    return base / f"{stem}{datetime.now():%Y%m%d-%H%M%S}"


def load_data(name: DataName, folder: Path | None) -> raynas.data.SearchData:
    """A data set by its name."""
    loader: Callable[..., raynas.data.SearchData] = getattr(raynas.data, PRESETS[name].data)
    if name == "digits":
        return loader()
    if name == "fashion-mnist":
        return loader(folder)
    require(folder is not None, "data-dir", f"the folder of {name}", None, "Give --data-dir.")
    return loader(folder)


def load_supernet(
    weights: Path, name: DataName, data: raynas.data.SearchData
) -> raynas.ChainSupernet:
    """A trained supernet: built from the recipe in its file, else as the data set's preset."""
    recipe = raynas.supernets.recipe_of(weights)
    if recipe is None:
        supernet = getattr(raynas.supernets, PRESETS[name].supernet)(data.num_classes)
    else:
        settings = dict(recipe)
        builder = settings.pop("builder", None)
        require(
            builder in BUILDERS,
            f"supernet {weights}",
            f"a recipe for one of {sorted(BUILDERS)}",
            builder,
            "Search supernets of your own with raynas.search from Python.",
        )
        supernet = getattr(raynas.supernets, BUILDERS[builder])(**settings)
    raynas.supernets.load(supernet, weights)
    return supernet


def train(
    data: DataName,
    out: Path,
    data_dir: Path | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    device: str | None = None,
    seed: int = 0,
) -> None:
    """Train a supernet by uniform single-path sampling, and resume where it was interrupted.

    Args:
        data: the data set; it determines the size of the SPOS supernet.
        out: the safetensors file to write; an existing one is not trained again.
        data_dir: where the data set is, for those that are not bundled.
        epochs: passes over the training images; the data set's preset if omitted.
        batch_size: images per step; the data set's preset if omitted.
        learning_rate: the highest one; the data set's preset if omitted.
        device: cpu, cuda, cuda:1; a GPU where there is one if omitted.
        seed: of initial weights, paths, batches and augmentation.
    """
    import torch

    given = {"epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate}
    chosen = {**PRESETS[data].training, **{k: v for k, v in given.items() if v is not None}}
    settings = raynas.TrainingSettings(
        **chosen, warmup_epochs=min(1.0, chosen["epochs"] / 10), seed=seed, device=device
    )
    images = load_data(data, data_dir)
    torch.manual_seed(seed)
    supernet = getattr(raynas.supernets, PRESETS[data].supernet)(images.num_classes)
    train_or_load(supernet, images, settings, out)


def search(
    data: DataName,
    supernet: Path,
    run_dir: Path,
    data_dir: Path | None = None,
    strategy: StrategyName = "pcf",
    flops: float | None = None,
    population: int = 50,
    generations: int = 20,
    top_k: int = 10,
    threshold: float = 0.7,
    monitor: int = 3,
    batch_norm: Literal["recalibrate", "inherit"] = "recalibrate",
    sample_rate: float = 1.0,
    sampling: Literal["top", "weighted"] = "top",
    bits: int = 32,
    prefix_sharing: bool = True,
    threads: int = 1,
    workers: int | None = None,
    seed: int = 0,
    resume: bool = False,
) -> None:
    """Search a trained supernet for the best architecture under a constraint.

    Args:
        data: the data set.
        supernet: the trained weights: safetensors, a torch state dict, or a released SPOS one.
        run_dir: where the records and the exported best subnet go.
        data_dir: where the data set is, for those that are not bundled.
        strategy: ea (SPOS), random, cf (CF-ES) or pcf (PCF-ES).
        flops: the most multiply-adds that a legal architecture may have; no limit if omitted.
        population: architectures per generation.
        generations: the generation limit.
        top_k: how many of the best are parents.
        threshold: the choice percentage at which blocks freeze (cf, pcf).
        monitor: the most blocks that one progressive freeze takes (pcf).
        batch_norm: recalibrate statistics for every candidate, or inherit the supernet's.
        sample_rate: the share of validation samples kept after the first freeze.
        sampling: keep the samples of largest loss (top), or draw by loss and weight them.
        bits: how activations behind the frozen prefix are stored: 32 or 16.
        prefix_sharing: compute each distinct prefix of a generation once.
        threads: CPU threads of each worker; part of the protocol.
        workers: Ray actors; 0 for this process, every GPU or core if omitted.
        seed: of everything random.
        resume: continue the run in run_dir.
    """
    images = load_data(data, data_dir)
    chosen = make_strategy(
        strategy,
        population=population,
        generations=generations,
        top_k=top_k,
        threshold=threshold,
        monitor=monitor,
    )
    evaluation = raynas.Evaluation(
        batch_norm=batch_norm,
        sample_rate=sample_rate,
        sampling=sampling,
        bits=bits,
        prefix_sharing=prefix_sharing,
        threads=threads,
    )
    search_and_show(
        load_supernet(supernet, data, images),
        images,
        chosen,
        run_dir,
        constraint=None if flops is None else raynas.FLOPs(at_most=flops),
        evaluation=evaluation,
        workers=workers,
        seed=seed,
        resume=resume,
    )


def export(
    data: DataName,
    supernet: Path,
    out: Path,
    architecture: str | None = None,
    run_dir: Path | None = None,
    data_dir: Path | None = None,
    batch_norm: Literal["recalibrate", "inherit"] = "recalibrate",
) -> None:
    """Write one architecture as a plain torch module, with batch norm calibrated on the data.

    Args:
        data: the data set whose calibration split is used.
        supernet: the trained weights.
        out: receives architecture.json, weights.safetensors and model.pt2.
        architecture: one choice per block, as 2,1,0,3; that of run_dir's result if omitted.
        run_dir: a finished search.
        data_dir: where the data set is, for those that are not bundled.
        batch_norm: recalibrate statistics, or inherit the supernet's.
    """
    from raynas.result import export_architecture
    from raynas.runlog import RESULT, read_json

    require(
        (architecture is None) != (run_dir is None),
        "architecture",
        "either --architecture or --run-dir",
        "both" if architecture else "neither",
        "Give one of them.",
    )
    if architecture is not None:
        chosen = decode(architecture)
    else:
        chosen = tuple(read_json(Path(str(run_dir)) / RESULT)["architecture"])
    images = load_data(data, data_dir)
    evaluation = raynas.Evaluation(batch_norm=batch_norm)
    export_architecture(out, load_supernet(supernet, data, images), images, chosen, evaluation, {})
    terminal.make_console().print(f"Exported {list(chosen)} to {out}")


def run(command: Callable[..., None] | Mapping[str, Callable[..., None]]) -> None:
    """Run a function, or one of several, with the arguments of the command line.

    What the user can mend is printed as one line, and ends the process with exit code 2.
    """
    try:
        if callable(command):
            tyro.cli(command)
        else:
            tyro.extras.subcommand_cli_from_dict(dict(command))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def main() -> None:
    """The `raynas` command."""
    run({"train": train, "search": search, "export": export})
