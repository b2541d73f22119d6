"""Multiply-accumulates and parameters against counts by hand, without data and with."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.utils.checkpoint
from torch import Tensor, nn
from torch.nn import functional

from raynas.costs import flops_table, params_table
from raynas.costs.counting import costs_on
from raynas.errors import InputError
from raynas.inputs import Inputs
from raynas.supernets import ChainSupernet, Normalize
from raynas.supernets.chain_nodes import examined_copy

C, H = 8, 4
N = H * H
KERNEL = C * C * 9 * N
ATTENTION = 2 * N * N * C


class Calling(nn.Module):
    """A function of modules and feature maps."""

    def __init__(self, function: Callable[..., Tensor], *modules: nn.Module) -> None:
        super().__init__()
        self.function, self.parts = function, nn.ModuleList(modules)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, *self.parts)


class OnTokens(Calling):
    """A function of modules and tokens `[n, 16, 8]`."""

    def forward(self, x: Tensor) -> Tensor:
        out = self.function(x.flatten(2).transpose(1, 2), *self.parts)
        return out.transpose(1, 2).reshape(x.shape)


def attention(t: Tensor, project: nn.Module) -> Tensor:
    q, k, v = project(t).reshape(len(t), N, 3, 2, C // 2).permute(2, 0, 3, 1, 4)
    heads = functional.scaled_dot_product_attention(q, k, v)
    return heads.transpose(1, 2).reshape(t.shape)


def by_hand(t: Tensor, project: nn.Module) -> Tensor:
    q, k, v = project(t).chunk(3, 2)
    out: Tensor = (q @ k.transpose(1, 2)).softmax(2) @ v
    return out


def unfolded(x: Tensor, layer: nn.Conv2d) -> Tensor:
    columns = functional.unfold(x, 3, padding=1)
    return (layer.weight.reshape(C, -1) @ columns).reshape(x.shape)


def gated(x: Tensor, layer: nn.Linear) -> Tensor:
    return x * (x.flatten(2).transpose(1, 2) @ layer.weight[0]).reshape(len(x), 1, H, H)


def squeezed(x: Tensor, layer: nn.Linear) -> Tensor:
    return x * torch.addmv(layer.bias, layer.weight, x.mean((0, 2, 3))).reshape(1, C, 1, 1)


def conv() -> nn.Conv2d:
    return nn.Conv2d(C, C, 3, padding=1)


def layer(**options: bool) -> nn.Module:
    return nn.TransformerEncoderLayer(C, 2, 12, batch_first=True, **options)


def summed(x: Tensor) -> Tensor:
    t = x.flatten(2)
    square = torch.addbmm(torch.zeros(C, C, device=x.device), t, t.transpose(1, 2))
    return x * square.mean()


BY_HAND: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "convolution": (conv, KERNEL),
    "depthwise": (lambda: nn.Conv2d(C, C, 3, padding=1, groups=C), C * 9 * N),
    "transposed": (lambda: nn.ConvTranspose2d(C, C, 3, padding=1), KERNEL),
    "twice": (lambda: Calling(lambda x, m: m(m(x)), conv()), 2 * KERNEL),
    "batch norm": (lambda: nn.BatchNorm2d(C), 0),
    "linear": (lambda: OnTokens(lambda t, m: m(t), nn.Linear(C, C)), C * C * N),
    "attention": (lambda: OnTokens(attention, nn.Linear(C, 3 * C)), 3 * C * C * N + ATTENTION),
    "by hand": (lambda: OnTokens(by_hand, nn.Linear(C, 3 * C)), 3 * C * C * N + ATTENTION),
    "multihead": (
        lambda: OnTokens(lambda t, m: m(t, t, t)[0], nn.MultiheadAttention(C, 2, batch_first=True)),
        4 * C * C * N + ATTENTION,
    ),
    "encoder layer": (
        lambda: OnTokens(lambda t, m: m(t), layer()),
        4 * C * C * N + ATTENTION + 2 * 12 * C * N,
    ),
    "encoder": (
        lambda: OnTokens(
            lambda t, m: m(t), nn.TransformerEncoder(layer(), 2, enable_nested_tensor=False)
        ),
        2 * (4 * C * C * N + ATTENTION + 2 * 12 * C * N),
    ),
    "einsum": (
        lambda: Calling(lambda x, m: torch.einsum("nchw,dc->ndhw", x, m.weight), nn.Linear(C, C)),
        C * C * N,
    ),
    "GRU": (lambda: OnTokens(lambda t, m: m(t)[0], nn.GRU(C, C, batch_first=True)), 6 * C * C * N),
    "LSTM": (
        lambda: OnTokens(lambda t, m: m(t)[0], nn.LSTM(C, C, batch_first=True)),
        8 * C * C * N,
    ),
    "two ways": (
        lambda: OnTokens(
            lambda t, m: m(t)[0], nn.LSTM(C, C // 2, 2, batch_first=True, bidirectional=True)
        ),
        2 * 2 * 4 * (C + C // 2) * (C // 2) * N,
    ),
    "unfolded": (lambda: Calling(unfolded, conv()), KERNEL),
    "conv1d": (
        lambda: Calling(
            lambda x, m: m(x.flatten(2)).reshape(x.shape), nn.Conv1d(C, C, 3, padding=1)
        ),
        C * C * 3 * N,
    ),
    "bilinear": (lambda: OnTokens(lambda t, m: m(t, t), nn.Bilinear(C, C, C)), C * C * C * N),
    "baddbmm": (
        lambda: OnTokens(
            lambda t, m: torch.baddbmm(m.bias.expand(1, 1, C), t, m.weight.expand(len(t), C, C)),
            nn.Linear(C, C),
        ),
        C * C * N,
    ),
    "addbmm": (lambda: Calling(summed), C * C * N),
    "matrix by vector": (lambda: Calling(gated, nn.Linear(C, C)), C * N),
    "addmv": (lambda: Calling(squeezed, nn.Linear(C, C)), C * C),
    "checkpoint": (
        lambda: Calling(
            lambda x, m: torch.utils.checkpoint.checkpoint(m, x, use_reentrant=False), conv()
        ),
        KERNEL,
    ),
}


def chain(*choices: nn.Module) -> ChainSupernet:
    stem = nn.Sequential(Normalize((0.5,), (0.3,)), nn.Conv2d(1, C, 1))
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(C, 3))
    return ChainSupernet(stem, [list(choices)], head, image_shape=(1, H, H), num_classes=3)


@pytest.mark.parametrize("name", BY_HAND)
@torch.no_grad()
def test_multiply_accumulates_equal_those_by_hand(name: str) -> None:
    make, expected = BY_HAND[name]
    supernet = chain(nn.Identity(), make())
    table = flops_table(supernet)
    assert table.blocks == ((0, expected),)
    assert table.base == C * N + 3 * C
    for device in ("meta", "cpu"):
        costs = costs_on(examined_copy(supernet).to(device), device)
        assert costs["blocks[0][1]"].macs == expected, device
    assert torch.backends.mha.get_fastpath_enabled()


@pytest.mark.filterwarnings("ignore")
def test_torchscript() -> None:
    plain = nn.Sequential(conv(), nn.ReLU())
    scripted = torch.jit.script(plain)
    traced = torch.jit.trace(plain, torch.zeros(1, C, H, H))
    assert flops_table(chain(scripted, traced)).blocks == ((KERNEL, KERNEL),)


UNCOUNTED: dict[str, Callable[[Tensor], Tensor]] = {
    "numpy": lambda x: torch.from_numpy(x.numpy() * 2),
    "item": lambda x: x / x.abs().max().item(),
    "branch": lambda x: x if x.mean() > 0 else -x,
    "unregistered": lambda x: x * torch.ones(1, device="cpu"),
}


@pytest.mark.parametrize("name", UNCOUNTED)
def test_modules_that_need_data_are_counted_on_data(name: str) -> None:
    needy = Calling(lambda x, m: UNCOUNTED[name](m(x)), conv())
    assert flops_table(chain(needy, conv())).blocks == ((KERNEL, KERNEL),)


def test_counting_leaves_everything_as_it_is() -> None:
    supernet = chain(conv(), nn.BatchNorm2d(C)).train()
    before = {name: tensor.clone() for name, tensor in supernet.state_dict().items()}
    with torch.autocast("cpu", torch.bfloat16):
        assert flops_table(supernet).blocks == ((KERNEL, 0),)
    assert all(torch.equal(t, before[name]) for name, t in supernet.state_dict().items())
    assert all(module.training for module in supernet.modules())


class Sliced(nn.Module):
    """The first channels of shared weights; says what it owns of them."""

    def __init__(self, shared: nn.Conv2d, width: int, stated: object = "as it is") -> None:
        super().__init__()
        self.shared, self.width, self.stated = shared, width, stated

    def forward(self, x: Tensor) -> Tensor:
        y = functional.conv2d(x[:, : self.width], self.shared.weight[:, : self.width], padding=1)
        return y

    def raynas_cost(self, x: Tensor) -> object:
        if self.stated != "as it is":
            return self.stated
        return C * self.width * 9 * x.shape[2] * x.shape[3], C * self.width * 9


def test_a_module_states_its_costs() -> None:
    shared = conv()
    supernet = chain(
        Sliced(shared, 2),
        Sliced(shared, C),
        nn.Sequential(conv(), Sliced(shared, 4, (10, 5)), nn.BatchNorm2d(C, affine=False)),
        Sliced(shared, 4, None),
    )
    own = C * C * 9 + C
    assert flops_table(supernet).blocks == ((KERNEL // 4, KERNEL, KERNEL + 10, KERNEL // 2),)
    assert params_table(supernet).blocks == ((C * 18, C * C * 9, own + 5 + 2 * C, own),)


class Outer(nn.Module):
    """States the costs of all that is in it, which runs twice."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.inner(self.inner(x))
        return out

    def raynas_cost(self, x: Tensor) -> tuple[int, int]:
        return 7, 3


def test_stated_costs_replace_those_inside() -> None:
    inner = Sliced(conv(), 4, (10, 5))
    twice = nn.Sequential(inner, inner)
    supernet = chain(Outer(inner), twice, nn.Sequential(Outer(inner), conv()))
    assert flops_table(supernet).blocks == ((7, 20, 7 + KERNEL),)
    assert params_table(supernet).blocks == ((3, 5, 3 + C * C * 9 + C),)


@pytest.mark.parametrize("stated", [3, (1,), (1.5, 2), (-1, 2), "ab"])
def test_costs_that_are_none_are_refused(stated: object) -> None:
    with pytest.raises(InputError, match=r"blocks\[0\]\[1\].*raynas_cost"):
        flops_table(chain(conv(), Sliced(conv(), 2, stated)))


def test_shared_parameters_count_once_in_each_choice() -> None:
    shared = conv()
    supernet = chain(nn.Sequential(shared, nn.ReLU(), shared), shared)
    assert params_table(supernet).blocks == ((C * C * 9 + C, C * C * 9 + C),)


def test_token_sequences() -> None:
    supernet = ChainSupernet(
        nn.Embedding(10, C),
        [[nn.Linear(C, C), nn.Identity()]],
        nn.Sequential(nn.Flatten(), nn.Linear(5 * C, 2)),
        inputs=Inputs((5,), "int64", 10),
        num_classes=2,
    )
    assert flops_table(supernet).blocks == ((5 * C * C, 0),)
    assert params_table(supernet).base == 10 * C + 2 * 5 * C + 2


def test_a_module_that_fails_is_named() -> None:
    with pytest.raises(InputError, match=r"blocks\[0\]\[1\].*one sample"):
        flops_table(chain(conv(), nn.Conv2d(C + 1, C, 1)))
