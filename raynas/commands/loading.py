"""Data sets and supernets by the names that a command line gives them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, final, get_args

import raynas
from raynas.commands import named
from raynas.commands.blocks import Blocks, read_blocks, require_no_blocks
from raynas.commands.families import FAMILIES, build_family, from_recipe, is_family, weights_file
from raynas.commands.options import renamed
from raynas.errors import require

DataName = Literal["digits", "fashion-mnist", "cifar10", "cifar100", "imagenet"]


@final
@dataclass(frozen=True)
class Preset:
    """The loader, supernet and training settings of a data set.

    Args:
        data: the loader in `raynas.data`.
        supernet: the builder in `raynas.supernets` that fits its images.
        training: the settings in `raynas.training.presets` that train this supernet well.
    """

    data: str
    supernet: str
    training: str


PRESETS: Mapping[str, Preset] = {
    "digits": Preset("digits", "spos_8x8", "DIGITS"),
    "fashion-mnist": Preset("fashion_mnist", "spos_28x28", "FASHION_MNIST"),
    "cifar10": Preset("cifar10", "spos_32x32", "CIFAR"),
    "cifar100": Preset("cifar100", "spos_32x32", "CIFAR"),
    "imagenet": Preset("imagenet", "spos", "IMAGENET"),
}


@final
@dataclass(frozen=True)
class DataOptions:
    """The samples to use, and their splits.

    Args:
        data: digits, fashion-mnist, cifar10, cifar100 or imagenet; a folder with train/CLASS/IMAGE
            and, if there are held-out images, val/CLASS/IMAGE; or package.module:function, which
            takes those of --image-size to --shard-size that are given, and returns a
            raynas.data.SearchData.
        data_dir: the folder of a named data set that is not bundled.
        train_folder: of a folder with images, the one in it with training images; train if
            omitted.
        val_folder: likewise the one with held-out images; val if omitted; none splits them off the
            training images.
        image_size: height and width of the images of a folder; 224 if omitted.
        calibration: how many samples batch norm is calibrated on; the data set's default if
            omitted.
        validation: how many samples steer the search; the data set's default if omitted.
        test: how many samples are held out; the data set's default if omitted.
        shard_size: the largest number of samples in a batch of the evaluation; the data set's
            default if omitted.
    """

    data: str
    data_dir: Path | None = None
    train_folder: str | None = None
    val_folder: str | None = None
    image_size: int | None = None
    calibration: int | None = None
    validation: int | None = None
    test: int | None = None
    shard_size: int | None = None


@final
@dataclass(frozen=True)
class SupernetOptions:
    """The supernet, and how its outputs are judged.

    Args:
        supernet: the file of the trained weights (safetensors, a torch state dict, or the released
            SPOS one); spos, spos-channels, proxylessnas, fairnas, greedynas, greedynas-se, ponas,
            resnet-mixed or resnet-mixed-34; or package.module:function, which returns a
            raynas.ChainSupernet.
        weights: the file of the trained weights, beside a --supernet that is no file; those that
            a function leaves in it if omitted. Scores of spos and the like need it.
        blocks: of a supernet whose channels are searched, or its weights: search those of these
            blocks alone, given as c3,c5,x or as the architecture.json of an exported subnet.
        task: package.module:function, which returns a raynas.Task; classification if omitted.
    """

    supernet: str
    weights: Path | None = None
    blocks: str | None = None
    task: str | None = None

    def load(
        self, options: DataOptions, data: raynas.data.SearchData
    ) -> tuple[raynas.ChainSupernet, raynas.Task | None]:
        """The supernet with its weights, and the task.

        Raises:
            InputError: as `load_supernet`, `load_task` and `read_blocks`.
        """
        task, blocks = load_task(self.task), read_blocks(self.blocks)
        return load_supernet(self.supernet, options, data, self.weights, blocks), task

    def weights_in_words(self) -> str:
        """Where the weights come from: a supernet that is not trained is not seen otherwise."""
        if self.weights is None and is_built(self.supernet):
            return f"as {self.supernet} leaves them"
        return str(self.weights or self.supernet)


def load_data(options: DataOptions, *, train: bool = False) -> raynas.data.SearchData:
    """The data of the options.

    Args:
        options: of the command line.
        train: whether the samples for training are wanted, where those have to be asked for.

    Raises:
        InputError: no such data set, folder or function, or an option that it does not have.
    """
    wanted: dict[str, Any] = {
        name: getattr(options, name)
        for name in ("image_size", "calibration", "validation", "test", "shard_size")
        if getattr(options, name) is not None
    }
    name = options.data
    folders = {
        part: getattr(options, f"{part}_folder")
        for part in ("train", "val")
        if getattr(options, f"{part}_folder") is not None
    }
    for part in folders:
        require(
            name not in PRESETS and not named.is_named(name),
            f"{part}-folder",
            f"none beside --data {name}",
            folders[part],
            "It names a folder in a folder of images.",
        )
    if name in PRESETS:
        return load_named(options, wanted, train=train)
    require(
        options.data_dir is None,
        "data-dir",
        f"none beside --data {name}",
        options.data_dir,
        "It is the folder of one of the named data sets.",
    )
    if named.is_named(name):
        return named.make(name, raynas.data.SearchData, "data", wanted)
    require(
        Path(name).is_dir(),
        "data",
        f"one of {', '.join(get_args(DataName))}, a folder, or {named.FORM}",
        repr(name),
        "Give the folder that holds train/CLASS/IMAGE, or the name of a data set.",
    )
    if folders.get("val") == "none":
        folders["val"] = None
    return raynas.data.from_folder(name, **folders, **wanted)


def load_named(
    options: DataOptions, wanted: dict[str, Any], *, train: bool
) -> raynas.data.SearchData:
    """A data set that raynas knows by its name, with the options that were given.

    Raises:
        InputError: an option that it does not have, or its folder is not given.
    """
    name = options.data
    bundled = name == "digits"
    require(
        bundled or options.data_dir is not None or name == "fashion-mnist",
        "data-dir",
        f"the folder of {name}",
        "none",
        "Give --data-dir.",
    )
    require(
        not bundled or options.data_dir is None,
        "data-dir",
        f"none beside --data {name}, which is bundled",
        options.data_dir,
        "Leave it out.",
    )
    folder = () if options.data_dir is None else (options.data_dir,)
    loader: Callable[..., raynas.data.SearchData] = getattr(raynas.data, PRESETS[name].data)
    named.require_options(loader, wanted, f"--data {name}")
    if name == "imagenet":
        wanted = {**wanted, "train": train}
    return loader(*folder, **wanted)


def load_task(source: str | None) -> raynas.Task | None:
    """The task that a function makes; `None`, which is classification, if there is no function.

    Raises:
        InputError: no such function, or none that makes a task.
    """
    if source is None:
        return None
    # The type is abstract: named.make only looks whether it is one.
    made: raynas.Task = named.make(source, raynas.Task, "task")  # type: ignore[type-abstract]
    return made


def load_supernet(
    source: str,
    options: DataOptions,
    data: raynas.data.SearchData,
    weights: Path | None = None,
    blocks: Blocks | None = None,
) -> raynas.ChainSupernet:
    """A supernet with its trained weights.

    Args:
        source: a file of weights, whose recipe or whose data set's preset says how to build it; the
            name of a family; or `package.module:function`, which returns a supernet.
        options: of the data.
        data: whose classes it has.
        weights: for a name or a function: a file to fill the supernet from.
        blocks: whose channels alone are searched.

    Raises:
        InputError: no such file or function, or weights that do not fit.
    """
    if is_built(source):
        supernet = build(source, data, blocks)
        if weights is not None:
            with renamed(checkpoint="weights"):
                raynas.supernets.load(supernet, weights)
        return supernet
    require(
        weights is None,
        "weights",
        "none, beside a file as --supernet",
        weights,
        "Give --weights only where --supernet is no file.",
    )
    file = weights_file(source)
    with renamed(checkpoint="supernet"):
        recipe = raynas.supernets.recipe_of(file)
        if recipe is None:
            require_no_blocks(blocks, f"{file}, which does not say how its supernet was built")
            supernet = preset_supernet(options, data)
        else:
            supernet = from_recipe(file, recipe, blocks)
        raynas.supernets.load(supernet, file)
    return supernet


def is_built(source: str) -> bool:
    """Whether a text names a family or a function, and no file that is there."""
    return named.is_named(source) or is_family(source)


def build(
    source: str, data: raynas.data.SearchData, blocks: Blocks | None = None
) -> raynas.ChainSupernet:
    """The supernet of a family that fits the data, or the one that a function builds.

    Raises:
        InputError: no such function, or none that builds a supernet; or data that no family fits;
            or blocks beside another family than spos-channels.
    """
    if source in FAMILIES:
        return build_family(source, data, blocks)
    require_no_blocks(blocks, f"--supernet {source}")
    return named.make(source, raynas.ChainSupernet, "supernet")


def preset_supernet(options: DataOptions, data: raynas.data.SearchData) -> raynas.ChainSupernet:
    """The untrained supernet that fits a named data set.

    Raises:
        InputError: data of the user's own, for which there is none.
    """
    require(
        options.data in PRESETS,
        "supernet",
        f"{named.FORM}, which builds one for --data {options.data}",
        "no function",
        "Give --supernet package.module:function (and trained weights as --weights).",
    )
    build = getattr(raynas.supernets, PRESETS[options.data].supernet)
    built: raynas.ChainSupernet = build(data.num_classes)
    return built
