"""The supernets of the papers by their names, in the size that fits the data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import raynas
from raynas.commands.blocks import Blocks, fixed_recipe, require_no_blocks
from raynas.errors import InputError, require
from raynas.evolution.presets import OF_BUILDER, ChoiceFreezing
from raynas.preparation import require_validation

FAMILIES = (
    "spos", "spos-channels", "proxylessnas", "fairnas", "greedynas", "greedynas-se", "ponas",
    "resnet-mixed", "resnet-mixed-34",
)  # fmt: skip
"""Names that `--supernet` takes."""

CHANNELS = "spos-channels"
"""The family whose channels are searched."""

OWN_OPTIONS: Mapping[str, Mapping[str, Any]] = {
    CHANNELS: {"channels": True}, "greedynas-se": {"se": True}, "resnet-mixed-34": {"depth": 34}
}  # fmt: skip
"""The options of their builders that families have by their names."""

BUILDERS = ("fairnas", "greedynas", "ponas", "proxylessnas", "resnet_mixed", "spos")
"""The functions in `raynas.supernets` that the `"builder"` of a recipe may name."""

SPOS = {(1, 8): "spos_8x8", (1, 28): "spos_28x28", (3, 32): "spos_32x32"}
"""The variants of SPOS by channels and size; the paper's for all other images."""

MIXED = {
    (1, 8): "resnet_mixed_8x8", (1, 28): "resnet_mixed_28x28", (3, 32): "resnet_mixed_32x32"
}  # fmt: skip
"""The variants of ResNets of mixed precision, likewise."""


def build_family(
    name: str, data: raynas.data.SearchData, blocks: Blocks | None = None
) -> raynas.ChainSupernet:
    """An untrained supernet of a paper for images.

    Args:
        name: one of `FAMILIES`.
        data: whose classes and image sizes it gets.
        blocks: of spos-channels: the choice of every block, if they are fixed.

    Raises:
        InputError: samples that are no square images of one or three channels, no classes, or
            blocks that this family does not fix.
    """
    if name != CHANNELS:
        require_no_blocks(blocks, f"--supernet {name}")
    channels, size = image_size(data)
    builder, options = settings_of(name, channels, size)
    if blocks is not None:
        options = {**options, "blocks": blocks}
    built: raynas.ChainSupernet = getattr(raynas.supernets, builder)(data.num_classes, **options)
    return built


def is_family(source: str) -> bool:
    """Whether a text names a family, and no file that is there."""
    return source in FAMILIES and not Path(source).is_file()


def weights_file(source: str) -> Path:
    """The file of weights that a `--supernet` names which is no family and has no colon.

    Raises:
        InputError: no such file; a function may have been meant.
    """
    file = Path(source)
    module = source.removesuffix(".py").replace("/", ".")
    meant = all(part.isidentifier() for part in module.split("."))
    hint = f"; for a function build of the module {module}, write {module}:build" if meant else ""
    require(
        file.exists() and file.suffix != ".py",
        "supernet",
        "a readable safetensors or torch file, a family such as spos, or package.module:function",
        f"{source} ({'a Python file' if file.exists() else 'No such file or directory'})",
        f"Check the path{hint}.",
    )
    return file


def require_trained(source: str, weights: Path | None) -> None:
    """Raise `InputError` for a family without weights: it would be scored as it is drawn."""
    require(
        weights is not None or not is_family(source),
        "weights",
        f"the file of the trained weights of {source}",
        "none, so that they would be random",
        "Give --weights FILE, or the FILE that raynas train wrote as --supernet.",
    )


def image_size(data: raynas.data.SearchData) -> tuple[int, int]:
    """The channels and the height of square images.

    Raises:
        InputError: samples of another kind, or none.
    """
    require_validation(data)
    features = data.validation[0].features
    shape = features.shape[1:]
    square = features.dtype == "uint8" and len(shape) == 3 and shape[0] in (1, 3)
    require(
        square and shape[1] == shape[2],
        "supernet",
        "a function that builds one for these samples",
        f"a network for square images, and samples of {features.dtype} {list(shape)}",
        "Give --supernet package.module:function.",
    )
    return int(shape[0]), int(shape[1])


def settings_of(name: str, channels: int, size: int) -> tuple[str, Mapping[str, Any]]:
    """The builder in `raynas.supernets` and its options."""
    own = OWN_OPTIONS.get(name, {})
    if name in ("spos", CHANNELS) and (channels, size) in SPOS:
        return SPOS[channels, size], own
    mixed = name.startswith("resnet-mixed")
    if mixed and (channels, size) in MIXED:
        return MIXED[channels, size], own
    from raynas.supernets.inverted import Macro, macro_for

    macro = macro_for(channels, size)
    if mixed or name in ("spos", CHANNELS):
        return "resnet_mixed" if mixed else "spos", {
            **own,
            "image_size": size,
            "image_channels": channels,
            "mean": macro.mean,
            "std": macro.std,
        }
    family = name.partition("-")[0]
    options = asdict(macro)
    if macro.stages == Macro.stages:
        # The full size of each family is its own: FairNAS and PONAS have 19 blocks, not 21.
        del options["stages"]
    return family, {**options, **own}


def freezing_of(supernet: raynas.ChainSupernet) -> ChoiceFreezing | None:
    """The thresholds of the PCF-ES paper for a supernet; `None` for one of no paper."""
    return OF_BUILDER.get((supernet.recipe or {}).get("builder", ""))


def from_recipe(
    file: Path, recipe: Mapping[str, Any], blocks: Blocks | None = None
) -> raynas.ChainSupernet:
    """The untrained supernet that a file of weights says how to build, or one of its blocks.

    Raises:
        InputError: another file, or blocks that its supernet does not have.
    """
    settings = dict(fixed_recipe(file, recipe, blocks))
    builder = settings.pop("builder", None)
    require(
        builder in BUILDERS,
        f"supernet {file}",
        f"a recipe for one of {list(BUILDERS)}",
        builder,
        "Give --supernet package.module:function, which builds it, and the file as --weights.",
    )
    try:
        built: raynas.ChainSupernet = getattr(raynas.supernets, builder)(**settings)
    except (TypeError, InputError) as error:
        # Those were given beside the file, which is as it should be.
        if blocks is not None and getattr(error, "argument", None) == "blocks":
            raise
        raise InputError(
            f"supernet {file}",
            f"a recipe that {builder} can be built from",
            error,
            "Use a file that this version of raynas wrote.",
        ) from error
    return built
