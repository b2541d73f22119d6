"""Blocks that disturb a pair while it runs: exchanged layers, hooks, other code, own gradients."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode

from raynas.evaluation.batch_norm import conv_norm
from raynas.evaluation.batch_norm import statistics as batch_stats
from raynas.evaluation.batch_norm.fixed import NodeNorms, prepare
from raynas.evaluation.batch_norm.joined import join_pairs, joined_pairs
from raynas.supernets.chain import batch_norms

CHANNELS = 4
Run = Callable[[nn.Sequential, Tensor], Tensor]


class Disturbing(nn.Module):
    """A block that runs its sequence in a way of its own."""

    def __init__(self, run: Run, body: type[nn.Sequential] = nn.Sequential) -> None:
        super().__init__()
        self.run = run
        self.body = body(nn.Conv2d(3, CHANNELS, 1), nn.BatchNorm2d(CHANNELS), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        return self.run(self.body, x)


class WithoutLast(nn.Sequential):
    """A sequence that leaves out its activation."""

    def __iter__(self) -> Iterator[nn.Module]:
        return iter(list(self._modules.values())[:-1])


class Doubled(TorchFunctionMode):
    """Doubles what a batch norm gives."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        output = function(*args, **(kwargs or {}))
        return output * 2 if function is F.batch_norm else output


def keep_convolution(body: nn.Sequential, x: Tensor) -> Tensor:
    kept: list[Tensor] = []
    handle = body[0].register_forward_hook(lambda _, __, y: kept.append(y))
    z: Tensor = body(x)
    handle.remove()
    return z + kept[0]


def listen_to_norm(body: nn.Sequential, x: Tensor) -> Tensor:
    handle = body[1].register_forward_hook(lambda _, __, y: 3 * y - 1)
    z: Tensor = body(x)
    handle.remove()
    return z


def patch_norm(body: nn.Sequential, x: Tensor) -> Tensor:
    norm, forward = body[1], body[1].forward
    norm.forward = lambda y: 3 * forward(y) - 1
    try:
        return body(x)
    finally:
        norm.forward = forward


def exchange_layer(body: nn.Sequential, x: Tensor) -> Tensor:
    before, body[2] = body[2], nn.Tanh()
    z: Tensor = body(x)
    body[2] = before
    return z


def leave_layer_out(body: nn.Sequential, x: Tensor) -> Tensor:
    last = body._modules.pop("2")
    z: Tensor = body(x)
    body._modules["2"] = last
    return z


def exchange_statistics(body: nn.Sequential, x: Tensor) -> Tensor:
    others = {"1.running_mean": torch.ones(CHANNELS), "1.running_var": torch.ones(CHANNELS) * 3}
    z: Tensor = torch.func.functional_call(body, others, (x,))
    return z


def exchange_data(body: nn.Sequential, x: Tensor) -> Tensor:
    gain = body[1].weight
    before, gain.data = gain.data, 2 * gain.data + 1
    z: Tensor = body(x)
    gain.data = before
    return z


def change_data(body: nn.Sequential, x: Tensor) -> Tensor:
    body[1].bias.data.add_(1)
    z: Tensor = body(x)
    body[1].bias.data.sub_(1)
    return z


def under_a_mode(body: nn.Sequential, x: Tensor) -> Tensor:
    with Doubled():
        return body(x)


def with_gradients(body: nn.Sequential, x: Tensor) -> Tensor:
    with torch.enable_grad():
        own = x.detach().requires_grad_()
        y = body(own)
        (slope,) = torch.autograd.grad(y.square().sum(), own)
    return (y + slope.mean(1, keepdim=True)).detach()


def plainly(body: nn.Sequential, x: Tensor) -> Tensor:
    z: Tensor = body(x)
    return z


RUNS = (
    keep_convolution, listen_to_norm, patch_norm, exchange_layer, leave_layer_out,
    exchange_statistics, exchange_data, change_data, under_a_mode, with_gradients,
)  # fmt: skip


def outputs(block: nn.Module, x: Tensor, *, join: bool) -> list[Tensor]:
    """Its outputs and statistics while it records them, and its outputs under fixed ones."""
    block = copy.deepcopy(block).eval()
    if join:
        join_pairs(block)
    norms = NodeNorms(block, torch.device("cpu"))
    norms.set_buffers([each.clone() for each in norms.own.split([CHANNELS, CHANNELS])])
    batch_stats.set_calibrating(batch_norms(block), True)
    batch_stats.start_averages(batch_norms(block))
    recording = block(x)
    batch_stats.set_calibrating(batch_norms(block), False)
    vector = batch_stats.read(norms.layers, torch.device("cpu"))
    norms.assign(prepare([norms], vector)[0], fold=False)
    return [recording, vector, block(x)]


def assert_same(block: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conv_norm, "LARGE", 1)
    with torch.no_grad():
        for tensor in block.parameters():
            nn.init.normal_(tensor)
        x = torch.randn(5, 3, 4, 4)
        wanted = outputs(block, x, join=False)
        for got, expected in zip(outputs(block, x, join=True), wanted, strict=True):
            torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.__name__)
def test_what_a_block_does_to_a_pair_is_what_it_gives(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    block = Disturbing(run)
    assert_same(block, monkeypatch)
    copied = copy.deepcopy(block)
    join_pairs(copied)
    assert len(joined_pairs(copied)) == 1


def test_a_sequence_with_an_order_of_its_own_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    assert_same(Disturbing(plainly, WithoutLast), monkeypatch)


@pytest.mark.parametrize(
    ("owner", "name"),
    [(_BatchNorm, "forward"), (nn.Sequential, "forward"), (F, "batch_norm")],
    ids=["layer", "sequence", "function"],
)
@pytest.mark.parametrize("early", [True, False], ids=["before", "after"])
def test_code_of_torch_that_was_replaced_is_run(
    owner: object, name: str, early: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = getattr(owner, name)

    # Its name and module are those of torch's.
    @functools.wraps(original)
    def tripled(*args, **kwargs):
        return 3 * original(*args, **kwargs)

    torch.manual_seed(0)
    block = Disturbing(plainly).eval()
    x = torch.randn(5, 3, 4, 4)
    with torch.no_grad():
        nn.init.normal_(block.body[1].running_mean)
        usual = block(x)
        if early:
            monkeypatch.setattr(owner, name, tripled)
        join_pairs(block)
        norms = NodeNorms(block, torch.device("cpu"))
        norms.assign(prepare([norms], norms.own)[0], fold=False)
        monkeypatch.setattr(owner, name, tripled)
        torch.testing.assert_close(block(x), 3 * usual)
