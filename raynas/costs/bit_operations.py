"""`BitOps`: limits on what the arithmetic of few bits takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, final

from raynas.costs.bounds import Bounds
from raynas.costs.counting import bitops_table
from raynas.costs.tables import CostTable

if TYPE_CHECKING:
    from raynas.supernets.chain import ChainSupernet


@final
@dataclass(frozen=True)
class BitOps(Bounds):
    """Bit operations for one sample: multiply-accumulates × bits of weights × bits of activations.

    What computes in full precision is not counted. SPOS (Table 6) gives them in units of 2^30:
    its 6.32G of a ResNet-18 with 2 bits are `at_most=6.32 * 2**30`.

    Args and errors as those of `Bounds`; numbers must be positive. When it is used: a supernet in
    which no module states bit operations.
    """

    positive: ClassVar[bool] = True

    def priced(self, supernet: ChainSupernet) -> CostTable:
        """The supernet's table of bit operations.

        Raises:
            InputError: as `bitops_table`.
        """
        return bitops_table(supernet)
