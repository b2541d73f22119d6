"""mmrazor's subnet YAML, of versions 0 and 1, for the spaces of SPOS, ProxylessNAS and GreedyNAS.

The format is that of open-mmlab/mmrazor: `configs/nas/spos/*.yaml`, `tests/data/spos_subnet.yaml`
and, for the names of GreedyNAS's 13 choices, `configs/nas/greedynas/
greedynas_subnet_mobilenet_8xb96_in1k.py`. A key names a stage and a block,
`stage_0_block_1`, `backbone.layers.0.1` or `backbone.layer1.1`; a value names the choice, itself or
as `chosen`. The authors of GreedyNAS have released no file of their own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from raynas.foreign.found import Found, NotUnderstoodError, bottleneck, number, shown

KEY = re.compile(r"(?:.*\.)?(?:stage_(\d+)_block_(\d+)|layers?\.?(\d+)\.(\d+))")
"""A key: the stage and the block in it."""

SHUFFLE = re.compile(r"(?:shuffle|ShuffleBlock)_(\d+)x\1")

BOTTLENECK = re.compile(r"mb(?:v2)?_k(\d+)e(\d+)(_se)?")

FIRST = "e1k3"
"""The separable convolution ahead of the searched blocks, which mmrazor counts as a block."""

NAMES = {"shuffle_xception": "x", "ShuffleXception": "x"}


def is_mmrazor(content: Mapping[str, Any]) -> bool:
    """Whether a mapping is a subnet of mmrazor, or has its form under other keys."""
    modules = content.get("modules")
    keys = modules if isinstance(modules, Mapping) else content
    return any(
        KEY.fullmatch(str(key)) or (isinstance(value, Mapping) and "chosen" in value)
        for key, value in keys.items()
    )


def read(content: Mapping[str, Any]) -> Found:
    """The architecture of a subnet.

    Raises:
        NotUnderstoodError: channels of a pruning, several choices of a block, a block left out, or
            something that is no block.
    """
    modules = content
    if isinstance(content.get("modules"), Mapping):
        modules = content["modules"]
        others = [name for name in content if name != "modules" and content[name]]
        if others:
            raise NotUnderstoodError(f"{others[0]}, which are no choices of blocks")
    placed: dict[tuple[int, int], str] = {}
    for key, value in modules.items():
        match = KEY.fullmatch(str(key))
        if match is None:
            raise NotUnderstoodError(
                f"{shown(key)}, which names no stage and block as stage_0_block_1 and layers.0.1 do"
            )
        stage, block = (number(each, str(key)) for each in match.groups() if each is not None)
        if (stage, block) in placed:
            raise NotUnderstoodError(f"several choices for block {block} of stage {stage}")
        placed[stage, block] = chosen(value, str(key))
    require_no_gaps(list(placed))
    words = [placed[place] for place in sorted(placed)]
    if translated(words[0]) == FIRST:
        del words[0]
    return Found("mmrazor's subnet", tuple(map(translated, words)), tuple(words))


def chosen(value: Any, key: str) -> str:
    """The one name that a value says."""
    if isinstance(value, Mapping):
        value = value.get("chosen")
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if not isinstance(value, str):
        raise NotUnderstoodError(f"{shown(value)} for {key}, and no single choice")
    return value


def translated(name: str) -> str:
    """A name in this library's words; others stay as they are."""
    if (match := SHUFFLE.fullmatch(name)) is not None:
        return f"c{match[1]}"
    if (match := BOTTLENECK.fullmatch(name)) is not None:
        return bottleneck(int(match[2]), int(match[1]), se=match[3] is not None)
    return NAMES.get(name, name)


def require_no_gaps(places: list[tuple[int, int]]) -> None:
    """Raise `NotUnderstoodError` unless stages, and from 0 the blocks of each, are counted."""
    counts: dict[int, int] = {}
    for stage, block in sorted(places):
        if block != counts.get(stage, 0):
            raise NotUnderstoodError(f"no block {counts.get(stage, 0)} of stage {stage}")
        counts[stage] = block + 1
    missing = set(range(min(counts), max(counts))) - counts.keys()
    if missing:
        raise NotUnderstoodError(f"no stage {min(missing)}")
