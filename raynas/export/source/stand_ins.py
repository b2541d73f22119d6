"""Plain forms of this library's own classes, whose code in a supernet knows of shared weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

import torch.nn.functional as F
from torch import Tensor, nn

from raynas.supernets import quantizers
from raynas.supernets.quantizers import quantized_weight


@final
class QuantizedConv2d(nn.Module):
    """A convolution whose weights are floats that training changes, and compute in few bits."""

    conv: nn.Conv2d
    weight_bits: int

    def forward(self, x: Tensor) -> Tensor:
        """`[n, inputs, h, w]` to `[n, outputs, h', w']`."""
        conv: Any = self.conv
        weight = quantized_weight(conv.weight, self.weight_bits)
        return F.conv2d(x, weight, conv.bias, conv.stride, conv.padding, conv.dilation, conv.groups)


STAND_INS: Mapping[type[nn.Module], type[nn.Module]] = {quantizers.QuantizedConv2d: QuantizedConv2d}
"""Classes whose code is taken in place of another's, for the same attributes."""
