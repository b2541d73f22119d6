"""What the check of a supernet refuses of a choice, and that it accepts what plain PyTorch runs."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable

import pytest
import torch
from checked_chains import CHANNELS, Calling, chain, conv
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations, prune

from raynas.errors import InputError
from raynas.supernets.chain_nodes import copied


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


def test_copies_share_what_originals_share_and_nothing_else() -> None:
    first, second = conv(), conv()
    shared: dict[str, int] = {}
    first.seen, second.seen, second.own = shared, shared, set()
    supernet = chain([first, second])
    replica = copied(supernet)
    one, other = (replica.node((0, choice)) for choice in (0, 1))
    assert one.seen is other.seen is not shared
    assert (one.seen, other.own) == ({}, set())
    assert other.own is not second.own
    hooked = one.register_forward_hook(lambda module, args, output: output)
    assert not first._forward_hooks
    assert not other._forward_hooks
    hooked.remove()
