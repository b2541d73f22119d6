"""What the check of a supernet refuses, and that it accepts what plain PyTorch runs."""

from __future__ import annotations

import copy
import logging
import random
import threading
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
from supernet_zoo import ZOO, scrambled
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations, prune

from raynas.errors import InputError
from raynas.inputs import Inputs
from raynas.supernets import ChainSupernet, Normalize
from raynas.supernets.checks import require_own_norms
from raynas.supernets.layout import takes_channels_last
from raynas.task import Classification, PerSample

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


class Failing(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        raise KeyError("nothing of this name")


class Buffer(nn.Module):
    """Gives the same memory every time."""

    def __init__(self) -> None:
        super().__init__()
        self.out: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        self.out = torch.empty_like(x) if self.out is None else self.out
        return self.out.copy_(x)


class Counter(nn.Module):
    """Counts in a buffer, also in evaluation mode."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("steps", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.steps += 1
        return x


class Remembering(nn.Module):
    """Adds its last input."""

    def __init__(self) -> None:
        super().__init__()
        self.last: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        before, self.last = self.last, x
        return x if before is None else x + before


class Locked(nn.Identity):
    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()


class Extra(nn.Identity):
    def get_extra_state(self) -> dict[str, int]:
        return {"a": 1}

    def set_extra_state(self, state: object) -> None:
        pass


def rebinding(_: nn.Module, x: Tensor) -> Tensor:
    x.data = x.data.round()
    return x + 1


def patched() -> nn.Module:
    module = conv()
    usual = module.forward
    module.forward = lambda x: usual(x) * 2  # type: ignore[method-assign]
    return module


def hooked() -> nn.Module:
    body = conv()
    module = nn.Sequential(body, nn.Identity())
    module[1].register_forward_hook(lambda _, __, output: output + body[0].weight.sum())
    return module


class Calls(nn.Module):
    """Gives something else from its fortieth run on."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x if self.calls < 40 else 2 * x


class FirstBatch(nn.Module):
    """Adds the mean of the first batch of each size to all later ones."""

    def __init__(self) -> None:
        super().__init__()
        self.means: dict[int, Tensor] = {}

    def forward(self, x: Tensor) -> Tensor:
        return x + self.means.setdefault(len(x), x.mean())


def of(function: Callable[[nn.Module, Tensor], object]) -> Callable[[], nn.Module]:
    return lambda: Calling(function)


CHANGES = "leaves its input unchanged"
RANDOM = "the same output for the same input"
REFUSED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "tuple": (of(lambda m, x: (x, x)), "one tensor, got a tuple of 2"),
    "dict": (of(lambda m, x: {"logits": x}), "one tensor, got a dict with logits"),
    "none": (of(lambda m, x: None), "one tensor, got NoneType"),
    "own exception": (Failing, r"KeyError: 'nothing of this name'"),
    "channels": (lambda: conv(8), "to have 8 channels"),
    "double": (of(lambda m, x: x.double()), "dense float32 output, got float64"),
    "double module": (lambda: conv().double(), "call float"),
    "half module": (lambda: conv().half(), "call float"),
    "bool": (of(lambda m, x: x > 0), "dense float32 output, got bool"),
    "sparse": (of(lambda m, x: x.to_sparse()), "dense float32 output"),
    "scalar": (of(lambda m, x: x.mean()), "an output for each of the 2 samples"),
    "batch averaged": (of(lambda m, x: x.mean(0, keepdim=True)), "for each of the 2 samples"),
    "batch in the channels": (of(lambda m, x: x.flatten(0, 1)), "for each of the 2 samples"),
    "one batch size": (
        of(lambda m, x: x.view(2, 4, 6, 6)),
        r"on 3 samples.*RuntimeError.*x\.shape",
    ),
    "no more than two": (of(lambda m, x: x[:2]), "on 3 samples.*an output of 2"),
    "shape": (of(lambda m, x: x[:, :, ::2]), "one output shape"),
    "in place": (of(lambda m, x: x.relu_() + 1), CHANGES),
    "first layer in place": (lambda: nn.Sequential(nn.SELU(inplace=True), conv()), CHANGES),
    "data": (of(lambda m, x: x + x.data.clamp_(0, 0.1)), CHANGES),
    "data rebound": (of(rebinding), CHANGES),
    "detached": (of(lambda m, x: x + x.detach().zero_()), CHANGES),
    "view": (of(lambda m, x: x[:, :1].zero_() + x), CHANGES),
    "resized": (of(lambda m, x: x.clone() + 0 * x.t_() if x.dim() == 2 else x.mul_(2)), CHANGES),
    "numpy": (of(lambda m, x: x * 1 + float(x.numpy().fill(1) or 0)), CHANGES),
    "in place under batch statistics": (
        of(lambda m, x: m.body(x) + (x.zero_() if m.body[1].training else 0)),  # type: ignore[index]
        CHANGES,
    ),
    "functional dropout": (of(lambda m, x: functional.dropout(x, 0.5)), RANDOM),
    "noise": (of(lambda m, x: x + torch.randn_like(x)), RANDOM),
    "dropout of few": (of(lambda m, x: functional.dropout(x, 1e-3)), RANDOM),
    "one branch in ten": (of(lambda m, x: x * 2 if random.random() < 0.1 else x), RANDOM),
    "memory": (Remembering, RANDOM),
    "memory of the first batch": (FirstBatch, "depends on the inputs before"),
    "number of runs": (Calls, "depends on its attribute calls"),
    "in place with the same values": (of(lambda m, x: x.clamp_(-1e9, 1e9) + 1), CHANGES),
    "its own buffer": (Buffer, "an output that stays as it is"),
    "counter": (Counter, "changes steps"),
    "lazy": (lambda: nn.LazyConv2d(4, 1), "lazy one"),
    "lock": (Locked, "a module that can be copied.*_thread.lock"),
    "extra state": (Extra, "extra state of Extra"),
    "a patched forward that holds the module": (patched, "forward of Sequential, which holds"),
    "a hook that holds a module": (hooked, "_forward_hooks of Identity, which holds"),
    "pruned": (lambda: prune.l1_unstructured(nn.Conv2d(4, 4, 1), "weight", 0.5), "can be copied"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_choice_is_refused_by_its_name(name: str) -> None:
    make, message = REFUSED[name]
    place = r"blocks\[1\]" if name == "shape" else r"blocks\[1\]\[1\]"
    with pytest.raises(InputError, match=rf"(?s){place}: expected.*{message}"):
        chain([nn.Identity(), make()]).check()


@pytest.mark.parametrize("name", ["functional dropout", "noise", "memory"])
def test_training_may_be_random(name: str) -> None:
    chain([nn.Identity(), REFUSED["noise"][0]()]).check(stochastic=True)


def test_a_draw_that_changes_nothing_is_accepted_and_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """As that of layers that are dropped in training only."""
    chain([nn.Identity(), Calling(lambda m, x: x + 0 * torch.rand([]))]).check()
    assert "blocks[1][1] draws random numbers" in caplog.text


class Counted(nn.Module):
    """Counts its runs for a report."""

    def __init__(self) -> None:
        super().__init__()
        self.runs = 0

    def forward(self, x: Tensor) -> Tensor:
        self.runs += 1
        return x + 1


class Attached(nn.Module):
    """A mask that is no buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.mask = torch.ones(1, CHANNELS, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.mask


class Dequantized(nn.Module):
    """A convolution whose weights are integers."""

    def __init__(self) -> None:
        super().__init__()
        codes = torch.randint(-128, 128, (CHANNELS, CHANNELS, 1, 1), dtype=torch.int8)
        self.codes = nn.Parameter(codes, requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return functional.conv2d(x, self.codes.float() / 128)


class HalfWeights(nn.Module):
    """Weights that are stored in half precision."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(CHANNELS, CHANNELS, 1, 1, dtype=torch.float16))

    def forward(self, x: Tensor) -> Tensor:
        return functional.conv2d(x, self.weight.float())


ACCEPTED: dict[str, Callable[[], nn.Module]] = {
    "a counter that nothing reads": Counted,
    "identity": nn.Identity,
    "unregistered tensor": Attached,
    "numpy": of(lambda m, x: torch.from_numpy(x.numpy() * 2)),
    "item": of(lambda m, x: x / x.abs().max().item()),
    "branch": of(lambda m, x: x * 2 if x.mean() > 0 else x),
    "batch statistics": of(lambda m, x: functional.batch_norm(x, None, None, training=True)),
    "a view of the input": of(lambda m, x: x.view(x.shape)),
    "view": of(lambda m, x: x.view(len(x), -1).view(x.shape)),
    "later layers in place": lambda: nn.Sequential(conv(), nn.ReLU(inplace=True)),
    "dropout": lambda: nn.Dropout(0.5),
    "integers": Dequantized,
    "half weights": HalfWeights,
    "not finite": of(lambda m, x: x / 0),
    "spectral norm": lambda: parametrizations.spectral_norm(nn.Conv2d(4, 4, 1)),
    "weight norm": lambda: parametrizations.weight_norm(nn.Conv2d(4, 4, 1)),
    "instance norm": lambda: nn.InstanceNorm2d(4, track_running_stats=True),
    "sync batch norm": lambda: nn.SyncBatchNorm(4),
    "frozen norm": lambda: nn.BatchNorm2d(4, track_running_stats=False),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_what_plain_pytorch_runs_is_accepted(name: str) -> None:
    supernet = chain([nn.Identity(), ACCEPTED[name]()]).train()
    before = {key: tensor.clone() for key, tensor in supernet.state_dict().items()}
    supernet.check()
    assert all(torch.equal(before[key], t) for key, t in supernet.state_dict().items())
    assert all(module.training for module in supernet.modules())


@pytest.mark.filterwarnings("ignore")
def test_torchscript_is_accepted_without_batch_norm() -> None:
    plain = nn.Sequential(nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1), nn.ReLU())
    scripted = torch.jit.script(plain)
    chain([nn.Identity(), scripted]).check()
    traced = torch.jit.trace(conv().eval(), torch.zeros(2, CHANNELS, 6, 6))
    with pytest.raises(InputError, match=r"blocks\[1\]\[1\].*TorchScript"):
        chain([nn.Identity(), traced]).check()


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
