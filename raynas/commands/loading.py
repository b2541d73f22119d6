"""Data sets and supernets by the names that a command line gives them."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, final, get_args

import raynas
from raynas.errors import InputError, require

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

BUILDERS = {"spos": "spos"}
"""The function in `raynas.supernets` for each `"builder"` of a recipe."""


@final
@dataclass(frozen=True)
class DataOptions:
    """The samples to use, and their splits.

    Args:
        data: digits, fashion-mnist, cifar10, cifar100 or imagenet; a folder with
            train/CLASS/IMAGE and, if there are held-out images, val/CLASS/IMAGE; or
            package.module:function, which returns a raynas.data.SearchData.
        data_dir: the folder of a named data set that is not bundled.
        image_size: height and width of the images of a folder.
        calibration: how many samples batch norm is calibrated on; the data set's default if
            omitted.
        validation: how many samples steer the search; likewise.
        test: how many samples are held out; likewise.
        shard_size: the largest number of samples in a batch of the evaluation; likewise.
    """

    data: str
    data_dir: Path | None = None
    image_size: int | None = None
    calibration: int | None = None
    validation: int | None = None
    test: int | None = None
    shard_size: int | None = None


def load_data(options: DataOptions, *, train: bool = False) -> raynas.data.SearchData:
    """The data of the options.

    Args:
        options: of the command line.
        train: whether the samples for training are wanted, where those have to be asked for.

    Raises:
        InputError: no such data set, folder or function, or an option that it does not have.
    """
    wanted = {
        name: getattr(options, name)
        for name in ("image_size", "calibration", "validation", "test", "shard_size")
        if getattr(options, name) is not None
    }
    name = options.data
    if ":" in name and not Path(name).exists():
        made = call_named(name, "data", wanted)
        return require_kind(made, raynas.data.SearchData, "data", name)
    if name not in PRESETS:
        require(
            Path(name).is_dir(),
            "data",
            f"one of {', '.join(get_args(DataName))}, a folder, or package.module:function",
            repr(name),
            "Give the folder that holds train/CLASS/IMAGE, or the name of a data set.",
        )
        return raynas.data.from_folder(name, **wanted)
    loader: Callable[..., raynas.data.SearchData] = getattr(raynas.data, PRESETS[name].data)
    folder: tuple[Path, ...] = ()
    if name != "digits":
        require(
            options.data_dir is not None or name == "fashion-mnist",
            "data-dir",
            f"the folder of {name}",
            None,
            "Give --data-dir.",
        )
        folder = () if options.data_dir is None else (options.data_dir,)
    if name == "imagenet":
        wanted["train"] = train
    return call_with(loader, folder, wanted, f"data {name}")


def load_supernet(
    source: str, options: DataOptions, data: raynas.data.SearchData, weights: Path | None = None
) -> raynas.ChainSupernet:
    """A supernet with its trained weights.

    Args:
        source: a file of weights, whose recipe or whose data set's preset says how to build it; or
            `package.module:function`, which returns a supernet.
        options: of the data.
        data: whose classes it has.
        weights: for a function: a file to fill the supernet from, unless it does that itself.

    Raises:
        InputError: no such file or function, or weights that do not fit.
    """
    if not Path(source).exists() and ":" in source:
        supernet = build_named(source)
        if weights is not None:
            raynas.supernets.load(supernet, weights)
        return supernet
    require(
        weights is None,
        "weights",
        "none, beside a file as --supernet",
        weights,
        "Give --weights only where --supernet names a function.",
    )
    file = Path(source)
    recipe = raynas.supernets.recipe_of(file)
    supernet = preset_supernet(options, data) if recipe is None else from_recipe(file, recipe)
    raynas.supernets.load(supernet, file)
    return supernet


def build_named(source: str) -> raynas.ChainSupernet:
    """The supernet that `package.module:function` builds."""
    return require_kind(
        call_named(source, "supernet", {}), raynas.ChainSupernet, "supernet", source
    )


def preset_supernet(options: DataOptions, data: raynas.data.SearchData) -> raynas.ChainSupernet:
    """The untrained supernet that fits a named data set.

    Raises:
        InputError: data of the user's own, for which there is none.
    """
    require(
        options.data in PRESETS,
        "supernet",
        "package.module:function, for data of your own",
        f"none for {options.data}",
        "Give a function that builds a supernet for these samples.",
    )
    built: raynas.ChainSupernet = getattr(raynas.supernets, PRESETS[options.data].supernet)(
        data.num_classes
    )
    return built


def from_recipe(file: Path, recipe: Mapping[str, Any]) -> raynas.ChainSupernet:
    """The untrained supernet that a file of weights says how to build."""
    settings = dict(recipe)
    builder = settings.pop("builder", None)
    require(
        builder in BUILDERS,
        f"supernet {file}",
        f"a recipe for one of {sorted(BUILDERS)}",
        builder,
        "Give --supernet package.module:function, which builds it, and the file as --weights.",
    )
    try:
        built: raynas.ChainSupernet = getattr(raynas.supernets, BUILDERS[builder])(**settings)
    except TypeError as error:
        raise InputError(
            f"supernet {file}",
            f"a recipe that {builder} can be built from",
            error,
            "Use a file that this version of raynas wrote.",
        ) from error
    return built


def call_named(source: str, argument: str, options: dict[str, Any]) -> Any:
    """Import `package.module:function`, also from the current folder, and call the function.

    Raises:
        InputError: no such module or function, or options that it does not take.
    """
    module, _, name = source.partition(":")
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(
            argument,
            "package.module:function that can be imported from here",
            f"{source} ({error})",
            "Run the command where the module is, or install it.",
        ) from error
    require(
        callable(function),
        argument,
        "a function",
        f"{source}, which is a {type(function).__name__}",
        "Name the function that makes it.",
    )
    return call_with(function, (), options, f"{argument} {source}")


def call_with(
    function: Callable[..., Any], arguments: tuple[Any, ...], options: dict[str, Any], name: str
) -> Any:
    """Call a function; an option that it does not take is an `InputError`."""
    import inspect

    known = inspect.signature(function).parameters
    takes_all = any(each.kind is each.VAR_KEYWORD for each in known.values())
    unknown = [option for option in options if option not in known and not takes_all]
    require(
        not unknown,
        name,
        f"options among {', '.join(sorted(known)) or 'none'}",
        ", ".join(unknown),
        "Leave out the others.",
    )
    return function(*arguments, **options)


def require_kind(made: Any, kind: Any, argument: str, source: str) -> Any:
    """The value that a user's function made, if it is of the right kind; else `InputError`."""
    require(
        isinstance(made, kind),
        argument,
        f"a {kind.__name__} from {source}",
        type(made).__name__,
        "Return one from the function.",
    )
    return made
