"""NNI's architecture JSON: labels and what was chosen for each.

The format is that of microsoft/nni: `nni/nas/hub/pytorch/shufflenet.py` (`layer_1: "k7"`, and
`channel_1: 51` where channels were searched), `nni/nas/hub/pytorch/proxylessnas.py` (`s2_depth: 2`,
`s2_i0: "k5e3"`), and version 1's `examples/nas/spos/architecture_final.json`
(`LayerChoice1: [false, false, true, false]`). A label of other spaces ends with the number of its
block.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from raynas.errors import is_whole
from raynas.foreign.found import Found, NotUnderstoodError, bottleneck, number, shown

NUMBERED = re.compile(r"(.*?)(\d+)")
STAGED = re.compile(r"s(\d+)_(?:i(\d+)|depth)")
BOTTLENECK = re.compile(r"k(\d+)e(\d+)")

NAMES = {"k3": "c3", "k5": "c5", "k7": "c7", "xcep": "x"}
"""NNI's names of the choices of SPOS."""

WIDTHS = "channel_"
"""The labels of the channels inside a block."""

FULL_DEPTH = 4
"""The blocks of a stage of ProxylessNAS; NNI leaves the last ones out, this library skips them."""

LAST_STAGE = 7
"""The stage of ProxylessNAS that has one block, which is always there."""


def read(content: Mapping[str, Any]) -> Found:
    """The architecture of a mapping of labels.

    Raises:
        NotUnderstoodError: labels that are not numbered from 0 or 1, or a choice that is neither a
            name, an index, nor a list with one that is true.
    """
    labels = [str(label) for label in content]
    if labels and all(STAGED.fullmatch(label) for label in labels):
        return Found("NNI's architecture of ProxylessNAS", staged(content))
    series: dict[str, dict[int, Any]] = {}
    for label, value in content.items():
        match = NUMBERED.fullmatch(str(label))
        if match is None:
            raise NotUnderstoodError(f"{label!r}, which is no label of a block")
        index = number(match[2], "a label")
        if index in series.setdefault(match[1], {}):
            raise NotUnderstoodError(f"several choices for {match[1]}{index}")
        series[match[1]][index] = value
    widths = series.pop(WIDTHS, None)
    if len(series) != 1:
        raise NotUnderstoodError(f"labels of {len(series)} kinds: {', '.join(sorted(series))}")
    ((prefix, values),) = series.items()
    words = in_order(values, prefix)
    choices = tuple(choice(value, prefix) for value in words)
    middles = None
    if widths is not None:
        middles = tuple(width(value) for value in in_order(widths, WIDTHS))
        if len(middles) != len(choices):
            raise NotUnderstoodError(f"{len(middles)} widths of {len(choices)} blocks")
    return Found("NNI's architecture", choices, tuple(words), middles=middles)


def in_order(values: Mapping[int, Any], prefix: str) -> list[Any]:
    """The values of labels in the order of their numbers."""
    numbers = sorted(values)
    if numbers != list(range(numbers[0], numbers[0] + len(numbers))) or numbers[0] > 1:
        missing = min(set(range(1, numbers[-1])) - set(numbers), default=0)
        raise NotUnderstoodError(f"no {prefix}{missing}")
    return [values[number] for number in numbers]


def choice(value: Any, prefix: str) -> str | int:
    """A choice as a name of this library, a name that the file has, or an index."""
    if isinstance(value, list):
        if not all(isinstance(each, bool) for each in value) or sum(value) != 1:
            raise NotUnderstoodError(f"{shown(value)} for a label {prefix}…, and no single choice")
        return value.index(True)
    if is_whole(value):
        return int(value)
    if not isinstance(value, str):
        raise NotUnderstoodError(f"{shown(value)} for a label {prefix}…, and no choice")
    if (match := BOTTLENECK.fullmatch(value)) is not None:
        return bottleneck(int(match[2]), int(match[1]))
    return NAMES.get(value, value)


def width(value: Any) -> int:
    """The number of channels of a block."""
    if not is_whole(value):
        raise NotUnderstoodError(f"{shown(value)} for a label {WIDTHS}…, and no number")
    return int(value)


def staged(content: Mapping[str, Any]) -> tuple[str | int, ...]:
    """The choices of a space whose stages have a depth; what is beyond it says nothing."""
    stages: dict[int, list[int]] = {}
    for label in content:
        match = STAGED.fullmatch(label)
        assert match is not None
        indices = stages.setdefault(number(match[1], label), [])
        indices += [number(match[2], label)] if match[2] else []
    found: list[str | int] = []
    for stage in range(min(stages), max(stages) + 1):
        full = 1 if stage == LAST_STAGE else FULL_DEPTH
        depth = content.get(f"s{stage}_depth", 1 if stage == LAST_STAGE else None)
        if not is_whole(depth) or not 1 <= depth <= full:
            raise NotUnderstoodError(f"{depth!r} for s{stage}_depth, and not from 1 to {full}")
        beyond = max(stages.get(stage, []), default=0)
        if beyond >= full:
            raise NotUnderstoodError(f"a block s{stage}_i{beyond} of a stage of {full}")
        for index in range(depth):
            if f"s{stage}_i{index}" not in content:
                raise NotUnderstoodError(f"no s{stage}_i{index}")
            found.append(choice(content[f"s{stage}_i{index}"], f"s{stage}_i"))
        found += ["identity"] * (full - depth)
    return tuple(found)
