"""Training checkpoints: everything that the rest of a training depends on, in one file."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import torch
from torch import Tensor, nn

from raynas.data.splits import TrainingImages
from raynas.errors import InputError, describe_error, require
from raynas.files import file_beside
from raynas.supernets.chain import ChainSupernet
from raynas.supernets.checkpoints import copy_all, matched, unique_tensors
from raynas.supernets.identity import untrained_digest
from raynas.supernets.plain_state import PlainState, require_places
from raynas.supernets.tensor_files import read_torch, require_tensors
from raynas.supernets.value_digest import identity_of_task, unread_of_task, value_digest
from raynas.task import Classification, Task
from raynas.training.progress import EpochReport
from raynas.training.settings import ADDED
from raynas.training.weight_average import WeightAverage

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
    terms = settings.terms() | {
        "images": len(images),
        "paths": sampler.terms(),
        "digest of the images": digest_of_images(images, settings),
        "digest of the modules": untrained_digest(supernet),
    }
    frozen = [name for name, each in supernet.named_parameters() if not each.requires_grad]
    if frozen:
        terms["without a gradient"] = f"{len(frozen)} parameters, {value_digest(frozen)}"
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


@final
@dataclass(frozen=True)
class Learner:
    """Everything that a training changes, and that a checkpoint of it holds.

    Args:
        supernet: parameters, buffers and batch-norm statistics.
        optimizer: over its parameters, with the momentum.
        sampler: with what it has learned.
        plain: values that the supernet's modules keep beside tensors.
        average: of its weights, where the training ends with one.
    """

    supernet: ChainSupernet
    optimizer: torch.optim.Optimizer
    sampler: PathSampler
    plain: PlainState
    average: WeightAverage | None = None


def write(
    path: Path, learner: Learner, terms: Mapping[str, Any], reports: list[EpochReport]
) -> None:
    """Replace the checkpoint by one after the last reported epoch, whole or not at all.

    Attributes of modules that have changed and are no plain values are named in a warning.

    Args:
        path: the file.
        learner: as it is.
        terms: settings that a resumed training must have, too, as JSON values.
        reports: of all epochs so far.
    """
    own, _ = unique_tensors(learner.supernet)
    content = {
        "model": {name: tensor.detach() for name, tensor in own.items()},
        "buffers": unsaved_buffers(learner.supernet),
        "attributes": [[*place, value] for place, value in learner.plain.changed().items()],
        "optimizer": learner.optimizer.state_dict(),
        "terms": json.dumps(terms),
        "paths": json.dumps(learner.sampler.state()),
        "reports": json.dumps([asdict(report) for report in reports]),
    }
    if learner.average is not None:
        content["average"] = learner.average.tensors
    with file_beside(path) as temporary:
        torch.save(content, temporary)
    if len(reports) == 1:
        lost = learner.plain.otherwise_changed()
        if lost:
            logger.warning(
                "the training changes attributes that no checkpoint can hold, so that it will go "
                "on differently if it is resumed: %s. Keep what changes in a buffer or a number.",
                ", ".join(lost),
            )


def unsaved_buffers(supernet: ChainSupernet) -> dict[str, Tensor]:
    """The buffers that a state dict leaves out, by name; those that are not persistent."""
    saved = supernet.state_dict(keep_vars=True).keys()
    buffers = supernet.named_buffers(remove_duplicate=False)
    return {name: tensor.detach() for name, tensor in buffers if name not in saved}


def read(path: Path, learner: Learner, terms: Mapping[str, Any]) -> list[EpochReport]:
    """Put everything back to where a checkpoint was written.

    Checkpoints of earlier versions hold no buffers that are not persistent, and no attributes:
    these stay as they are.

    Args:
        path: the file.
        learner: to be filled.
        terms: those of this training.

    Returns:
        The reports of the epochs that are done.

    Raises:
        InputError: not a training checkpoint, or one of a training on other terms, with the
            differences. The supernet is unchanged then.
    """
    content = read_torch(path)
    supernet = learner.supernet
    try:
        before = json.loads(content["terms"])
        reports = [EpochReport(**report) for report in json.loads(content["reports"])]
        model, momentum = content["model"], content["optimizer"]
        learned = json.loads(content.get("paths", "{}"))
        buffers, averaged = dict(content.get("buffers", {})), dict(content.get("average", {}))
        values = {(module, name): value for module, name, value in content.get("attributes", [])}
        owners = {name: supernet.get_submodule(name.rpartition(".")[0]) for name in buffers}
        require_places(supernet, values)
        differences = compare(before, json.loads(json.dumps(terms)))
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise foreign(path, error) from error
    pairs = matched(supernet, require_tensors(model, path), path)
    require_tensors(buffers, path)
    require_tensors(averaged, path)
    if learner.average is not None:
        learner.average.require_fitting(averaged, path)
    require(
        not differences,
        "checkpoint",
        "a training on the same terms",
        f"{path} with {', '.join(differences)}",
        "Ask for what the checkpoint was trained with, or name another file.",
    )
    try:
        learner.sampler.restore(learned)
        learner.optimizer.load_state_dict(momentum)
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise foreign(path, error) from error
    copy_all(pairs)
    if learner.average is not None:
        learner.average.restore(averaged)
    if "buffers" in content:
        drop_buffers(supernet, unsaved_buffers(supernet).keys() - buffers.keys())
    put_buffers(owners, buffers)
    learner.plain.put_back(values)
    return reports


def drop_buffers(supernet: ChainSupernet, names: Iterable[str]) -> None:
    """Leave modules without buffers that the training has dropped."""
    for name in names:
        module, _, own = name.rpartition(".")
        supernet.get_submodule(module)._buffers[own] = None


def put_buffers(owners: Mapping[str, nn.Module], buffers: Mapping[str, Tensor]) -> None:
    """Give modules buffers, in place where they have one of that shape and type.

    Args:
        owners: the module of each buffer by the buffer's full name.
        buffers: by full name.
    """
    with torch.no_grad():
        for name, given in buffers.items():
            own = name.rpartition(".")[2]
            held = owners[name]._buffers.get(own)
            if held is not None and (held.shape, held.dtype) == (given.shape, given.dtype):
                held.copy_(given)
            else:
                owners[name]._buffers[own] = given.to("cpu" if held is None else held.device)


def foreign(path: Path, error: Exception) -> InputError:
    """The error for a readable file that no training wrote."""
    return InputError(
        "checkpoint",
        "a file that a training wrote after an epoch",
        f"{path} ({describe_error(error)})",
        "Remove it to train from the start, or name another file.",
    )


def compare(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The terms that differ, each as `epochs 3 instead of 5`."""
    one, other = {**ADDED, **before}, {**ADDED, **now}
    return [
        f"{name} {one.get(name)!r} instead of {other.get(name)!r}"
        for name in sorted(one.keys() | other.keys())
        if one.get(name) != other.get(name)
    ]
