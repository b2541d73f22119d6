"""Checks of what the builders of the papers' supernets are given, before modules are made of it."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import Any

from raynas.errors import InputError, is_number, is_whole, require
from raynas.task import Classification


def require_classes(num_classes: int | None) -> int:
    """The number of classes, if it is one.

    Raises:
        InputError: none, no whole number, or fewer than two.
    """
    if num_classes is None:
        raise InputError("num_classes", "a number", None, "Classify data that have classes.")
    return Classification(num_classes).num_classes


def require_sizes(**sizes: object) -> None:
    """Raise `InputError` unless arguments, each by its name, are whole numbers of at least 1."""
    for argument, value in sizes.items():
        expected = "a whole number of at least 1"
        require(
            is_whole(value) and value >= 1, argument, expected, repr(value), "Give such a number."
        )


def require_dropout(dropout: object) -> None:
    """Raise `InputError` unless it is a probability."""
    require(
        is_number(dropout) and 0 <= dropout <= 1,
        "dropout",
        "a probability from 0 to 1",
        repr(dropout),
        "Use 0.1, or 0 for none.",
    )


def require_stages(stages: Any, multiple: int = 1) -> None:
    """See that stages are channels, blocks and the stride of the first block.

    Args:
        stages: as given.
        multiple: of which the channels must be one.

    Raises:
        InputError: something else.
    """
    remedy = "Write stages=((32, 4, 2), (64, 4, 2)), each channels, blocks and stride."
    require(is_list(stages), "stages", "a list of stages", repr(stages), remedy)
    divisible = f" divisible by {multiple}" if multiple > 1 else ""
    for stage in stages:
        require(
            is_list(stage)
            and len(stage) == 3
            and all(is_whole(number) and number >= 1 for number in stage)
            and stage[0] % multiple == 0
            and stage[2] in (1, 2),
            "stages",
            f"(channels{divisible}, blocks, stride 1 or 2)",
            repr(stage),
            remedy,
        )


def require_pixels(mean: Any, std: Any, channels: int) -> None:
    """Raise `InputError` unless there is a finite mean and a positive deviation per channel."""
    require(
        all(is_list(each) and len(each) == channels for each in (mean, std))
        and all(is_number(number) and isfinite(number) for number in (*mean, *std))
        and min(std) > 0,
        "mean and std",
        f"{channels} values each, one per image channel, those of std above 0",
        (mean, std),
        "Give one value per channel.",
    )


def is_list(value: Any) -> bool:
    """Whether a value is a sequence, and no text."""
    return isinstance(value, Sequence) and not isinstance(value, str)
