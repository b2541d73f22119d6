"""Small chains around a module of any behaviour."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from torch import Tensor, nn

from raynas.supernets import ChainSupernet, Normalize

CHANNELS = 4


def conv(inputs: int = CHANNELS, outputs: int = CHANNELS) -> nn.Module:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs))


def head(classes: int = 3) -> nn.Sequential:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(CHANNELS, classes))


def chain(
    *blocks: Iterable[nn.Module], stem: nn.Module | None = None, last: nn.Module | None = None
) -> ChainSupernet:
    """A block of two convolutions, and the given ones behind it."""
    first = stem or nn.Sequential(Normalize((0.5,), (0.3,)), nn.Conv2d(1, CHANNELS, 3, padding=1))
    listed = [[conv(), conv()], *map(list, blocks)]
    return ChainSupernet(first, listed, last or head(), image_shape=(1, 6, 6), num_classes=3)


class Calling(nn.Module):
    """Calls a function of itself and its input."""

    def __init__(self, function: Callable[[nn.Module, Tensor], object]) -> None:
        super().__init__()
        self.function = function
        self.body = conv()

    def forward(self, x: Tensor) -> object:
        return self.function(self, x)
