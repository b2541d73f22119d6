"""Seeing that one module of a chain is a function of its input."""

from __future__ import annotations

import logging
import random
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from raynas.errors import InputError, require
from raynas.supernets.call_memory import counts, require_no_call_memory, require_no_counting
from raynas.supernets.chain_nodes import ChainNode, copy_of, every_tensor
from raynas.supernets.node_runs import bits, close, run_node, run_seeded, same_bits
from raynas.supernets.training_mode import trained_norms

MIXED = 1e-3
"""The share of an output's size by which another sample of the batch must change it."""

DRAWS = 64
"""Runs of a module that draws random numbers, but gave the same output twice."""

logger = logging.getLogger("raynas")


def probe(node: ChainNode, x: Tensor, *, stochastic: bool = False) -> Tensor:
    """Run a module of a copy in evaluation mode, and see what prefix sharing relies on.

    Args:
        node: to be run; its module may be spoilt.
        x: an input of at least two samples; it is unchanged afterwards, or an error is raised.
        stochastic: let the second output differ.

    Returns:
        The output.

    Raises:
        InputError: it raises, gives something else than one float tensor for the batch, changes
            its input or itself, gives something else the second time, or gives memory that it
            writes to again.
    """
    kept, held = x.clone(), [(tensor, bits(tensor)) for tensor in every_tensor(node.module)]
    fresh, numbers = replace(node, module=copy_of(node.module)), counts(node.module)
    version = x._version
    output = run_node(node, x)
    require_one_tensor(node, output, x)
    require_unchanged_input(node, x, kept, written=x._version != version)
    first = output.clone()
    require_repeatable(node, x, output, first, stochastic=stochastic)
    changed = [tensor for tensor, before in held if bits(tensor) != before]
    require(
        not changed,
        node.name,
        "parameters and buffers that stay as they are in evaluation mode",
        f"a module that changes {name_of(node.module, changed)}",
        "Update them only if self.training, and give batch_norm its own training flag from there.",
    )
    if not stochastic:
        require_no_memory(node, fresh, x)
        require_no_counting(node, numbers, x, first)
        require_no_call_memory(node, x, first)
    return first


def require_repeatable(
    node: ChainNode, x: Tensor, output: Tensor, first: Tensor, *, stochastic: bool
) -> None:
    """Raise `InputError` if a module gives something else the second time, or the same memory.

    Args:
        node: that was run.
        x: its input.
        output: that it gave.
        first: a copy of that.
        stochastic: let the second output differ.
    """
    run_node(node, x.flip(0))
    require(
        same_bits(output, first),
        node.name,
        "an output that stays as it is",
        "memory that the module writes to again when it next runs",
        "Return a new tensor (y.clone()) rather than a buffer of the module.",
    )
    if stochastic:
        return
    before = generator_states()
    same = same_bits(run_node(node, x.clone()), first)
    drawn = generator_states() != before
    # What is drawn rarely matters rarely: a dropout of few values, one branch in a hundred.
    tries = (same_bits(run_node(node, x.clone()), first) for _ in range(DRAWS if drawn else 0))
    source = "" if drawn else " that are not torch's, or remembers earlier inputs"
    require(
        same and all(tries),
        node.name,
        "the same output for the same input in evaluation mode",
        "another one the second time",
        f"It draws random numbers{source}: make them depend on self.training, as in "
        "nn.functional.dropout(x, p, training=self.training).",
    )
    if drawn:
        logger.warning(
            "%s draws random numbers in evaluation mode. Its output on examples did not depend on "
            "them; if another one does, the history of a search cannot be repeated.",
            node.name,
        )


def generator_states() -> tuple[object, ...]:
    """The states of the random generators that torch, Python and numpy share among all code."""
    legacy = np.random.get_state(legacy=False)  # noqa: NPY002
    numbers = (legacy["state"]["key"].tobytes(), legacy["state"]["pos"], legacy["has_gauss"])  # type: ignore[index,call-overload]
    return torch.default_generator.get_state().numpy().tobytes(), random.getstate(), numbers


def require_no_memory(node: ChainNode, fresh: ChainNode, x: Tensor) -> None:
    """Raise `InputError` if a module that has run gives something else than one that has not.

    Args:
        node: that has run on `x`.
        fresh: a copy of it from before.
        x: its input; both get another one of its shape, as later batches are.
    """
    other = x.flip(0)[:1].expand_as(x).clone()
    require(
        close(run_node(node, other.clone()), run_node(fresh, other)),
        node.name,
        "an output that depends on the input alone",
        "one that depends on the inputs before",
        "It keeps something of the first batch that it sees: compute it from the present one, or "
        "keep what does not depend on the values only.",
    )


def mixes_samples(node: ChainNode, x: Tensor) -> bool:
    """Whether the first of two samples gets another output beside itself than beside the second.

    Random numbers are the same both times.
    """
    if x.is_meta:
        return False
    beside_itself = x[:1].repeat_interleave(len(x), 0)
    one, other = (run_seeded(node, batch)[0] for batch in (x.clone(), beside_itself))
    return not resembles(one, other)


def depends_on_size(node: ChainNode, x: Tensor, output: Tensor) -> bool:
    """Whether a sample gets another output in a batch of one more.

    It cannot be said of a module that draws random numbers, which are others in a larger batch, nor
    of one that does not run on that: it is refused elsewhere.

    Args:
        node: to be run.
        x: its input.
        output: that it gave.
    """
    if x.is_meta:
        return False
    before = generator_states()
    try:
        larger = run_node(node, torch.cat([x, x[-1:]]))
    except InputError:
        return False
    return generator_states() == before and not resembles(output[0], larger[0])


def resembles(one: Tensor, other: Tensor) -> bool:
    """Whether two outputs for a sample are the same within a thousandth: kernels round by batch."""
    allowed = MIXED * float(one.nan_to_num().abs().max())
    return torch.allclose(one, other, rtol=0.0, atol=allowed, equal_nan=True)


def require_one_tensor(node: ChainNode, output: Any, x: Tensor) -> None:
    """Raise `InputError` unless the output is one dense float32 tensor for the batch."""
    require(
        isinstance(output, Tensor),
        node.name,
        "one tensor",
        shown(output),
        "Return a single tensor; wrap the module to choose one of its outputs.",
    )
    require(
        output.dim() >= 1 and len(output) == len(x) and output.numel() > 0,
        node.name,
        f"an output for each of the {len(x)} samples, [{len(x)}, …]",
        list(output.shape),
        "Keep the first dimension, the batch, and leave something of the others.",
    )
    require(
        output.dtype == torch.float32 and output.layout == torch.strided,
        node.name,
        "a dense float32 output",
        f"{str(output.dtype).removeprefix('torch.')}, {str(output.layout).removeprefix('torch.')}",
        "Call float() on the supernet, or convert inside the module.",
    )
    require(
        output.device == x.device,
        node.name,
        f"an output on the device of its input, {x.device}",
        output.device,
        "Do not name a device in forward: use that of the input.",
    )


def shown(output: Any) -> str:
    """A few words on something that is not a tensor."""
    if isinstance(output, tuple | list):
        return f"a {type(output).__name__} of {len(output)}"
    if isinstance(output, dict):
        return f"a dict with {', '.join(map(str, list(output)[:3]))}"
    return type(output).__name__


def require_unchanged_input(
    node: ChainNode, x: Tensor, kept: Tensor, *, written: bool = False
) -> None:
    """Raise `InputError` if a module wrote into its input, by whatever way.

    Args:
        node: that was run.
        x: its input.
        kept: a copy of that from before.
        written: whether autograd saw that it was written to, be it with the same values.
    """
    require(
        not written and x.shape == kept.shape and x.dtype == kept.dtype and same_bits(x, kept),
        node.name,
        "a module that leaves its input unchanged",
        "one that modifies its input in place",
        "Other choices get the same input: leave inplace=True and x.data out of what comes first, "
        "or begin with x = x.clone().",
    )


def probe_under_batch(node: ChainNode, x: Tensor) -> None:
    """Run a module with those batch norms in training mode that calibration switches to it.

    Raises:
        InputError: it raises then, or changes its input.
    """
    norms = trained_norms(node.module)
    if not norms:
        return
    kept = x.clone()
    for norm in norms:
        norm.train()
    try:
        run_node(node, x)
        require_unchanged_input(node, x, kept)
    finally:
        for norm in norms:
            norm.eval()


def name_of(module: nn.Module, tensors: list[Tensor]) -> str:
    """The names of a module's parameters and buffers, the first few."""
    wanted = {id(tensor) for tensor in tensors}
    every = (*module.named_parameters(), *module.named_buffers())
    return ", ".join([name for name, tensor in every if id(tensor) in wanted][:3])
