"""Which batch norms cannot be recalibrated batch by batch, found before a search."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raynas.errors import InputError
from raynas.supernets import ChainSupernet, Normalize
from raynas.supernets.chain import batch_norms
from raynas.supernets.recalibration import require_recalibratable

WIDTH = 4


class Normed(nn.Module):
    """A batch norm that a function runs."""

    def __init__(self, function: Callable[[nn.BatchNorm2d, Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function
        self.norm = nn.BatchNorm2d(WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.norm, x)


def chain(*choices: nn.Module) -> ChainSupernet:
    stem = nn.Sequential(Normalize((0.5,), (0.3,)), nn.Conv2d(1, WIDTH, 3, padding=1))
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(WIDTH, 3))
    torch.manual_seed(0)
    return ChainSupernet(
        stem, [[nn.BatchNorm2d(WIDTH), *choices]], head, image_shape=(1, 6, 6), num_classes=3
    )


def gate(norm: nn.BatchNorm2d, x: Tensor) -> Tensor:
    return norm(x) * torch.sigmoid(norm.running_mean)[:, None, None]


def gate_before(norm: nn.BatchNorm2d, x: Tensor) -> Tensor:
    means = torch.sigmoid(norm.running_mean)[:, None, None]
    return norm(x) + means


def warm_up(norm: nn.BatchNorm2d, x: Tensor) -> Tensor:
    y = norm(x)
    return y if norm.num_batches_tracked < 3 else 2 * y


def counting(norm: nn.BatchNorm2d, x: Tensor) -> Tensor:
    y = norm(x)
    return y if norm.training or norm.num_batches_tracked < 3 else 2 * y


def own_momentum(norm: nn.BatchNorm2d, x: Tensor) -> Tensor:
    return F.batch_norm(x, norm.running_mean, norm.running_var, None, None, norm.training, 0.1)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (gate, "reads running statistics"),
        (gate_before, "reads running statistics"),
        (warm_up, "number of batches"),
        (counting, "num_batches_tracked"),
        (own_momentum, "momentum"),
    ],
)
def test_what_depends_on_earlier_batches_is_refused_by_block_and_choice(
    function: Callable[[nn.BatchNorm2d, Tensor], Tensor], message: str
) -> None:
    with pytest.raises(InputError, match=rf"blocks\[0\]\[1\].*{message}"):
        require_recalibratable(chain(Normed(function)))


def test_two_layers_with_one_buffer_are_refused() -> None:
    shared = nn.Sequential(nn.BatchNorm2d(WIDTH), nn.BatchNorm2d(WIDTH))
    shared[1].running_mean = shared[0].running_mean
    with pytest.raises(InputError, match=r"blocks\[0\]\[1\].*running_mean"):
        require_recalibratable(chain(shared))


def gate_when_fixed(norm: nn.BatchNorm2d, x: Tensor) -> Tensor:
    y = norm(x)
    return y if norm.training else y * torch.sigmoid(norm.running_mean)[:, None, None]


def frozen(norm: nn.BatchNorm2d, x: Tensor) -> Tensor:
    norm.eval()
    return norm(x)


def in_numpy_style(norm: nn.BatchNorm2d, x: Tensor) -> Tensor:
    return F.batch_norm(
        x, norm.running_mean, norm.running_var, None, None, norm.training, norm.momentum * 1.0
    )


@pytest.mark.parametrize(
    "function", [nn.BatchNorm2d.__call__, gate_when_fixed, frozen, in_numpy_style]
)
def test_what_reads_statistics_only_when_they_are_fixed_is_accepted_and_left_as_it_is(
    function: Callable[[nn.BatchNorm2d, Tensor], Tensor],
) -> None:
    supernet = chain(Normed(function))
    before = {name: value.clone() for name, value in supernet.state_dict().items()}
    require_recalibratable(supernet)
    after = supernet.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert all(norm.momentum == 0.1 for norm in batch_norms(supernet))
