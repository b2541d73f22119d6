"""The networks that FairNAS released as Python files, such as `models/FairNAS_A.py`.

The format is that of xiaomi-automl/FairNAS: a list `mb_config` with the expansion, the output
channels, the kernel and the stride of every block, behind `input_channel` channels. The list is
read from the text; no code of the file is run.
"""

from __future__ import annotations

import ast
from typing import Any

from raynas.errors import is_whole
from raynas.foreign.found import BlockShape, Found, NotUnderstoodError, bottleneck

BLOCKS, FIRST = "mb_config", "input_channel"


def read(text: str) -> Found:
    """The architecture of a file.

    Raises:
        NotUnderstoodError: no Python, or no such list in it.
    """
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError) as error:
        raise NotUnderstoodError("a file that is no Python") from error
    blocks = literal(tree, BLOCKS)
    if not isinstance(blocks, list) or not blocks:
        raise NotUnderstoodError(f"no list {BLOCKS}")
    inputs = literal(tree, FIRST)
    choices: list[str] = []
    shapes: list[BlockShape] = []
    for index, block in enumerate(blocks):
        if not (isinstance(block, list) and len(block) == 4 and all(map(is_whole, block))):
            raise NotUnderstoodError(f"{block!r} for block {index} of {BLOCKS}")
        expansion, outputs, kernel, stride = block
        choices.append(bottleneck(expansion, kernel))
        shapes.append(BlockShape(inputs, outputs, stride))
        inputs = outputs
    known = is_whole(shapes[0].inputs)
    return Found("a network of FairNAS", tuple(choices), shapes=tuple(shapes) if known else None)


def literal(tree: ast.Module, name: str) -> Any:
    """The value that is assigned to a name, if it is written out; `None` if there is none."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and any(
            isinstance(target, ast.Name) and target.id == name for target in node.targets
        ):
            try:
                return ast.literal_eval(node.value)
            except ValueError:
                return None
    return None
