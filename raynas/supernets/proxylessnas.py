"""The space of ProxylessNAS (Cai, Zhu and Han, ICLR 2019): inverted bottlenecks, some left out."""

from __future__ import annotations

from typing import Any

from raynas.supernets.chain import ChainSupernet
from raynas.supernets.inverted import SMALL, Choices, build, changed, macro_of


def proxylessnas(num_classes: int | None = 1000, **options: Any) -> ChainSupernet:
    """Build 21 blocks that choose a kernel of 3, 5 or 7, an expansion of 3 or 6, or identity.

    The papers count 7²¹ ≈ 5.6·10¹⁷ architectures. Identity needs an input of the output's shape,
    which the first block of each of the six stages does not have: the space has
    6⁶·7¹⁵ = 221,502,229,807,900,608 ≈ 2.2·10¹⁷.

    Args:
        num_classes: the number of logits.
        options: of `raynas.supernets.inverted.Macro`, such as `image_size` and `stages`.

    Raises:
        InputError: no number of classes, or an option out of range.
    """
    return build(
        num_classes, macro_of(options), Choices(identity=True), {"builder": "proxylessnas"}
    )


def proxylessnas_28x28(num_classes: int | None = 10, **options: Any) -> ChainSupernet:
    """A small variant for 28×28 grey images (Fashion-MNIST): 12 blocks.

    Args:
        num_classes: the number of logits.
        options: of `raynas.supernets.inverted.Macro`, instead of this variant's.
    """
    return proxylessnas(num_classes, **changed(SMALL, options))
