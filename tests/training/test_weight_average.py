"""RMSProp and averaged weights: against plain torch, resumed, and among those left alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from small_training import digits, same, small_supernet, state, with_settings
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from raynas.errors import InputError
from raynas.supernets import ChainSupernet, Normalize, load
from raynas.supernets.tensor_files import read_tensors
from raynas.training import PathSampler, StepReport, train

DECAY = 0.8
AVERAGED = with_settings(optimizer="rmsprop", learning_rate=0.01, average=DECAY)


class OnePath(PathSampler):
    """The same path at every step."""

    def sample(self, rng: np.random.Generator) -> tuple[tuple[int, ...], ...]:
        return ((0, 1, 0),)


class Interrupted(Exception):
    """Stands for whatever ends a training early."""


def test_a_training_ends_where_a_plain_loop_does() -> None:
    """With torch's own RMSProp and average, whose counters are means of counts."""
    settings = with_settings(
        epochs=1, optimizer="rmsprop", learning_rate=1e-3, average=DECAY, warmup_epochs=0.0,
        schedule="constant", label_smoothing=0.0, weight_decay=0.0,
    )  # fmt: skip
    trained, plain = small_supernet(dropout=0.0), small_supernet(dropout=0.0)
    train(trained, digits(), settings, paths=OnePath())
    optimizer = torch.optim.RMSprop(
        plain.parameters(), 1e-3, alpha=0.9, eps=1e-3**0.5, momentum=0.9
    )
    average = AveragedModel(plain, multi_avg_fn=get_ema_multi_avg_fn(DECAY), use_buffers=True)
    plain.train()
    for epoch in range(settings.epochs):
        for inputs, targets in digits().batches(
            settings.batch_size, seed=settings.seed, epoch=epoch
        ):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(plain(inputs, (0, 1, 0)), targets).backward()
            optimizer.step()
            average.update_parameters(plain)
    expected, last = state(average.module), state(plain)
    for name, tensor in state(trained).items():
        if tensor.is_floating_point():
            assert torch.allclose(tensor, expected[name], rtol=1e-4, atol=1e-5), name
        else:
            assert torch.equal(tensor, last[name])
    assert not same(state(trained), last)


def test_choices_that_no_step_takes_stay_as_they_are() -> None:
    supernet = small_supernet()
    before = state(supernet)
    train(supernet, digits(), AVERAGED, paths=OnePath())
    after = state(supernet)
    for name, tensor in before.items():
        block, choice = name.split(".")[1:3] if name.startswith("blocks") else ("0", "0")
        taken = not name.startswith("blocks") or int(choice) == (0, 1, 0)[int(block)]
        assert taken or torch.equal(tensor, after[name]), name


@pytest.mark.parametrize("step", [None, 3])
def test_a_resumed_training_ends_with_the_same_bits(step: int | None, tmp_path: Path) -> None:
    whole, resumed = small_supernet(), small_supernet(5)
    train(whole, digits(), AVERAGED)

    def interrupt(report: object) -> None:
        if not isinstance(report, StepReport) or (report.epoch, report.step) == (2, step):
            raise Interrupted

    path = tmp_path / "training.pt"
    observer = {"observer" if step is None else "step_observer": interrupt}
    with pytest.raises(Interrupted):
        train(small_supernet(), digits(), AVERAGED, checkpoint=path, **observer)  # type: ignore[arg-type]
    train(resumed, digits(), AVERAGED, checkpoint=path)
    assert same(state(resumed), state(whole))
    again, loaded = small_supernet(6), small_supernet(7)
    train(again, digits(), AVERAGED, checkpoint=path)
    load(loaded, path)
    assert same(state(again), state(whole))
    assert same(state(loaded), state(whole)), "the file of a finished one is its average"


@pytest.mark.parametrize("loss", ["one", "all", "the key"])
def test_a_checkpoint_without_this_average_is_refused(loss: str, tmp_path: Path) -> None:
    path = tmp_path / "training.pt"
    train(small_supernet(), digits(), AVERAGED, checkpoint=path)
    content = torch.load(path, weights_only=True)
    if loss == "one":
        content["average"].popitem()
    elif loss == "all":
        content["average"] = {}
    else:
        del content["average"]
    torch.save(content, path)
    other = small_supernet(3)
    before = state(other)
    with pytest.raises(InputError, match="checkpoint: expected an average of this supernet"):
        train(other, digits(), AVERAGED, checkpoint=path)
    assert same(state(other), before)


class Masked(nn.Module):
    """A block with a mask of infinities, a frozen scale, and a buffer that it gets when it runs."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.scale = nn.Parameter(torch.tensor([1.0, torch.inf]), requires_grad=False)
        self.register_buffer("mask", torch.tensor([0.0, -torch.inf]))
        self.register_buffer("late", None)

    def forward(self, x: Tensor) -> Tensor:
        if self.training and self.late is None:
            self.late = torch.zeros(3)
        return self.conv(x) * self.mask.softmax(0)[0] * self.scale[0]


def test_what_is_no_weight_is_not_averaged() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        supernet = ChainSupernet(
            nn.Sequential(Normalize((0.3,), (0.4,)), nn.Conv2d(1, 4, 3)),
            [[Masked(), Masked()], [Masked(), Masked()]],
            nn.Sequential(nn.Flatten(), nn.Linear(144, 10)),
            image_shape=(1, 8, 8),
            num_classes=10,
        )
    train(supernet, digits(), AVERAGED)
    for block in (0, 1):
        for choice in (0, 1):
            masked = supernet.node((0,) * block + (choice,))
            assert masked.mask.tolist() == [0.0, -torch.inf]  # type: ignore[union-attr,operator]
            assert masked.scale.tolist() == [1.0, torch.inf]  # type: ignore[union-attr,operator]
    assert all(p.isfinite().all() for p in supernet.parameters() if p.requires_grad)


@pytest.mark.parametrize(
    "content",
    [
        {"terms": "a", "average": 0.9, "state_dict": {"weight": torch.ones(2)}},
        {"terms": "a", "average": [1], "model": {"weight": torch.ones(2)}},
        {"terms": torch.ones(1), "average": torch.ones(1)},
    ],
)
def test_files_of_others_with_such_keys_are_read_as_ever(
    content: dict[str, object], tmp_path: Path
) -> None:
    path = tmp_path / "other.pt"
    torch.save(content, path)
    assert set(read_tensors(path)) in ({"weight"}, {"terms", "average"})
