"""`Latency`: limits on seconds, from a table that was measured block by block.

A network's latency is taken to be the sum of what its stem, its choices and its head take, as in
ProxylessNAS and FBNet; how far that is off on whole subnets is measured with the table and kept in
it. A table belongs to one device and one space, and is refused elsewhere.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, final

from raynas.costs.bounds import Bounds
from raynas.costs.counting import flops_table, params_table
from raynas.costs.tables import CostTable
from raynas.errors import InputError, require
from raynas.files import as_path, replace_bytes, writing

if TYPE_CHECKING:
    from raynas.supernets.chain import ChainSupernet

FORMAT = 1
"""The version of the file of a table."""

NAME = "latency"
"""The name of the cost in limits, scores and records: seconds for one batch."""


@final
@dataclass(frozen=True)
class Verification:
    """Whole subnets that were measured beside the table, and their sums of the table.

    Args:
        architectures: that were measured, random ones.
        predicted: seconds by the table.
        measured: seconds of the whole subnet.
    """

    architectures: tuple[tuple[int, ...], ...]
    predicted: tuple[float, ...]
    measured: tuple[float, ...]

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
    def kendall_tau(self) -> float:
        """Rank correlation of the sums with the measured seconds."""
        from scipy.stats import kendalltau

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
    """

    stem: float
    blocks: tuple[tuple[float, ...], ...]
    head: float
    verification: Verification

    def table(self) -> CostTable:
        """The seconds as a cost, to a tenth of a microsecond."""
        blocks = tuple(tuple(round(seconds, 7) for seconds in block) for block in self.blocks)
        return CostTable(NAME, round(self.stem + self.head, 7), blocks)


@final
@dataclass(frozen=True)
class LatencyTable:
    """Measured seconds of every choice of a space on one device.

    Args:
        device: its name, such as the model of the processor or GPU.
        space: a digest of the space; see `space_digest`.
        batches: the measurement for each size of batch.
        setting: how it was measured: threads, rounds, version of torch.
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
                str(content["device"]), str(content["space"]), batches, content["setting"]
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(
                "table",
                "a file that raynas latency wrote",
                f"{source} ({error.strerror if isinstance(error, OSError) else repr(error)})",
                "Measure one with raynas latency.",
            ) from error

    def of(self, batch: int) -> Measurement:
        """The measurement for a size of batch.

        Raises:
            InputError: none for this size.
        """
        sizes = ", ".join(map(str, sorted(self.batches)))
        require(
            batch in self.batches,
            "batch",
            f"one of the measured sizes: {sizes}",
            batch,
            "Choose one, or measure the table for it.",
        )
        return self.batches[batch]


@final
@dataclass(frozen=True)
class Latency(Bounds):
    """Seconds for one batch on the device that will run the network, by a measured table.

    Args:
        table: a `LatencyTable`, or the file of one.
        batch: the size of batch that the seconds are of.
        device: the name of the device that the network is for, as the table has it; this machine's
            if `None`, so that a table of another one is not taken for it by mistake.

    The bounds, `at_most` and `at_least`, are those of `Bounds`; numbers must be positive.

    Raises:
        InputError: as `Bounds`; no table, or one that was not measured for this batch or on this
            device. When it is used: a table of another space.
    """

    table: LatencyTable | Path | str
    batch: int = 1
    device: str | None = None
    positive: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        given = self.table
        table = given if isinstance(given, LatencyTable) else LatencyTable.load(given)
        object.__setattr__(self, "table", table)
        table.of(self.batch)
        require_device(table, self.device)

    def priced(self, supernet: ChainSupernet) -> CostTable:
        """The seconds of each choice of each block.

        Raises:
            InputError: the table is one of another space.
        """
        assert isinstance(self.table, LatencyTable)
        measured = self.table.of(self.batch)
        counts = [len(block) for block in measured.blocks]
        require(
            counts == list(supernet.space.choices),
            "table",
            f"one of the supernet's space, {list(supernet.space.choices)} choices per block",
            counts,
            "Measure this supernet with raynas latency.",
        )
        require(
            self.table.space == space_digest(supernet),
            "table",
            "one of the supernet's space: the same operations and images",
            "one of other operations or images",
            "Measure this supernet with raynas latency.",
        )
        return measured.table()


def require_device(table: LatencyTable, device: str | None) -> None:
    """Raise `InputError` unless a table is of the wanted device: this machine's by default."""
    wanted = this_machine() if device is None else (device,)
    require(
        table.device in wanted,
        "table",
        f"one that was measured on {' or '.join(wanted)}",
        f"one of {table.device}",
        f"Measure it there, or say that the network is for it: device={table.device!r}.",
    )


def this_machine() -> tuple[str, ...]:
    """The models of this machine's processor and GPU."""
    import torch

    from raynas.devices import device_model

    kinds = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    return tuple(device_model(torch.device(kind)) for kind in kinds)


def space_digest(supernet: ChainSupernet) -> str:
    """A digest of the operations of a space, whatever its weights.

    It covers samples, multiply-accumulates and parameters of every part.
    """
    tables = [flops_table(supernet), params_table(supernet)]
    content = [asdict(supernet.inputs), [[table.base, table.blocks] for table in tables]]
    text = json.dumps(content, default=list)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


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
