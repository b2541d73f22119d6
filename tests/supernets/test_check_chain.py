"""The check of a chain: its stem, its head, and blocks and samples that depend on others."""

from __future__ import annotations

import copy
import logging
from typing import Any

import pytest
import torch
from checked_chains import CHANNELS, Calling, chain, conv, head
from supernet_zoo import ZOO, scrambled
from torch import Tensor, nn
from torch.nn import functional

from raynas.errors import InputError
from raynas.inputs import Inputs
from raynas.supernets import ChainSupernet, Normalize
from raynas.supernets.checks import require_own_norms
from raynas.supernets.layout import takes_channels_last
from raynas.task import Classification, PerSample


class Memory:
    """Where blocks put things for others."""

    value: Tensor | float = 0.0


class Putting(nn.Module):
    def __init__(self, memory: Memory) -> None:
        super().__init__()
        self.memory, self.body = memory, conv()

    def forward(self, x: Tensor) -> Tensor:
        self.memory.value = x
        out: Tensor = self.body(x)
        return out


class Getting(Putting):
    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.body(x) + self.memory.value
        return out


def test_blocks_that_talk_behind_the_chain_are_found() -> None:
    memory = Memory()
    chain([Putting(memory), conv()], [conv(), conv()]).check()
    for choices in ([Getting(memory), conv()], [conv(), conv(), Getting(memory)]):
        with pytest.raises(
            InputError, match=r"blocks\[3\].*depends on the input alone|same output"
        ):
            chain([Putting(memory), conv()], [conv()], choices).check()


def test_the_head_must_suit_the_task() -> None:
    with pytest.raises(InputError, match=r"head: expected logits of shape \(n, 3\).*\(2, 5\)"):
        chain(last=head(5)).check()
    with pytest.raises(InputError, match=r"head: expected one tensor"):
        chain(last=nn.Sequential(head(), Calling(lambda m, x: (x,)))).check()
    chain(last=head(5)).check(Classification(5))
    chain(last=head(1)).check(PerSample(lambda outputs, targets: (outputs, targets)))


@pytest.mark.parametrize(
    ("stem", "message"),
    [
        (nn.Conv2d(1, CHANNELS, 1), r"stem: .*uint8 \[2, 1, 6, 6\].*supernets.Norm.*inputs="),
        (nn.Sequential(Normalize((0.5,), (0.3,)), nn.Conv2d(3, CHANNELS, 1)), "3 channels"),
    ],
)
def test_the_stem_must_take_samples(stem: nn.Module, message: str) -> None:
    with pytest.raises(InputError, match=message):
        chain(stem=stem).check()


def test_token_sequences() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    last = nn.Sequential(nn.Flatten(), nn.Linear(40, 2))
    supernet = ChainSupernet(
        nn.Embedding(11, 8),
        [[nn.Identity(), layer], [copy.deepcopy(layer)]],
        last,
        inputs=Inputs((5,), "int64", 11),
        num_classes=2,
    )
    supernet.check()
    supernet.stem = nn.Embedding(10, 8)
    with pytest.raises(InputError, match=r"stem: .*int64 \[2, 5\], got IndexError.*vocabulary"):
        supernet.check()


def test_the_callers_mode_makes_no_difference() -> None:
    supernet = scrambled(ZOO["sliced"]())
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        supernet.check()
    assert not any(parameter.is_inference() for parameter in supernet.parameters())


BAD_BLOCKS: dict[str, tuple[list[object], str]] = {
    "inner lists forgotten": ([conv(), conv()], r"blocks\[0\]: expected a list.*blocks=\[\["),
    "a dict": ([nn.ModuleDict({"a": conv()})], r"blocks\[0\].*ModuleDict.*list\(d\.values"),
    "none": ([[conv(), None]], r"blocks\[0\]\[1\].*NoneType.*nn\.Identity"),
    "a function": ([[conv()], [torch.relu]], r"blocks\[1\]\[0\].*forward calls the function"),
    "a class": ([[nn.ReLU]], r"blocks\[0\]\[0\].*the class ReLU.*Call it"),
    "a list": ([[[conv(), nn.ReLU()]]], r"blocks\[0\]\[0\].*list.*nn\.Sequential"),
    "a text": (["ab"], r"blocks\[0\].*a str"),
}


@pytest.mark.parametrize("name", BAD_BLOCKS)
def test_blocks_of_something_else_are_refused_at_once(name: str) -> None:
    blocks, message = BAD_BLOCKS[name]
    with pytest.raises(InputError, match=message):
        ChainSupernet(nn.Identity(), blocks, head(), image_shape=(1, 6, 6), num_classes=3)  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [8, (8,), (1, 1, 6, 6), "abcd"])
def test_an_image_shape_has_three_sizes(shape: Any) -> None:
    with pytest.raises(InputError, match=r"image_shape: expected \(channels, height, width\)"):
        ChainSupernet(conv(), [[conv()]], head(), image_shape=shape, num_classes=3)


def test_stem_head_and_classes_are_refused_at_once() -> None:
    with pytest.raises(InputError, match="stem: expected a torch"):
        ChainSupernet(torch.relu, [[conv()]], head(), image_shape=(1, 6, 6), num_classes=3)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="head: expected a torch"):
        ChainSupernet(conv(), [[conv()]], None, image_shape=(1, 6, 6), num_classes=3)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="num_classes: expected at least 2"):
        ChainSupernet(conv(), [[conv()]], head(), image_shape=(1, 6, 6), num_classes=1)


BETWEEN_SAMPLES: dict[str, tuple[nn.Module, bool]] = {
    "the mean of the batch": (Calling(lambda m, x: x - x.mean(0)), True),
    "the other sample": (Calling(lambda m, x: x + 0.1 * x.roll(1, 0)), True),
    "statistics of the batch": (nn.BatchNorm2d(CHANNELS, track_running_stats=False), True),
    "running statistics": (nn.BatchNorm2d(CHANNELS), False),
    "statistics of the sample": (nn.InstanceNorm2d(CHANNELS), False),
    "dropout": (Calling(lambda m, x: functional.dropout(x, 0.5, training=True)), False),
    "values that are not finite": (Calling(lambda m, x: x / 0.0), False),
}


@pytest.mark.parametrize("name", BETWEEN_SAMPLES)
def test_samples_that_depend_on_each_other_are_said(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    module, mixing = BETWEEN_SAMPLES[name]
    with caplog.at_level(logging.WARNING, logger="raynas"):
        chain([nn.Identity(), module], [conv()]).check(stochastic=True)
    assert [record.args for record in caplog.records] == [("blocks[1][1]",)] * mixing


def test_hooks_on_the_supernet_itself_are_refused_with_the_remedy() -> None:
    """Only those of its modules run when candidates do."""
    supernet = chain([conv(), conv()])
    for register in (supernet.register_forward_hook, supernet.register_forward_pre_hook):
        handle = register(lambda *given: None)  # type: ignore[operator]
        for stochastic in (False, True):
            with pytest.raises(InputError, match=r"supernet: .*hooks.*got a hook.*on its head"):
                supernet.check(stochastic=stochastic)
        handle.remove()
    supernet.check()
    supernet.forward = lambda *given: given  # type: ignore[method-assign,assign,return-value]
    with pytest.raises(InputError, match=r"supernet: .*got a forward that was patched in"):
        supernet.check()


def test_hooks_on_modules_are_accepted() -> None:
    supernet = chain([conv(), conv()])
    for module in (supernet.stem, supernet.node((0, 1)), supernet.head):
        module.register_forward_hook(lambda module, given, output: output * 2)
    supernet.check()


BY_SIZE: dict[str, tuple[nn.Module, bool]] = {
    "a share of the batch": (Calling(lambda m, x: x * (len(x) / 16)), True),
    "a bound": (Calling(lambda m, x: x if x.shape[0] < 3 else x.relu()), True),
    "a view": (Calling(lambda m, x: x.view(x.shape[0], -1).view(x.shape)), False),
    "a mean over the batch of what it added": (
        Calling(lambda m, x: x + torch.ones_like(x).sum(0) / len(x)),
        False,
    ),
}


@pytest.mark.parametrize("name", BY_SIZE)
def test_samples_that_depend_on_their_number_are_said(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    module, depending = BY_SIZE[name]
    with caplog.at_level(logging.WARNING, logger="raynas"):
        chain([nn.Identity(), module], [conv()]).check()
    assert [record.args for record in caplog.records] == [("blocks[1][1]",)] * depending
    assert ("how many samples are in its batch" in caplog.text) == depending


def test_batch_norms_of_two_blocks() -> None:
    norm = nn.BatchNorm2d(CHANNELS)
    require_own_norms(chain([norm, nn.Sequential(conv(), norm)], [conv()]))
    with pytest.raises(InputError, match=r"blocks\[2\]\[0\].*blocks\[1\]\[0\]"):
        require_own_norms(chain([norm], [nn.Sequential(norm)]))


def shuffled(_: nn.Module, x: Tensor) -> Tensor:
    n, c, h, w = x.shape
    return x.view(n, c // 2, 2, h, w).transpose(1, 2).reshape(n, c, h, w)


LAYOUTS: dict[str, tuple[nn.Module, bool]] = {
    "convolution": (conv(), False),
    "reshape": (nn.Flatten(), False),
    "view": (Calling(lambda m, x: x.view(len(x), -1)), True),
    "shuffle by a splitting view": (Calling(shuffled), False),
    "strides": (Calling(lambda m, x: torch.as_strided(x, x.shape, (144, 36, 6, 1))), True),
    "head": (head(), False),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_modules_that_need_contiguous_inputs(name: str) -> None:
    module, expected = LAYOUTS[name]
    x = torch.randn(2, CHANNELS, 6, 6, generator=torch.Generator().manual_seed(0))
    kept = x.clone()
    with torch.no_grad():
        output = module.eval()(x)
        assert takes_channels_last(module, x, output) != expected
        assert takes_channels_last(nn.Identity(), x.flatten(1), x.flatten(1))
    assert torch.equal(x, kept)
