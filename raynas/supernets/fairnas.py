"""The space of FairNAS (Chu, Zhang and Xu, ICCV 2021): inverted bottlenecks, none left out."""

from __future__ import annotations

from typing import Any

from raynas.supernets.chain import ChainSupernet
from raynas.supernets.inverted import SMALL, Choices, build, changed, macro_of

FAIRNAS_STAGES = ((32, 2, 2), (40, 4, 2), (80, 4, 2), (96, 4, 1), (192, 4, 2), (320, 1, 1))
"""`(channels, blocks, stride of the first block)` of each stage at full size."""


def fairnas(num_classes: int | None = 1000, **options: Any) -> ChainSupernet:
    """Build 19 blocks that choose a kernel of 3, 5 or 7 and an expansion of 3 or 6: 6¹⁹ ≈ 6·10¹⁴.

    Args:
        num_classes: the number of logits.
        options: of `raynas.supernets.inverted.Macro`, such as `image_size` and `stages`.

    Raises:
        InputError: no number of classes, or an option out of range.
    """
    macro = macro_of({"stages": FAIRNAS_STAGES, **options})
    return build(num_classes, macro, Choices(), {"builder": "fairnas"})


def fairnas_28x28(num_classes: int | None = 10, **options: Any) -> ChainSupernet:
    """A small variant for 28×28 grey images (Fashion-MNIST): 12 blocks.

    Args:
        num_classes: the number of logits.
        options: of `raynas.supernets.inverted.Macro`, instead of this variant's.
    """
    return fairnas(num_classes, **changed(SMALL, options))
