"""Limits as a command line states them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import raynas
from raynas.costs.bounds import Bounds, as_bound


@final
@dataclass(frozen=True)
class LimitOptions:
    """Limits on legal architectures: numbers, or shares of the largest architecture such as 60%.

    Args:
        flops: the most multiply-adds that an architecture may have.
        flops_at_least: the fewest that it may have.
        params: the most parameters that an architecture may have.
        params_at_least: the fewest that it may have.
    """

    flops: str | None = None
    flops_at_least: str | None = None
    params: str | None = None
    params_at_least: str | None = None

    def limits(self) -> list[Bounds]:
        """The limits that were given.

        Raises:
            InputError: a text that is no number or share.
        """
        stated = (
            (raynas.FLOPs, "flops", self.flops, self.flops_at_least),
            (raynas.Params, "params", self.params, self.params_at_least),
        )
        return [
            kind(
                at_most=None if most is None else as_bound(most, name),
                at_least=None if least is None else as_bound(least, f"{name}-at-least"),
            )
            for kind, name, most, least in stated
            if (most, least) != (None, None)
        ]
