"""`LatencyTable`: measured seconds of every choice of a space, as a value and as a file.

A network's latency is taken to be the sum of what its stem, its choices and its head take, as in
ProxylessNAS and FBNet; how far that is off on whole subnets is measured with the table and kept in
it. A table belongs to one device and one space, and is refused elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path
from typing import Any, final

from raynas.costs.tables import CostTable
from raynas.errors import InputError, is_number, is_whole, reason_of, require
from raynas.files import as_path, replace_bytes, writing

FORMAT = 2
"""The version of the file of a table."""

REMEDY = "Measure one with raynas latency."


@final
@dataclass(frozen=True)
class Verification:
    """Whole subnets that were measured beside the table, and their sums of the table.

    Args:
        architectures: that were measured, random ones.
        predicted: seconds by the table.
        measured: seconds of the whole subnet, above 0.

    Raises:
        InputError: no subnets, another number of seconds than of subnets, or no seconds.
    """

    architectures: tuple[tuple[int, ...], ...]
    predicted: tuple[float, ...]
    measured: tuple[float, ...]

    def __post_init__(self) -> None:
        counts = [len(self.architectures), len(self.predicted), len(self.measured)]
        require(
            counts[0] > 0 and len(set(counts)) == 1,
            "table",
            "as many measured and predicted seconds as subnets that verify them, at least one",
            f"{counts[0]} subnets, {counts[1]} predicted and {counts[2]} measured",
            REMEDY,
        )
        require_seconds(*self.predicted)
        require_seconds(*self.measured, above=True)

    @property
    def errors(self) -> list[float]:
        """The relative error of each sum: 0.1 where the table says 10 % too much."""
        pairs = zip(self.predicted, self.measured, strict=True)
        return [predicted / measured - 1.0 for predicted, measured in pairs]

    @property
    def mean_error(self) -> float:
        """The mean of the absolute relative errors."""
        return sum(map(abs, self.errors)) / len(self.errors)

    @property
    def largest_error(self) -> float:
        """The largest absolute relative error."""
        return max(map(abs, self.errors))

    @property
    def kendall_tau(self) -> float | None:
        """Rank correlation of the sums with the measured seconds; `None` where all are equal."""
        from scipy.stats import kendalltau

        if min(len(set(self.predicted)), len(set(self.measured))) < 2:
            return None
        return float(kendalltau(self.predicted, self.measured).statistic)


@final
@dataclass(frozen=True)
class Measurement:
    """Seconds of every part of a supernet for one size of batch.

    Args:
        stem: seconds.
        blocks: `[block][choice]` seconds.
        head: seconds.
        verification: the error of the sums.

    Raises:
        InputError: seconds that are negative or not finite.
    """

    stem: float
    blocks: tuple[tuple[float, ...], ...]
    head: float
    verification: Verification

    def __post_init__(self) -> None:
        require_seconds(self.stem, self.head, *(each for block in self.blocks for each in block))

    def table(self, name: str = "latency") -> CostTable:
        """The seconds as a cost of a name, to a tenth of a microsecond."""
        blocks = tuple(tuple(round(seconds, 7) for seconds in block) for block in self.blocks)
        return CostTable(name, round(self.stem + self.head, 7), blocks)


@final
@dataclass(frozen=True)
class LatencyTable:
    """Measured seconds of every choice of a space on one device.

    Args:
        device: its name, such as the model of the processor or GPU.
        space: a digest of the space; see `space_digest`.
        batches: the measurement for each size of batch.
        setting: how it was measured: threads, types of weights, rounds, versions of Python and
            torch.
    """

    device: str
    space: str
    batches: Mapping[int, Measurement]
    setting: Mapping[str, Any]

    def save(self, path: Path | str) -> None:
        """Write the table as JSON, into a new folder if need be; the file is whole or not there.

        Raises:
            InputError: it cannot be written.
        """
        content = {"format": FORMAT, **asdict(self)}
        target = as_path(path, "out")
        with writing("out", target):
            target.parent.mkdir(parents=True, exist_ok=True)
            replace_bytes(target, (json.dumps(content, indent=1) + "\n").encode())

    @staticmethod
    def load(path: Path | str) -> LatencyTable:
        """Read a table.

        Raises:
            InputError: no such file, or one of something else.
        """
        source = as_path(path, "table")
        try:
            content = json.loads(source.read_text())
            require_format(content.get("format"), source)
            batches = {int(size): read_measurement(m) for size, m in content["batches"].items()}
            return LatencyTable(
                str(content["device"]), str(content["space"]), batches, dict(content["setting"])
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(
                "table",
                "a file that raynas latency wrote",
                f"{source} ({reason_of(error)})",
                REMEDY,
            ) from error

    def of(self, batch: int) -> Measurement:
        """The measurement for a size of batch.

        Raises:
            InputError: none for this size.
        """
        sizes = ", ".join(map(str, sorted(self.batches)))
        require(
            is_whole(batch) and batch in self.batches,
            "batch",
            f"one of the measured sizes: {sizes}",
            repr(batch),
            "Choose one, or measure the table for it.",
        )
        return self.batches[batch]


def require_seconds(*seconds: float, above: bool = False) -> None:
    """Raise `InputError` unless seconds are finite and not negative, and above 0 if so wanted."""
    for each in seconds:
        require(
            is_number(each) and isfinite(each) and (each > 0 if above else each >= 0),
            "table",
            f"finite seconds, {'above' if above else 'at least'} 0",
            repr(each),
            REMEDY,
        )


def require_format(found: object, source: Path) -> None:
    """Raise `InputError` unless a file has this version's format."""
    require(
        found == FORMAT,
        "table",
        f"a latency table of format {FORMAT}",
        f"{source}, of format {found}",
        "Measure it again with this version.",
    )


def read_measurement(content: Mapping[str, Any]) -> Measurement:
    """A measurement from the JSON object of one."""
    found = content["verification"]
    verification = Verification(
        tuple(tuple(map(int, each)) for each in found["architectures"]),
        tuple(map(float, found["predicted"])),
        tuple(map(float, found["measured"])),
    )
    blocks = tuple(tuple(map(float, block)) for block in content["blocks"])
    return Measurement(float(content["stem"]), blocks, float(content["head"]), verification)
