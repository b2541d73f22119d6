"""The prefix trie of a population, and its depth-first walk.

Candidates that agree on their first blocks agree on everything computed there. Walking the trie
depth first computes each distinct prefix once per shard, and keeps one activation per level.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

from torch import Tensor

from raynas.space import Architecture
from raynas.supernets.chain import NodeKind, NodePath


def kind_of(path: NodePath) -> NodeKind:
    """The module that is executed at a path of the trie, whatever came before it."""
    return len(path), path[-1] if path else 0


def node_name(path: NodePath, blocks: int) -> str:
    """The module at a path as errors name it: `stem`, `blocks[1][0]` or `head`."""
    if not path:
        return "stem"
    return "head" if len(path) > blocks else f"blocks[{len(path) - 1}][{path[-1]}]"


@final
@dataclass(frozen=True)
class Node:
    """One module execution.

    Args:
        path: which node of the chain it executes: stem, block or head.
        children: nodes that run on its output.
        candidates: at a head, the indices of the candidates whose logits it gives.
    """

    path: NodePath
    children: tuple[Node, ...] = ()
    candidates: tuple[int, ...] = ()


def build_forest(
    prefix: Architecture, architectures: Sequence[Architecture], *, sharing: bool = True
) -> tuple[Node, ...]:
    """The forest of nodes to run on a shard, so that every architecture gets its logits.

    Args:
        prefix: the choices behind the shard; every architecture must start with it.
        architectures: the candidates, of full length.
        sharing: one trie; otherwise one chain per candidate, in the order given.

    Returns:
        The nodes to run on the features of the shard.
    """
    if sharing:
        return children_of(prefix, architectures, range(len(architectures)), stem=not prefix)
    return tuple(
        node
        for index in range(len(architectures))
        for node in children_of(prefix, architectures, [index], stem=not prefix)
    )


def children_of(
    path: NodePath,
    architectures: Sequence[Architecture],
    members: Sequence[int],
    *,
    stem: bool = False,
) -> tuple[Node, ...]:
    """The nodes below `path` for the candidates `members`; under `stem`, the stem itself."""
    if stem:
        return (Node((), children_of((), architectures, members)),)
    depth = len(path)
    if depth == len(architectures[members[0]]):
        return (Node((*path, 0), candidates=tuple(members)),)
    groups: dict[int, list[int]] = {}
    for member in members:
        groups.setdefault(architectures[member][depth], []).append(member)
    return tuple(
        Node((*path, choice), children_of((*path, choice), architectures, groups[choice]))
        for choice in sorted(groups)
    )


def trunk(start: int, prefix: Architecture) -> list[NodePath]:
    """The nodes that lead from a shard at depth `start` to one behind `prefix`, in order."""
    paths: list[NodePath] = [()] if start == 0 else []
    return paths + [prefix[:depth] for depth in range(start + 1, len(prefix) + 1)]


def nodes_of(architecture: Architecture) -> list[NodePath]:
    """All nodes of one architecture, from the stem to the head."""
    return [*trunk(0, architecture), (*architecture, 0)]


def executions(nodes: Sequence[Node]) -> list[NodePath]:
    """The paths that a walk executes, in its order; one of several chains as often as it runs."""
    paths: list[NodePath] = []

    def visit(below: Sequence[Node]) -> None:
        for node in below:
            paths.append(node.path)
            visit(node.children)

    visit(nodes)
    return paths


def walk(
    nodes: Sequence[Node],
    x: Tensor,
    run: Callable[[NodePath, Tensor], Tensor],
    finish: Callable[[Node, Tensor], None],
) -> None:
    """Run a forest depth first.

    Args:
        nodes: the first ones, run on `x`.
        x: the activation that the nodes share.
        run: executes the module at a path.
        finish: receives each head and its logits.
    """
    for node in nodes:
        y = run(node.path, x)
        if node.candidates:
            finish(node, y)
        else:
            walk(node.children, y, run, finish)
