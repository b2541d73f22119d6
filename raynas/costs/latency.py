"""`Latency`: limits on seconds, from a table that was measured block by block."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, final

from raynas.costs.bounds import Bounds, require_own_name
from raynas.costs.latency_table import LatencyTable
from raynas.costs.tables import CostTable
from raynas.errors import require

if TYPE_CHECKING:
    from raynas.supernets.chain import ChainSupernet


@final
@dataclass(frozen=True)
class Latency(Bounds):
    """Seconds for one batch on the device that will run the network, by a measured table.

    Args:
        table: a `LatencyTable`, or the file of one.
        batch: the size of batch that the seconds are of.
        device: the name of the device that the network is for, as the table has it; this machine's
            if `None`, so that a table of another one is not taken for it by mistake.
        name: of the cost in limits, scores and records; limits for two sizes of batch, or on two
            devices, need two.

    The bounds, `at_most` and `at_least`, are those of `Bounds`; numbers must be positive. Without
    one, the seconds are for a strategy to minimise.

    Raises:
        InputError: as `Bounds`; no table, or one that was not measured for this batch or on this
            device; or a name that raynas counts itself. When it is used: a table of another space.
    """

    table: LatencyTable | Path | str
    batch: int = 1
    device: str | None = None
    name: str = "latency"
    positive: ClassVar[bool] = True
    needed: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        require_own_name(self.name, "Latency(name)")
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
            "one of other operations or images, or measured by other versions: "
            f"Python {self.table.setting.get('python')}, torch {self.table.setting.get('torch')}",
            "Measure this supernet with raynas latency, under the Python and torch of here.",
        )
        return measured.table(self.name)


def require_device(table: LatencyTable, device: str | None) -> None:
    """Raise `InputError` unless a table is of the wanted device: this machine's by default."""
    wanted = this_machine() if device is None else (device,)
    require(
        table.device in wanted,
        "table",
        f"one that was measured on {' or '.join(wanted)}"
        if wanted
        else "device=, since the system tells no more of this processor than its architecture",
        f"one of {table.device}",
        f"Measure it there, or say that the network is for it: device={table.device!r}.",
    )


def this_machine() -> tuple[str, ...]:
    """The models of this machine's processor and GPU, as far as the system names them."""
    import torch

    from raynas.devices import cpu_name, device_model

    gpus = [device_model(torch.device("cuda"))] if torch.cuda.is_available() else []
    return tuple(filter(None, [cpu_name(), *gpus]))


def space_digest(supernet: ChainSupernet) -> str:
    """A digest of the operations of a space, whatever the values of its weights.

    It covers all that a supernet computes with but these: modules, attributes, code, inputs, and
    buffers that no training changes, of which the number of operations may depend. Other
    versions of Python and torch have other code, and give another digest.

    Raises:
        InputError: modules that cannot be copied.
    """
    from raynas.supernets.identity import untrained_digest

    return untrained_digest(supernet, "any training")
