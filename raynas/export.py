"""One architecture on its own: a plain torch module with calibrated batch norm, and its files."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from raynas.errors import InputError
from raynas.evaluation.batch_norm import statistics as batch_stats
from raynas.evaluation.batch_norm.statistics import Statistics
from raynas.evaluation.trie import nodes_of
from raynas.space import Architecture
from raynas.supernets.chain import ChainSupernet, batch_norms


def plain_subnet(
    supernet: ChainSupernet, architecture: Architecture, statistics: Statistics | None
) -> nn.Sequential:
    """A copy of one architecture that shares nothing with the supernet.

    Args:
        supernet: whose weights it inherits.
        architecture: one choice per block.
        statistics: merged batch-norm statistics of the nodes of the architecture; `None` keeps
            the supernet's running ones.

    Returns:
        A `nn.Sequential` on the CPU in evaluation mode: uint8 images `[n, c, h, w]` to logits.
    """
    chosen = supernet.space.validate(architecture)
    # Module by module: blocks that share one get statistics of their own.
    modules = [copy.deepcopy(module) for module in supernet.subnet(chosen)]
    subnet = nn.Sequential(*modules).to("cpu").eval()
    if statistics is not None:
        with torch.no_grad():
            for module, path in zip(subnet, nodes_of(chosen), strict=True):
                batch_stats.write(batch_norms(module), statistics[path])
    return subnet


def export_subnet(
    directory: Path | str,
    subnet: nn.Module,
    image_shape: tuple[int, ...],
    description: Mapping[str, Any],
) -> None:
    """Write a subnet to a directory.

    `architecture.json` is the description, `weights.safetensors` the state dict, and `model.pt2` a
    `torch.export` program that runs without raynas (`torch.export.load(path).module()`), for any
    batch size.

    Args:
        directory: created; must not hold an export of another architecture.
        subnet: a plain module on the CPU.
        image_shape: `(channels, height, width)` of its input.
        description: a JSON object with at least `"architecture"`.

    Raises:
        InputError: the directory holds the export of another architecture, or cannot be written.
    """
    target = Path(directory)
    require_same_architecture(target, description)
    images = torch.zeros((2, *image_shape), dtype=torch.uint8)
    batch = {0: torch.export.Dim("batch", min=1)}
    program = torch.export.export(subnet, (images,), dynamic_shapes=(batch,))
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            "export directory", "a directory that can be created", error, "Use another one."
        ) from error
    weights = {name: tensor.contiguous() for name, tensor in subnet.state_dict().items()}
    save_file(weights, str(target / "weights.safetensors.part"))
    os.replace(target / "weights.safetensors.part", target / "weights.safetensors")
    torch.export.save(program, str(target / "model.part.pt2"))
    os.replace(target / "model.part.pt2", target / "model.pt2")
    part = target / "architecture.json.part"
    part.write_text(json.dumps(dict(description), indent=2) + "\n")
    os.replace(part, target / "architecture.json")


def require_same_architecture(target: Path, description: Mapping[str, Any]) -> None:
    """Raise `InputError` if the directory holds the export of another architecture."""
    existing = target / "architecture.json"
    if not existing.exists():
        return
    try:
        held = json.loads(existing.read_text())["architecture"]
    except (ValueError, KeyError, TypeError):
        held = "something unreadable"
    if held != list(description["architecture"]):
        raise InputError(
            "export directory",
            "an empty one, or one with the same architecture",
            f"{target}, which holds {held}",
            "Export into another directory.",
        )
