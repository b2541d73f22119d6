"""The space of GreedyNAS (You et al., CVPR 2020): that of ProxylessNAS, and one with SE."""

from __future__ import annotations

from typing import Any

from raynas.supernets.chain import ChainSupernet
from raynas.supernets.inverted import SMALL, Choices, build, changed, macro_of


def greedynas(num_classes: int | None = 1000, *, se: bool = False, **options: Any) -> ChainSupernet:
    """Build 21 blocks of 7 choices, or of 13 with squeeze-and-excitation (section 4).

    The choices are kernels of 3, 5 and 7 with expansions of 3 and 6, with SE also each of them
    with it, and identity. The paper counts 7²¹ and 13²¹ ≈ 2.5·10²³ architectures; identity needs an
    input of the output's shape, which the first block of each of the six stages does not have, so
    that there are 6⁶·7¹⁵ and 12⁶·13¹⁵ ≈ 1.5·10²³.

    Args:
        num_classes: the number of logits.
        se: the larger space.
        options: of `raynas.supernets.inverted.Macro`, such as `image_size` and `stages`.

    Raises:
        InputError: no number of classes, or an option out of range.
    """
    recipe = {"builder": "greedynas", "se": se}
    return build(num_classes, macro_of(options), Choices(se=se, identity=True), recipe)


def greedynas_28x28(num_classes: int | None = 10, **options: Any) -> ChainSupernet:
    """A small variant for 28×28 grey images (Fashion-MNIST): 12 blocks.

    Args:
        num_classes: the number of logits.
        options: `se`, and of `raynas.supernets.inverted.Macro`, instead of this variant's.
    """
    return greedynas(num_classes, **changed(SMALL, options))
