"""Fingerprints of behaviour: what every module of a chain gives on fixed inputs."""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, final

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from raynas.supernets.chain_nodes import ChainNode, chain_nodes, example_batch
from raynas.supernets.plain_torch import seed_generators

if TYPE_CHECKING:
    from raynas.supernets.chain import ChainSupernet

SAMPLES = 4
"""The number of samples that a fingerprint is taken on."""

TOLERANCE = 1e-2
"""The share of its size by which an output may differ on another processor."""


@final
@dataclass(frozen=True)
class Behaviour:
    """The fingerprint of what one module of a chain gives on fixed inputs.

    Args:
        node: `stem`, `blocks[1][0]` or `head`.
        statistics: `"fixed"` or `"batch"`: which ones batch norms used; `"large"` are fixed ones
            on activations of several sizes.
        digest: of the output's bits, 16 hexadecimal digits; `"raised …"` if there was none.
        size: the root of the output's mean square; `None` where that is not a number.
        projection: the output on fixed signs, about as large as `size`; `None` likewise.
    """

    node: str
    statistics: str
    digest: str
    size: float | None = None
    projection: float | None = None

    def resembles(self, other: Behaviour) -> bool:
        """Whether both may be of one module on different processors."""
        if self.digest == other.digest:
            return True
        if "raised" in self.digest + other.digest:
            return False
        mine, theirs = (self.size, self.projection), (other.size, other.projection)
        if None in mine + theirs:
            return mine == theirs
        allowed = TOLERANCE * max(self.size or 0.0, other.size or 0.0) + 1e-6
        return all(
            one is not None and another is not None and abs(one - another) <= allowed
            for one, another in zip(mine, theirs, strict=True)
        )


def behaviours(replica: ChainSupernet, samples: int = SAMPLES) -> tuple[Behaviour, ...]:
    """Run every module of a copy, which may be spoilt, on what the first choices before it give.

    Under fixed statistics, on activations as they come and on larger ones, which reach bounds that
    the former do not; and, if there are batch norms, under the batch's own, too. A module that
    raises leaves a mark; what comes after runs on what another choice gave.

    Args:
        replica: to be run.
        samples: how many it is run on at a time.
    """
    replica.eval()
    norms = [module for module in replica.modules() if isinstance(module, _BatchNorm)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = [*run_all(replica, "fixed", samples), *run_all(replica, "large", samples)]
        if norms:
            for norm in norms:
                norm.train()
            found += run_all(replica, "batch", samples)
    return tuple(found)


def run_all(replica: ChainSupernet, statistics: str, samples: int) -> Iterator[Behaviour]:
    """The behaviours of all modules in their present mode."""
    x: Tensor | None = example_batch(replica, samples)
    for _, nodes in groupby(chain_nodes(replica), key=lambda node: node.depth):
        outputs = []
        for node in nodes:
            behaviour, output = run_one(node, x, statistics)
            outputs.append(output)
            yield behaviour
        x = next((output for output in outputs if output is not None), None)
        if statistics == "large" and x is not None:
            x = enlarged(x)


def enlarged(x: Tensor) -> Tensor:
    """Samples of which the first is as it was, and the others are 4, 16, 64 … times its size."""
    if not x.is_floating_point() or x.numel() == 0:
        return x
    sizes = x.flatten(1).square().mean(1).sqrt() if x.dim() > 1 else x.abs()
    factors = sizes[0] * 4.0 ** torch.arange(len(x)) / sizes.clamp(min=1e-12)
    factors[0] = 1.0
    return x * factors.to(x.dtype).view(-1, *[1] * (x.dim() - 1))


def run_one(node: ChainNode, x: Tensor | None, statistics: str) -> tuple[Behaviour, Tensor | None]:
    """The behaviour of one module on one input, and its output if that is a tensor."""
    if x is None:
        return Behaviour(node.name, statistics, "raised nothing: no input"), None
    seed_generators()
    try:
        output = node.module(x.clone())
    # Modules of a user raise nearly anything; the check says so to the user.
    except Exception as error:
        return Behaviour(node.name, statistics, f"raised {type(error).__name__}"), None
    if not isinstance(output, Tensor) or output.layout != torch.strided:
        return Behaviour(node.name, statistics, f"raised nothing: {type(output).__name__}"), None
    output = output.detach().clone()
    return summarize(node.name, statistics, output), output


def summarize(node: str, statistics: str, output: Tensor) -> Behaviour:
    """The digest, the size and the projection of an output."""
    flat = (torch.view_as_real(output) if output.is_complex() else output).reshape(-1)
    total = hashlib.blake2b(f"{output.dtype} {tuple(output.shape)}".encode(), digest_size=8)
    total.update(flat.view(torch.uint8).numpy().data)
    values = flat.to(torch.float64)
    # Of several frequencies, so that outputs in another order project differently.
    signs = torch.cos(torch.arange(len(values), dtype=torch.float64).square() * 0.618)
    count = max(len(values), 1)
    size = math.sqrt(float(values.square().mean())) if len(values) else 0.0
    projection = float(values @ signs) * math.sqrt(2.0 / count)
    if not (math.isfinite(size) and math.isfinite(projection)):
        return Behaviour(node, statistics, total.hexdigest())
    return Behaviour(node, statistics, total.hexdigest(), size, projection)
