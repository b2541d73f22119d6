"""The blocks whose channels are searched, as a command line gives them: `--blocks`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from raynas.commands.architectures import is_file, require_names
from raynas.errors import require

Blocks = list[Any]
"""A name or an index for each block."""


def read_blocks(text: str | None) -> Blocks | None:
    """The choice of every block, from a text or from a file of raynas or of another project.

    Args:
        text: `c3,c5,x` or `0,1,3`, or the path of a file that `raynas.read_architecture`
            understands, such as `architecture.json` and `result.json`; `None` for none.

    Raises:
        InputError: a file without an architecture.
    """
    if text is None:
        return None
    if not is_file(text):
        from raynas.supernets.choice_names import split

        require_names(text, "blocks")
        return [*split(text)]
    from raynas.foreign import read_file

    return list(read_file(Path(text), "blocks").choices)


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


def require_searched_blocks(
    searched: Sequence[Sequence[str]], offered: Sequence[Sequence[str]], blocks: Blocks | None
) -> None:
    """Raise `InputError` where `--blocks` makes another supernet than the one that was searched.

    Args:
        searched: the names of the choices of each block, of the run.
        offered: likewise, of the supernet that was loaded.
        blocks: that were given, if any.
    """
    if [list(names) for names in searched] == [list(names) for names in offered]:
        return
    kinds = [{name.partition("@")[0] for name in names} for names in searched]
    widths = all("@" in name for each in (searched, offered) for names in each for name in names)
    # A search of all operations has several of them in each block.
    fixed = ",".join(kind for found in kinds for kind in found)
    alone = widths and all(len(found) == 1 for found in kinds)
    require(
        not alone,
        "blocks",
        f"those whose widths were searched, {fixed}",
        "none" if blocks is None else ",".join(map(str, blocks)),
        f"Give --blocks {fixed}, as to the search.",
    )
    require(
        blocks is None,
        "blocks",
        "none: the search fixed no blocks",
        blocks,
        "Leave --blocks out.",
    )
