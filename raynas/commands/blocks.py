"""The blocks whose channels are searched, as a command line gives them: `--blocks`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from raynas.errors import InputError, require

Blocks = list[Any]
"""A name or an index for each block."""


def read_blocks(text: str | None) -> Blocks | None:
    """The choice of every block, from a text or from the file that a search or an export wrote.

    Args:
        text: `c3,c5,x` or `0,1,3`, or the path of a JSON file with `"names"` or `"architecture"`,
            such as `architecture.json` and `result.json`; `None` for none.

    Raises:
        InputError: a file without either.
    """
    if text is None:
        return None
    if not Path(text).is_file():
        from raynas.supernets.choice_names import split

        require(
            not text.endswith(".json"),
            "blocks",
            "a file that is there",
            text,
            "Give the architecture.json of an exported subnet, or write names: c3,c5,x.",
        )
        return [*split(text)]
    try:
        content = json.loads(Path(text).read_text())
        # Names say the same in every space; indices are those of the space of four choices.
        found = content.get("names") or content["architecture"]
        if isinstance(found, list):
            return found
        reason: object = f"no list in {text}"
    except (OSError, ValueError, KeyError, AttributeError) as error:
        reason = f"{text} ({type(error).__name__})"
    raise InputError(
        "blocks",
        "the names of the choices, or a file that holds an architecture",
        reason,
        "Give the architecture.json of an exported subnet, or write names: c3,c5,x.",
    )


def require_no_blocks(blocks: Blocks | None, source: object) -> None:
    """Raise `InputError` for blocks beside a supernet whose channels are not searched."""
    require(
        blocks is None,
        "blocks",
        f"none beside {source}",
        blocks,
        "They fix the blocks of --supernet spos-channels, or of the file of its weights.",
    )


def fixed_recipe(file: Path, recipe: Mapping[str, Any], blocks: Blocks | None) -> Mapping[str, Any]:
    """The recipe of a file of weights, with the blocks that are fixed in it.

    Raises:
        InputError: the recipe of a supernet whose channels are not searched.
    """
    if blocks is None:
        return recipe
    if not (recipe.get("builder") == "spos" and recipe.get("channels")):
        require_no_blocks(blocks, f"{file}, whose channels are not searched")
    return {**recipe, "blocks": blocks}
