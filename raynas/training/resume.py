"""Training checkpoints: everything that the rest of a training depends on, in one file."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from raynas.data.splits import TrainingImages
from raynas.errors import InputError, require
from raynas.files import file_beside
from raynas.supernets.chain import ChainSupernet
from raynas.supernets.checkpoints import copy_all, matched, unique_tensors
from raynas.supernets.identity import untrained_digest
from raynas.supernets.tensor_files import read_torch, require_tensors
from raynas.supernets.value_digest import identity_of_task, unread_of_task, value_digest
from raynas.task import Classification, Task
from raynas.training.progress import EpochReport

if TYPE_CHECKING:
    from raynas.training.paths import PathSampler
    from raynas.training.settings import TrainingSettings

logger = logging.getLogger("raynas")


def terms_of(
    supernet: ChainSupernet,
    images: TrainingImages,
    settings: TrainingSettings,
    sampler: PathSampler,
    task: Task,
    processes: int = 1,
) -> dict[str, Any]:
    """The terms that a resumed training must have in common with the interrupted one, as JSON."""
    terms = asdict(settings) | {
        "images": len(images),
        "paths": sampler.terms(),
        "digest of the images": digest_of_images(images, settings),
        "digest of the modules": untrained_digest(supernet),
    }
    frozen = [name for name, each in supernet.named_parameters() if not each.requires_grad]
    if frozen:
        terms["without a gradient"] = f"{len(frozen)} parameters, {value_digest(frozen)}"
    del terms["device"]
    if processes > 1:
        terms["processes"] = processes
    unread = unread_of_task(task)
    if unread:
        logger.warning(
            "task: %s cannot be read, so that a checkpoint of another one is not refused.",
            " and ".join(unread),
        )
    return terms if isinstance(task, Classification) else terms | {"task": identity_of_task(task)}


def digest_of_images(images: TrainingImages, settings: TrainingSettings) -> str:
    """The samples' own digest, or that of their first batch; see `TrainingImages`."""
    own = getattr(images, "digest", None)
    if callable(own):
        return str(own())
    batches = images.batches(settings.batch_size, seed=settings.seed, epoch=0)
    return value_digest(list(islice(batches, 1)))


def write(
    path: Path,
    supernet: ChainSupernet,
    optimizer: torch.optim.Optimizer,
    terms: Mapping[str, Any],
    sampler: PathSampler,
    reports: list[EpochReport],
) -> None:
    """Replace the checkpoint by one after the last reported epoch, whole or not at all.

    Args:
        path: the file.
        supernet: weights and batch-norm statistics.
        optimizer: its momentum.
        terms: settings that a resumed training must have, too, as JSON values.
        sampler: with what it has learned.
        reports: of all epochs so far.
    """
    own, _ = unique_tensors(supernet)
    content = {
        "model": {name: tensor.detach() for name, tensor in own.items()},
        "optimizer": optimizer.state_dict(),
        "terms": json.dumps(terms),
        "paths": json.dumps(sampler.state()),
        "reports": json.dumps([asdict(report) for report in reports]),
    }
    with file_beside(path) as temporary:
        torch.save(content, temporary)


def read(
    path: Path,
    supernet: ChainSupernet,
    optimizer: torch.optim.Optimizer,
    terms: Mapping[str, Any],
    sampler: PathSampler,
) -> list[EpochReport]:
    """Put supernet, optimizer and sampler back to where a checkpoint was written.

    Args:
        path: the file.
        supernet: to be filled.
        optimizer: over the supernet's parameters; gets its momentum back.
        terms: those of this training.
        sampler: gets what it had learned back.

    Returns:
        The reports of the epochs that are done.

    Raises:
        InputError: not a training checkpoint, or one of a training on other terms, with the
            differences. The supernet is unchanged then.
    """
    content = read_torch(path)
    try:
        before = json.loads(content["terms"])
        reports = [EpochReport(**report) for report in json.loads(content["reports"])]
        model, momentum = content["model"], content["optimizer"]
        learned = json.loads(content.get("paths", "{}"))
        differences = compare(before, json.loads(json.dumps(terms)))
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise foreign(path, error) from error
    pairs = matched(supernet, require_tensors(model, path), path)
    require(
        not differences,
        "checkpoint",
        "a training on the same terms",
        f"{path} with {', '.join(differences)}",
        "Ask for what the checkpoint was trained with, or name another file.",
    )
    try:
        sampler.restore(learned)
        optimizer.load_state_dict(momentum)
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise foreign(path, error) from error
    copy_all(pairs)
    return reports


def foreign(path: Path, error: Exception) -> InputError:
    """The error for a readable file that no training wrote."""
    return InputError(
        "checkpoint",
        "a file that a training wrote after an epoch",
        f"{path} ({error!r})",
        "Remove it to train from the start, or name another file.",
    )


def compare(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The terms that differ, each as `epochs 3 instead of 5`."""
    return [
        f"{name} {before.get(name)!r} instead of {now.get(name)!r}"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    ]
