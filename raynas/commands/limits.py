"""Limits as a command line states them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import final

import raynas
from raynas.commands.named import call
from raynas.commands.options import renamed
from raynas.costs.bounds import Bounds, as_bound
from raynas.errors import require

OF_LATENCY = {"table": "latency-table", "batch": "latency-batch"}
"""Options by the arguments of `raynas.Latency` that they stand for."""


@final
@dataclass(frozen=True)
class LimitOptions:
    """Limits on legal architectures: numbers, or shares of the largest architecture such as 60%.

    Args:
        flops: the most multiply-adds that an architecture may have.
        flops_at_least: the fewest multiply-adds that it may have.
        params: the most parameters that an architecture may have.
        params_at_least: the fewest parameters that it may have.
        bitops: the most bit operations that it may have, in a supernet of quantized modules.
        bitops_at_least: the fewest bit operations that it may have.
        latency: the most seconds that a batch may take, by --latency-table.
        latency_at_least: the fewest seconds that it may take.
        latency_table: the file that raynas latency wrote on the device that will run the network;
            without a bound, its seconds are one more cost for nsga2.
        latency_batch: the size of batch that the seconds are of.
        latency_device: that device's name, as the table has it; this machine's if omitted.
        limits: package.module:function, which returns limits on costs of your own, one or a list:
            raynas.Cost(…).
    """

    flops: str | None = None
    flops_at_least: str | None = None
    params: str | None = None
    params_at_least: str | None = None
    bitops: str | None = None
    bitops_at_least: str | None = None
    latency: str | None = None
    latency_at_least: str | None = None
    latency_table: Path | None = None
    latency_batch: int = 1
    latency_device: str | None = None
    limits: str | None = None

    def constraint(self) -> list[Bounds] | None:
        """The limits that were given, if any were.

        Raises:
            InputError: a text that is no number or share, or a function that makes no limits.
        """
        stated = (
            (raynas.FLOPs, "flops", self.flops, self.flops_at_least),
            (raynas.Params, "params", self.params, self.params_at_least),
            (raynas.BitOps, "bitops", self.bitops, self.bitops_at_least),
        )
        counted = [
            kind(
                at_most=None if most is None else as_bound(most, name),
                at_least=None if least is None else as_bound(least, f"{name}-at-least"),
            )
            for kind, name, most, least in stated
            if (most, least) != (None, None)
        ]
        return [*counted, *self.measured(), *own_limits(self.limits)] or None

    @property
    def minimised(self) -> tuple[str, ...]:
        """The name of the cost that is stated without a bound, if one is."""
        stated = (self.latency, self.latency_at_least)
        return (
            (raynas.Latency.name,)
            if self.latency_table is not None and stated == (None, None)
            else ()
        )

    def measured(self) -> list[Bounds]:
        """The limit on latency, or the cost without one, if there is a table.

        Raises:
            InputError: a bound, a size of batch or a device without a table, or a table that
                cannot be used.
        """
        bounds = (self.latency, self.latency_at_least)
        require(
            self.latency_table is not None or bounds == (None, None),
            "latency-table",
            "a table beside --latency and --latency-at-least",
            "none",
            "Measure one with raynas latency.",
        )
        require_table(self.latency_table, self.latency_batch, self.latency_device)
        if self.latency_table is None:
            return []
        most, least = (None if bound is None else as_bound(bound, "latency") for bound in bounds)
        with renamed(**OF_LATENCY):
            limit = raynas.Latency(
                at_most=most,
                at_least=least,
                table=self.latency_table,
                batch=self.latency_batch,
                device=self.latency_device,
            )
        return [limit]


@final
@dataclass(frozen=True)
class TableOptions:
    """Measured seconds that are shown beside scores.

    Args:
        latency_table: the file that raynas latency wrote on the device that will run the network.
        latency_batch: the size of batch that the seconds are of.
        latency_device: that device's name, as the table has it; this machine's if omitted.
    """

    latency_table: Path | None = None
    latency_batch: int = 1
    latency_device: str | None = None

    def latency(self) -> raynas.Latency | None:
        """The seconds as a limit that every architecture keeps, if there is a table.

        Raises:
            InputError: a table that cannot be used, or what needs one without it.
        """
        require_table(self.latency_table, self.latency_batch, self.latency_device)
        if self.latency_table is None:
            return None
        with renamed(**OF_LATENCY):
            return raynas.Latency(
                at_most="100%",
                table=self.latency_table,
                batch=self.latency_batch,
                device=self.latency_device,
            )


def require_table(table: Path | None, batch: int, device: str | None) -> None:
    """Raise `InputError` if what is said of a table would be passed over without one."""
    for option, given in (("latency-batch", batch != 1), ("latency-device", device is not None)):
        require(
            table is not None or not given,
            option,
            "a --latency-table beside it",
            "none",
            f"Give the table, or leave --{option} out.",
        )


def own_limits(source: str | None) -> list[Bounds]:
    """The limits that a user's function makes; none without a function.

    Raises:
        InputError: no such function, or one that makes something else.
    """
    if source is None:
        return []
    made = call(source, "limits", "limits", {})
    listed = [made] if isinstance(made, Bounds) else made
    require(
        isinstance(listed, list | tuple) and all(isinstance(each, Bounds) for each in listed),
        "limits",
        f"a limit such as raynas.Cost(costs, at_most=3.0), or a list of them, from {source}",
        repr(made),
        "Return that from the function.",
    )
    return list(listed)
