"""The networks that FairNAS released as Python files, such as `models/FairNAS_A.py`.

The format is that of xiaomi-automl/FairNAS: a list `mb_config` with the expansion, the output
channels, the kernel and the stride of every block, behind `input_channel` channels. The list is
read from the text; no code of the file is run.
"""

from __future__ import annotations

import ast
from typing import Any

from raynas.errors import is_whole
from raynas.foreign.found import BlockShape, Found, NotUnderstoodError, bottleneck, shown

BLOCKS, FIRST = "mb_config", "input_channel"


def read(text: str) -> Found:
    """The architecture of a file.

    Raises:
        NotUnderstoodError: no Python, or no such list in it.
    """
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise NotUnderstoodError("a file that is no Python") from error
    blocks = literal(tree, BLOCKS)
    if not isinstance(blocks, list) or not blocks:
        raise NotUnderstoodError(f"no list {BLOCKS}")
    inputs = literal(tree, FIRST)
    choices: list[str] = []
    shapes: list[BlockShape] = []
    for index, block in enumerate(blocks):
        if not (isinstance(block, list) and len(block) == 4 and all(map(is_whole, block))):
            raise NotUnderstoodError(f"{shown(block)} for block {index} of {BLOCKS}")
        expansion, outputs, kernel, stride = block
        choices.append(bottleneck(expansion, kernel))
        shapes.append(BlockShape(inputs, outputs, stride))
        inputs = outputs
    known = is_whole(shapes[0].inputs)
    return Found("a network of FairNAS", tuple(choices), shapes=tuple(shapes) if known else None)


def literal(tree: ast.Module, name: str) -> Any:
    """The value that is assigned to a name, if it is written out; `None` if there is none.

    Raises:
        NotUnderstoodError: several lists, or one that is changed: which of them is built is not
            known unless the code runs.
    """
    given = [node for node in ast.walk(tree) if name in assigned(node)]
    if name == BLOCKS and (len(given) > 1 or any(changes(node, name) for node in ast.walk(tree))):
        raise NotUnderstoodError(f"several lists {name}, or one that is changed")
    value = getattr(given[0], "value", None) if given else None
    if value is None or isinstance(given[0], ast.AugAssign):
        return None
    try:
        return ast.literal_eval(value)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None


def assigned(node: ast.AST) -> list[str]:
    """The names that a statement gives a value."""
    targets = node.targets if isinstance(node, ast.Assign) else []
    if isinstance(node, ast.AnnAssign | ast.AugAssign):
        targets = [node.target]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def changes(node: ast.AST, name: str) -> bool:
    """Whether an expression changes a list, or asks it for anything but its items."""
    if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load):
        return False
    inner = node.value if isinstance(node, ast.Subscript | ast.Attribute) else None
    return isinstance(inner, ast.Name) and inner.id == name
