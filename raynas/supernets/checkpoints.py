"""Saving supernets, and filling them from our own and from other projects' checkpoints.

Weights come from safetensors, or from torch files read with `weights_only=True`, so no file can run
code. Three layouts are understood: safetensors files that `save` wrote, torch state dicts with this
library's names behind any common prefix, and the supernet that the authors of SPOS released
(`checkpoint-150000.pth.tar`). The latter was trained on BGR pixels from 0 to 255, which its
supernet must be built for:

    spos(mean=(0, 0, 0), std=(1 / 255,) * 3, reverse_channels=True)
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from raynas.errors import InputError, require
from raynas.files import file_beside
from raynas.supernets.chain import ChainSupernet
from raynas.supernets.checkpoint_names import (
    foreign_prefixes,
    is_megvii,
    own_names,
    require_raw_bgr,
)
from raynas.supernets.spos_channels import fixed_part
from raynas.supernets.structure import BATCH_COUNTER
from raynas.supernets.tensor_digest import tensor_digest
from raynas.supernets.tensor_files import (
    is_safetensors,
    open_safetensors,
    read_tensors,
    unreadable,
)

LISTED = 3
"""The number of names of each kind that an error lists."""

FREE_ARGUMENTS = frozenset(("image_size", "dropout"))
"""Arguments of builders that the same weights may be used with."""

SHAPES = ("num_classes", "stages", "stem_channels", "head_channels", "image_channels")
"""Arguments that may change the shapes of tensors, which are then listed instead."""


def save(
    supernet: ChainSupernet, path: str | Path, metadata: Mapping[str, str] = MappingProxyType({})
) -> None:
    """Write the weights as safetensors, with the recipe in the metadata.

    The file appears whole or not at all. Tensors that several choices share are written once.

    Args:
        supernet: whose weights to write.
        path: the file, replaced if it exists.
        metadata: more texts to keep in the file; the name `recipe` is taken.

    Raises:
        InputError: a recipe that JSON cannot hold, metadata under `recipe`, or state that is not
            tensors.
    """
    require(
        "recipe" not in metadata,
        "metadata",
        "names other than 'recipe'",
        sorted(metadata),
        "The supernet's own recipe is stored there.",
    )
    try:
        recipe = json.dumps(supernet.recipe)
    except (TypeError, ValueError) as error:
        raise InputError(
            "supernet.recipe", "a JSON object", error, "Use numbers, texts, lists and objects."
        ) from error
    own, _ = unique_tensors(supernet)
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in own.items()}
    with file_beside(Path(path)) as temporary:
        temporary.write_bytes(safetensors.torch.save(tensors, {"recipe": recipe, **metadata}))


def load(supernet: ChainSupernet, path: str | Path) -> None:
    """Fill a supernet, in place, from a checkpoint; its device and recipe stay what they are.

    One with fixed blocks (`spos(channels=True, blocks=…)`) takes its part of a joint one's weights.

    Args:
        supernet: to be filled.
        path: a safetensors file, a torch state dict (optionally under a key such as `state_dict`,
            `model` or `model_state_dict`, and with a prefix before all names, as wrappers put
            there), or the supernet released with SPOS.

    Raises:
        InputError: no readable checkpoint, or one that does not fit, with the first missing,
            unexpected and misshapen tensors; one of a supernet that was built to compute something
            else, such as on other inputs. The supernet is unchanged then.
    """
    file = Path(path)
    differing = other_arguments(supernet, recipe_of(file))
    # Where tensors may be of other shapes, the error that lists these says more.
    if not any(each.startswith(SHAPES) for each in differing):
        require_same_arguments(differing, file)
    _, canonical = unique_tensors(supernet)
    given = read_tensors(file)
    tensors, prefix = own_names(given, canonical)
    pairs = matched(supernet, fixed_part(supernet.recipe, tensors), file)
    require_same_arguments(differing, file)
    if is_megvii([name.removeprefix(prefix) for name in given]):
        require_raw_bgr(supernet)
    copy_all(pairs)


def recipe_of(path: str | Path) -> dict[str, Any] | None:
    """The recipe by which the supernet of a checkpoint was built; reads no tensors.

    Returns:
        The recipe, or `None` where the file holds none, as torch files never do.

    Raises:
        InputError: no readable checkpoint.
    """
    file = Path(path)
    if not is_safetensors(file):
        return None
    with open_safetensors(file) as reader:
        text = (reader.metadata() or {}).get("recipe", "null")
    try:
        recipe = json.loads(text)
    except ValueError as error:
        raise unreadable(file, error) from error
    return recipe if isinstance(recipe, dict) else None


def matched(
    supernet: ChainSupernet, tensors: Mapping[str, Tensor], path: Path
) -> list[tuple[Tensor, Tensor]]:
    """Pair the supernet's tensors with those of a checkpoint; changes nothing.

    Args:
        supernet: to be filled.
        tensors: by the supernet's names; a shared tensor under any or all of its names, and the
            batch counters of batch norm are optional.
        path: where they came from, for the error.

    Returns:
        The supernet's own tensor and the given one, for all that are given.

    Raises:
        InputError: tensors are missing, unexpected, of another shape or kind, or a shared tensor
            has two values.
    """
    own, canonical = unique_tensors(supernet)
    given: dict[str, Tensor] = {}
    contradictory = []
    for name, tensor in tensors.items():
        kept = given.setdefault(canonical.get(name, name), tensor)
        if kept is not tensor and not torch.equal(kept, tensor):
            contradictory.append(name)
    missing = [name for name in own if name not in given and not name.endswith(BATCH_COUNTER)]
    unexpected = [name for name in given if name not in own and not name.endswith(BATCH_COUNTER)]
    both = [name for name in own if name in given]
    misshapen = [
        f"{name} {tuple(given[name].shape)} {given[name].dtype} instead of {tuple(own[name].shape)}"
        for name in both
        if given[name].shape != own[name].shape
        or given[name].is_floating_point() != own[name].is_floating_point()
    ]
    problems = "; ".join(
        listing(kind, names)
        for kind, names in (
            ("missing", missing),
            ("unexpected", unexpected),
            ("of another shape or type", misshapen),
            ("shared here but with several values there", contradictory),
        )
        if names
    )
    require(
        not problems,
        "checkpoint",
        f"the {len(own)} tensors of this supernet",
        f"{path} with {len(given)}: {problems}",
        remedy_for(tensors, own),
    )
    return [(own[name], given[name]) for name in both]


def remedy_for(tensors: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> str:
    """Advice about a checkpoint that does not fit."""
    prefixes = [f"{prefix!r}" for prefix in foreign_prefixes(tensors, own) if prefix]
    if prefixes:
        return (
            f"Tensors of such a supernet stand behind {' and '.join(prefixes[:LISTED])}: save "
            "those behind one of them alone."
        )
    return "Build the supernet that the checkpoint was saved from."


def other_arguments(supernet: ChainSupernet, recipe: Mapping[str, Any] | None) -> list[str]:
    """The arguments by which the same builder has built the supernet of a recipe otherwise.

    Returns:
        Each as it was there, such as `mean [0.5]`, but for those that any weights may be used with.
    """
    if recipe is None or supernet.recipe is None:
        return []
    mine = json.loads(json.dumps(supernet.recipe, default=str))
    if mine.get("builder") != recipe.get("builder"):
        return []
    return [
        f"{key} {recipe[key]}"
        for key in sorted(set(mine) & set(recipe) - FREE_ARGUMENTS)
        if mine[key] != recipe[key] and (key, recipe[key]) != ("blocks", None)
    ]


def require_same_arguments(differing: Sequence[str], path: Path) -> None:
    """See that a checkpoint is of a supernet that computes the same, as far as recipes say.

    Args:
        differing: see `other_arguments`.
        path: of the checkpoint, for the error.

    Raises:
        InputError: the same builder with other arguments, such as another mean of the pixels, or
            the strides in other stages.
    """
    require(
        not differing,
        "checkpoint",
        "weights of a supernet that computes the same",
        f"{path}, of one built with {', '.join(differing)}",
        "Build the supernet with these arguments (raynas.supernets.recipe_of has all of them).",
    )


def copy_all(pairs: Iterable[tuple[Tensor, Tensor]]) -> None:
    """Copy the second tensor of each pair into the first."""
    with torch.no_grad():
        for target, source in pairs:
            if is_expanded(target):
                # Its elements lie on top of each other, and could not differ.
                target.data = source.to(target.device, target.dtype).clone()
            else:
                target.copy_(source)


def is_expanded(tensor: Tensor) -> bool:
    """Whether one place in memory stands for several elements."""
    steps = zip(tensor.stride(), tensor.shape, strict=True)
    return any(stride == 0 and size > 1 for stride, size in steps)


def listing(kind: str, names: Iterable[str]) -> str:
    """`3 missing (a, b, c)`, with the names after the first few left out."""
    every = list(names)
    more = ", …" if len(every) > LISTED else ""
    return f"{len(every)} {kind} ({', '.join(every[:LISTED])}{more})"


def unique_tensors(supernet: ChainSupernet) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The supernet's state without repetitions, since choices may share weights.

    Returns:
        The parameters and persistent buffers under the first name of each, and the first name for
        every name.
    """
    own: dict[str, Tensor] = {}
    canonical: dict[str, str] = {}
    first: dict[int, str] = {}
    for name, tensor in supernet.state_dict(keep_vars=True).items():
        require(
            isinstance(tensor, Tensor) and not name.endswith("_extra_state"),
            "supernet",
            "a state of tensors only",
            f"{type(tensor).__name__} for {name}",
            "Keep other state out of state_dict().",
        )
        canonical[name] = first.setdefault(id(tensor), name)
        own.setdefault(canonical[name], tensor)
    return own, canonical


def weights_digest(supernet: ChainSupernet) -> str:
    """A digest of the weights and buffers by name, but for counters of batches."""
    total = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(unique_tensors(supernet)[0].items()):
        if not name.endswith("num_batches_tracked"):
            total.update(f"{name}\n".encode() + tensor_digest(tensor))
    return total.hexdigest()
