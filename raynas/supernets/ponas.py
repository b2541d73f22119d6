"""The space of PONAS (Huang and Chu, 2020): inverted bottlenecks with and without SE."""

from __future__ import annotations

from typing import Any

from raynas.supernets.chain import ChainSupernet
from raynas.supernets.fairnas import FAIRNAS_STAGES
from raynas.supernets.inverted import SMALL, SMALLEST, Choices, build, changed, macro_of


def ponas(num_classes: int | None = 1000, **options: Any) -> ChainSupernet:
    """Build 19 blocks of 12 choices: kernels 3/5/7 × expansions 3/6 × SE or none (section 3.1).

    The rows of the paper's table 1 are read so that they give the 19 layers that its text and its
    figure 3 have:

    - the row of 1,280 channels is the 1×1 convolution ahead of the pooling, and no block; with it
      there would be 20;
    - a row of four whose output is wider than its input, 80 to 96 and 192 to 320, is three blocks
      at the old width and one that widens. The widths are then those of FairNAS, which the paper
      compares itself with: 32², 40⁴, 80⁴, 96⁴, 192⁴, 320.

    Args:
        num_classes: the number of logits.
        options: of `raynas.supernets.inverted.Macro`, such as `image_size` and `stages`.

    Raises:
        InputError: no number of classes, or an option out of range.
    """
    macro = macro_of({"stages": FAIRNAS_STAGES, **options})
    return build(num_classes, macro, Choices(se=True), {"builder": "ponas"})


def ponas_28x28(num_classes: int | None = 10, **options: Any) -> ChainSupernet:
    """A small variant for 28×28 grey images (Fashion-MNIST): 12 blocks.

    Args:
        num_classes: the number of logits.
        options: of `raynas.supernets.inverted.Macro`, instead of this variant's.
    """
    return ponas(num_classes, **changed(SMALL, options))


def ponas_8x8(num_classes: int | None = 10, **options: Any) -> ChainSupernet:
    """A small variant for 8×8 grey images (digits): 8 blocks.

    Args:
        num_classes: the number of logits.
        options: of `raynas.supernets.inverted.Macro`, instead of this variant's.
    """
    return ponas(num_classes, **changed(SMALLEST, options))
