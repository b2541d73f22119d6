"""Settings of choice freezing for the supernets of the papers (PCF-ES, Table 1).

ProxylessNAS is not in that table; it searches the space of GreedyNAS, and has its settings. PONAS,
which is not there either, has the chain of FairNAS, and its settings. ResNets of mixed precision,
another space of the SPOS paper, have those of SPOS. Table 1 gives CF-ES on FairNAS the threshold
0.5, and PCF-ES 0.4.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

from raynas.evolution.choice_freezing import CFES, PCFES


@final
@dataclass(frozen=True)
class ChoiceFreezing:
    """The settings of both strategies that freeze, on one supernet.

    Args:
        cf: the choice percentage threshold of CF-ES.
        pcf: that of PCF-ES.
        monitor: the monitor size of PCF-ES.
    """

    cf: float = CFES.threshold
    pcf: float = PCFES.threshold
    monitor: int = PCFES.monitor

    def cfes(self, **settings: Any) -> CFES:
        """CF-ES with these settings, and others that are given."""
        return CFES(**{"threshold": self.cf, **settings})

    def pcfes(self, **settings: Any) -> PCFES:
        """PCF-ES with these settings, and others that are given."""
        return PCFES(**{"threshold": self.pcf, "monitor": self.monitor, **settings})


SPOS = ChoiceFreezing(cf=0.7, pcf=0.7, monitor=3)
"""20 blocks of 4 choices."""

FAIRNAS = ChoiceFreezing(cf=0.5, pcf=0.4, monitor=2)
"""19 blocks of 6 choices."""

GREEDYNAS = ChoiceFreezing(cf=0.4, pcf=0.4, monitor=3)
"""21 blocks of 6 or 7 choices."""

OF_BUILDER: Mapping[str, ChoiceFreezing] = {
    "spos": SPOS,
    "fairnas": FAIRNAS,
    "greedynas": GREEDYNAS,
    "ponas": FAIRNAS,
    "proxylessnas": GREEDYNAS,
    "resnet_mixed": SPOS,
}
"""By the function in `raynas.supernets` that builds the supernet."""
