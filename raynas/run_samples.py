"""The samples of a finished run, compared with those that its result is asked for."""

from __future__ import annotations

from collections.abc import Sequence

from raynas.data.splits import SearchData
from raynas.evaluation.settings import Evaluation
from raynas.files import Record
from raynas.runlog import require_same
from raynas.shards.inspection import require_shard
from raynas.shards.shard import Shard, ShardDigest


def require_same_data(
    recorded: Record, result: Record, data: SearchData, evaluation: Evaluation, argument: str
) -> None:
    """Raise `InputError` if samples are not those that a finished run was of; reads all of them.

    Args:
        recorded: the configuration of the run.
        result: of the run; an earlier version did not record the samples of its test.
        data: to be compared.
        evaluation: of the run: whether it has read calibration samples.
        argument: the name in errors.
    """
    if "digest" in recorded["data"]:
        calibration = data.calibration if evaluation.batch_norm == "recalibrate" else ()
        found = {"data.digest": digest_of_splits(calibration, data.validation)}
        require_same({"data.digest": recorded["data"]["digest"]}, found, argument)
    if "tested_samples" in result:
        tested = digest_of_splits(data.test) if len(data.test) else None
        found_test = {"tested_samples": tested}
        require_same({"tested_samples": result["tested_samples"]}, found_test, argument)


def digest_of_splits(*splits: Sequence[Shard]) -> str:
    """The digest of all shards of some splits, 32 hexadecimal digits, each read once.

    Raises:
        InputError: a split of anything but shards.
    """
    total = ShardDigest()
    for shard in (split[index] for split in splits for index in range(len(split))):
        require_shard(shard, "data")
        total.update(shard)
    return total.hexdigest()
