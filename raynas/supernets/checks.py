"""Whether a supernet can be searched: found on two examples, before any long work."""

from __future__ import annotations

import logging
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from raynas.errors import InputError, describe_error, require
from raynas.supernets.attributes import HOOKS
from raynas.supernets.chain_nodes import (
    ChainNode,
    chain_nodes,
    examined_copy,
    example_batch,
    on_meta,
)
from raynas.supernets.node_runs import run_node, run_seeded, same_bits
from raynas.supernets.plain_torch import plain_torch
from raynas.supernets.probing import depends_on_size, mixes_samples, probe, probe_under_batch
from raynas.task import Task

if TYPE_CHECKING:
    from raynas.supernets.chain import ChainSupernet

logger = logging.getLogger("raynas")

SAMPLES = 2
"""The number of examples that the check runs on."""


def check_supernet(
    supernet: ChainSupernet, task: Task | None = None, *, stochastic: bool = False
) -> None:
    """Run every choice on examples in a copy on the CPU; the supernet stays as it is.

    A supernet without data (on the meta device) is checked for shapes alone. Modules that let the
    samples of a batch depend on each other, or on their number, are named in a warning of the
    logger `raynas`.

    Args:
        supernet: to be checked.
        task: that its outputs must suit; any if omitted.
        stochastic: let modules draw random numbers in evaluation mode, as training can.

    Raises:
        InputError: the first thing that a search could not use, by block and choice: a module that
            cannot be copied, raises, gives no single float32 tensor for the batch, another shape
            than the block's other choices, or another output the second time; that changes its
            input or itself; that depends on modules outside its prefix; a head that does not suit
            the task. Or a supernet with forward hooks of its own.
    """
    require_plain_forward(supernet)
    for node in chain_nodes(supernet):
        require_usable_tensors(node)
        require_no_scripted_norms(node)
    with plain_torch():
        replica = examined_copy(supernet)
        x = example_batch(supernet, SAMPLES)
        meta = on_meta(replica)
        if meta:
            replica.to("meta")
            x = x.to("meta")
        for depth, nodes in groupby(chain_nodes(replica), key=lambda node: node.depth):
            outputs = [(node, probed(node, x, stochastic)) for node in nodes]
            require_one_shape(f"blocks[{depth - 1}]", outputs)
            x = outputs[0][1]
        if task is not None:
            task.require_outputs(tuple(x.shape), "head")
        if not meta:
            require_independent_nodes(replica)
            require_any_batch_size(replica)


def require_plain_forward(supernet: ChainSupernet) -> None:
    """Raise `InputError` for a supernet with forward hooks, or a forward, of its own.

    Candidates run block by block, and winners as plain modules: nothing would call them.
    """
    held = vars(supernet)
    found = [
        *(f"a hook in {table}" for table in HOOKS if held.get(table)),
        *(["a forward that was patched in"] if "forward" in held else []),
    ]
    require(
        not found,
        "supernet",
        "no forward hooks on the supernet itself, of which only the modules run",
        " and ".join(found),
        "Register the hook on its stem, on choices of its blocks or on its head, or remove it.",
    )


def probed(node: ChainNode, x: Tensor, stochastic: bool) -> Tensor:
    """The output of a module that passes, under fixed and under batch statistics."""
    output = probe(node, x, stochastic=stochastic)
    if mixes_samples(node, x):
        logger.warning(
            "%s: what it gives for a sample depends on the other samples of its batch, so that "
            "scores depend on how samples are cut into shards, and on which are kept. Attention "
            "and recurrent layers need batch_first=True; a batch norm without running statistics "
            "(track_running_stats=False) always does this.",
            node.name,
        )
    elif depends_on_size(node, x, output):
        logger.warning(
            "%s: what it gives for a sample depends on how many samples are in its batch, so that "
            "scores depend on how samples are cut into shards, of which the last may be smaller. "
            "Leave the size of the batch, x.shape[0], out of what is computed.",
            node.name,
        )
    probe_under_batch(node, x)
    return output


def require_any_batch_size(replica: ChainSupernet) -> None:
    """Raise `InputError` for a module that runs on one batch size only; shards have several."""
    more = SAMPLES + 1
    x = example_batch(replica, more)
    remedy = "Take the size of the batch from the input, x.shape[0], instead of writing it down."
    for _, nodes in groupby(chain_nodes(replica), key=lambda node: node.depth):
        outputs = []
        for node in nodes:
            expected = f"a module that runs on {more} samples, as it runs on {SAMPLES}"
            try:
                outputs.append(run_node(node, x))
            except InputError as error:
                found = describe_error(error.__cause__ or error)
                raise InputError(node.name, expected, found, remedy) from error
            require(
                len(outputs[-1]) == more,
                node.name,
                expected,
                f"an output of {len(outputs[-1])}",
                remedy,
            )
        x = outputs[0]


def require_one_shape(block: str, outputs: list[tuple[ChainNode, Tensor]]) -> None:
    """Raise `InputError` unless the choices of a block agree on the shape of their output."""
    shapes = [tuple(output.shape) for _, output in outputs]
    require(
        len(set(shapes)) == 1,
        block,
        "choices with one output shape",
        shapes,
        "Give every choice of a block the same output channels and stride.",
    )


def require_usable_tensors(node: ChainNode) -> None:
    """Raise `InputError` for lazy parameters, and for state that is no tensor."""
    for name, tensor in (*node.module.named_parameters(), *node.module.named_buffers()):
        require(
            not is_lazy(tensor),
            node.name,
            "modules whose parameters have shapes",
            f"a lazy one ({name})",
            "Run the supernet once on a batch before, or use the module that is not lazy.",
        )
    for name, module in node.module.named_modules():
        own = type(module).get_extra_state
        require(
            own is nn.Module.get_extra_state or isinstance(module, torch.jit.ScriptModule),
            node.name,
            "a state of tensors only, which checkpoints can hold",
            f"extra state of {type(module).__name__}" + (f" ({name})" if name else ""),
            "Keep what it holds in buffers, or leave get_extra_state out.",
        )


def require_no_scripted_norms(node: ChainNode) -> None:
    """Raise `InputError` for TorchScript with batch norm in it, which calibration cannot write."""
    for module in node.module.modules():
        if isinstance(module, torch.jit.ScriptModule):
            require(
                "BatchNorm" not in str(getattr(module, "original_name", "")),
                node.name,
                "batch norms that calibration can write to",
                "one inside TorchScript",
                "Give the module itself, and script or trace the exported winner.",
            )


def require_independent_nodes(replica: ChainSupernet) -> None:
    """See that the output of a module depends on its input alone, not on what else has run.

    Prefixes are computed once, stored, and continued later, after and among other architectures.
    For every choice, an architecture is run block by block; then another one, and the same, on
    other inputs; then the blocks of the first again, the deepest first, each on its stored input.

    Raises:
        InputError: a block that talks to others behind the chain.
    """
    choices = np.array(replica.space.choices)
    x = example_batch(replica, SAMPLES)
    for step in range(int(choices.max())):
        architecture = tuple(int(c) for c in step % choices)
        nodes = nodes_along(replica, architecture)
        stored = [x]
        for node in nodes:
            stored.append(run_seeded(node, stored[-1]))
        for following in (step + 1, step):
            other = x.flip(0)
            for node in nodes_along(replica, tuple(int(c) for c in following % choices)):
                other = run_seeded(node, other)
        for place in reversed(range(len(nodes))):
            node = nodes[place]
            require(
                same_bits(run_seeded(node, stored[place]), stored[place + 1]),
                node.name,
                "an output that depends on the input alone",
                "another one after other architectures have run",
                "Blocks must not pass each other anything outside the chain, such as an attribute "
                "of a shared object: put what belongs together into one block.",
            )


def nodes_along(supernet: ChainSupernet, architecture: tuple[int, ...]) -> list[ChainNode]:
    """The modules that one architecture runs, stem and head included."""
    wanted = {"stem", "head", *(f"blocks[{b}][{c}]" for b, c in enumerate(architecture))}
    return [node for node in chain_nodes(supernet) if node.name in wanted]


def require_own_norms(supernet: ChainSupernet) -> None:
    """See that no batch norm is in two blocks; choices of one block may share theirs.

    Recalibration averages a batch norm over all its calls, so that its statistics would depend on
    other blocks.

    Raises:
        InputError: one that is, by both places.
    """
    from raynas.supernets.chain import batch_norms

    places: dict[int, ChainNode] = {}
    for node in chain_nodes(supernet):
        for norm in batch_norms(node.module):
            first = places.setdefault(id(norm), node)
            if first.depth != node.depth:
                raise InputError(
                    node.name,
                    "batch norms of its own, whose statistics no other block changes",
                    f"one that {first.name} has, too",
                    "Share the convolutions and give each block its batch norm, or evaluate with "
                    "batch_norm='inherit'.",
                )
