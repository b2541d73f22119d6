"""The directory of a retraining: what is retrained there, how far it is, and how it ended.

`retraining.json` says it before the first step; `training.pt` is the checkpoint while it goes on;
`architecture.json` and the other files of an export are written once, at the end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from raynas.data.splits import SearchData, TrainingImages, require_sequence
from raynas.errors import InputError, require
from raynas.export.folder import DESCRIPTION, FILES
from raynas.export.program import WEIGHTS
from raynas.files import Record, dumps, parse, read_json, require_writable, write_json, writing
from raynas.runlog import flatten, require_same
from raynas.shards.inspection import require_shard
from raynas.shards.shard import Shard, ShardDigest
from raynas.training.resume import digest_of_images
from raynas.training.settings import TrainingSettings

PLAN, CHECKPOINT = "retraining.json", "training.pt"

ENDED = "retraining"
"""The key of a description that a finished retraining adds to those of an export."""


def settings_record(settings: TrainingSettings) -> Record:
    """Training settings as JSON, without the device, which others may go on with."""
    return settings.terms()


def samples_record(images: TrainingImages, settings: TrainingSettings) -> Record:
    """The samples of a training as JSON."""
    return {"count": len(images), "digest": digest_of_images(images, settings)}


def splits_record(data: SearchData, *, calibration: bool) -> Record:
    """The digests of the samples that a network is scored on, as JSON; all of them are read.

    Args:
        data: with validation, and perhaps test samples.
        calibration: whether the network begins with statistics of the calibration samples.

    Raises:
        InputError: a split of anything but shards.
    """
    return {
        "calibration": digest_of_shards(data.calibration, "calibration") if calibration else None,
        "validation": digest_of_shards(data.validation, "validation"),
        "test": digest_of_shards(data.test, "test"),
    }


def digest_of_shards(shards: Sequence[Shard], split: str) -> str | None:
    """The digest of all samples of a split, 32 hexadecimal digits; `None` where there are none."""
    require_sequence(shards, split)
    total = ShardDigest()
    for shard in shards:
        require_shard(shard, split)
        total.update(shard)
    return total.hexdigest() if len(shards) else None


def require_directory(directory: Path, plan: Mapping[str, Any]) -> None:
    """See that a directory holds nothing, or a retraining that is planned so; writes nothing.

    Args:
        directory: which need not exist.
        plan: of the retraining, or a part of it; that alone is compared.

    Raises:
        InputError: it holds the retraining of something else, or files that no retraining has
            begun, or it cannot be written to.
    """
    require_writable("out", directory / PLAN, CHECKPOINT, *FILES)
    require(
        not directory.exists() or directory.is_dir(),
        "out",
        "a directory",
        f"the file {directory}",
        "Choose another place.",
    )
    if not (directory / PLAN).exists():
        held = [n for n in (CHECKPOINT, *FILES) if (directory / n).exists()]
        require(
            not held,
            "out",
            f"an empty directory, or one with the {PLAN} of the same retraining",
            f"{directory}, which holds {', '.join(held)} without it",
            "Retrain into another directory.",
        )
        return
    there, now = flatten(read_json(directory / PLAN)), flatten(parse(dumps(plan).encode()))
    try:
        require_same({name: there.get(name) for name in now}, now, "out")
    except InputError as error:
        raise InputError(
            "out",
            "an empty directory, or one with the same retraining",
            f"{directory}, which holds another one ({error.got})",
            "Retrain into another directory, or ask for what this one holds.",
        ) from error


def begin(directory: Path, plan: Mapping[str, Any]) -> None:
    """Write the plan of a retraining, unless it is there.

    Raises:
        InputError: as `require_directory`.
    """
    require_directory(directory, plan)
    if not (directory / PLAN).exists():
        with writing("out", directory):
            directory.mkdir(parents=True, exist_ok=True)
            write_json(directory / PLAN, plan)


def ended(directory: Path) -> Record | None:
    """The description that a finished retraining wrote; `None` while there is something to do.

    A checkpoint is removed last, so that none is left where all files have been written.

    Raises:
        InputError: a description that cannot be read.
    """
    written = all((directory / name).exists() for name in (PLAN, DESCRIPTION, WEIGHTS))
    if not written or (directory / CHECKPOINT).exists():
        return None
    record = read_json(directory / DESCRIPTION)
    return record if ENDED in record else None
