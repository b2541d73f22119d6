"""A file of a user with a function that changes its argument behind autograd."""

from __future__ import annotations

from torch import Tensor


def clip(x: Tensor) -> Tensor:
    x.data.clamp_(max=6.0)
    return x
