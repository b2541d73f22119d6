"""The command line: names to constructors, arguments to calls of the public API."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import raynas
from raynas.commands import terminal
from raynas.commands.ledger import ledger as ledger_commands
from raynas.commands.workflow import (
    StrategyName,
    make_strategy,
    run,
    search_and_show,
    train_or_load,
)
from raynas.errors import InputError, require
from raynas.evaluation.settings import Sampling
from raynas.runlog import require_usable
from raynas.space import decode, encode

DataName = Literal["digits", "fashion-mnist", "cifar10", "cifar100", "imagenet"]


@dataclass(frozen=True)
class Preset:
    """What the command line knows about a data set.

    Args:
        data: the loader in `raynas.data`.
        supernet: the builder in `raynas.supernets` that fits its images.
        training: the settings in `raynas.training.presets` that train this supernet well.
    """

    data: str
    supernet: str
    training: str


PRESETS: Mapping[DataName, Preset] = {
    "digits": Preset("digits", "spos_8x8", "DIGITS"),
    "fashion-mnist": Preset("fashion_mnist", "spos_28x28", "FASHION_MNIST"),
    "cifar10": Preset("cifar10", "spos_32x32", "CIFAR"),
    "cifar100": Preset("cifar100", "spos_32x32", "CIFAR"),
    "imagenet": Preset("imagenet", "spos", "IMAGENET"),
}

BUILDERS = {"spos": "spos"}
"""From the `"builder"` of a recipe to the function in `raynas.supernets`."""


def load_data(
    name: DataName, folder: Path | None, *, train: bool = False
) -> raynas.data.SearchData:
    """A data set by its name; with its training images, where those have to be asked for."""
    loader: Callable[..., raynas.data.SearchData] = getattr(raynas.data, PRESETS[name].data)
    if name == "digits":
        return loader()
    if name == "fashion-mnist":
        return loader(folder)
    require(folder is not None, "data-dir", f"the folder of {name}", None, "Give --data-dir.")
    return loader(folder, train=train) if name == "imagenet" else loader(folder)


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
        try:
            supernet = getattr(raynas.supernets, BUILDERS[builder])(**settings)
        except TypeError as error:
            raise InputError(
                f"supernet {weights}",
                f"a recipe that {builder} can be built from",
                error,
                "Use a file that this version of raynas wrote.",
            ) from error
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
    preset: raynas.TrainingSettings = getattr(raynas.training.presets, PRESETS[data].training)
    chosen: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    chosen["warmup_epochs"] = min(preset.warmup_epochs, (epochs or preset.epochs) / 10)
    settings = replace(preset, **chosen, seed=seed, device=device)
    images = load_data(data, data_dir, train=True)
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
    block_ratio: float = 0.5,
    census: Literal["population", "top_k"] = "population",
    monitor: int = 3,
    batch_norm: Literal["recalibrate", "inherit"] = "recalibrate",
    sample_rate: float = 1.0,
    sampling: Sampling = "top",
    unfrozen_sample_rate: float = 1.0,
    voters: int | None = None,
    calibration_images: int | None = None,
    bits: int = 32,
    precision: Literal["float32", "bfloat16", "float16"] = "float32",
    fold_batch_norm: bool = False,
    prefix_sharing: bool = True,
    threads: int = 1,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    workers: int | None = None,
    seed: int = 0,
    resume: bool = False,
    ledger: Path | None = None,
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
        block_ratio: the share of those blocks that must exceed it on their own (cf, pcf).
        census: whose choices are counted: population or top_k (cf, pcf).
        monitor: the most blocks that one progressive freeze takes (pcf).
        batch_norm: recalibrate statistics for every candidate, or inherit the supernet's.
        sample_rate: the share of validation samples kept after the first freeze.
        sampling: keep the samples of largest loss (top), those that the last generation disagrees
            on (disagreement), or draw them: by loss, weighted (weighted), or uniformly (random).
        unfrozen_sample_rate: the share kept from the first generation to the first freeze; below 1
            only with disagreement.
        voters: how many of the first generation choose that share; all if omitted.
        calibration_images: how many calibration images rank candidates; all if omitted.
        bits: how activations behind the frozen prefix are stored: 32, 16, 8 or 4.
        precision: what candidates are ranked in; winners are always scored in float32.
        fold_batch_norm: fold fixed batch norm into convolutions when candidates are ranked.
        prefix_sharing: compute each distinct prefix of a generation once.
        threads: CPU threads of each worker; part of the protocol.
        device: auto (CUDA where a worker has it), cpu or cuda.
        workers: Ray actors; 0 for this process, every GPU or core if omitted.
        seed: of everything random.
        resume: continue the run in run_dir.
        ledger: a file of scores that searches share; what it holds is not evaluated again.
    """
    chosen = make_strategy(
        strategy,
        population=population,
        generations=generations,
        top_k=top_k,
        threshold=threshold,
        block_ratio=block_ratio,
        census=census,
        monitor=monitor,
    )
    evaluation = raynas.Evaluation(
        batch_norm=batch_norm,
        sample_rate=sample_rate,
        sampling=sampling,
        unfrozen_sample_rate=unfrozen_sample_rate,
        voters=voters,
        calibration_images=calibration_images,
        bits=bits,
        precision=precision,
        fold_batch_norm=fold_batch_norm,
        prefix_sharing=prefix_sharing,
        threads=threads,
        device=device,
    )
    require_usable(run_dir, resume=resume)
    images = load_data(data, data_dir)
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
        ledger=ledger,
    )


def export(
    data: DataName,
    supernet: Path,
    out: Path,
    architecture: str | None = None,
    run_dir: Path | None = None,
    data_dir: Path | None = None,
    batch_norm: Literal["recalibrate", "inherit"] | None = None,
) -> None:
    """Write one architecture as a plain torch module, with batch norm calibrated on the data.

    Args:
        data: the data set whose calibration split is used.
        supernet: the trained weights.
        out: receives architecture.json, weights.safetensors and model.pt2.
        architecture: one choice per block, as 2,1,0,3; that of run_dir's result if omitted.
        run_dir: a finished search of this supernet; its batch norm is that of the search.
        data_dir: where the data set is, for those that are not bundled.
        batch_norm: with --architecture: recalibrate statistics (if omitted), or inherit the
            supernet's.
    """
    from raynas.export import export_architecture
    from raynas.result import load_result

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
    images = load_data(data, data_dir)
    network = load_supernet(supernet, data, images)
    if chosen is not None:
        evaluation = raynas.Evaluation(batch_norm=batch_norm or "recalibrate")
        export_architecture(out, network, images, chosen, evaluation, {})
    else:
        result = load_result(Path(str(run_dir)), network, images)
        result.export(out)
        chosen = result.best.architecture
    terminal.make_console().print(f"Exported {encode(chosen)} to {out}", soft_wrap=True)


def main() -> None:
    """The `raynas` command."""
    run({"train": train, "search": search, "export": export, "ledger": ledger_commands})
