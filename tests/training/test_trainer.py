"""One training: it learns, it repeats itself, and it touches nothing that it did not sample."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from small_training import SETTINGS, Images, digits, same, small_supernet, state, with_settings
from torch import Tensor, nn
from torch.nn import functional

from raynas.costs import FLOPs, flops_table, resolve_limits
from raynas.errors import InputError
from raynas.space import Architecture
from raynas.supernets import ChainSupernet, Normalize
from raynas.task import Classification
from raynas.training import (
    EpochReport,
    LegalPaths,
    PathSampler,
    StepReport,
    TrainingDivergedError,
    train,
)
from raynas.training.fitting import require_fitting
from raynas.training.trainer import make_optimizer


@dataclass
class Recorded(PathSampler):
    """Given paths, with the supernet's state before each step."""

    supernet: ChainSupernet
    steps: list[tuple[Architecture, ...]]
    before: list[dict[str, Tensor]] = field(default_factory=list)

    def sample(self, rng: np.random.Generator) -> tuple[Architecture, ...]:
        self.before.append(state(self.supernet))
        return self.steps[len(self.before) - 1]


def test_training_lowers_the_loss() -> None:
    supernet = small_supernet()
    reports = train(supernet, digits(1200), with_settings(epochs=6, learning_rate=0.2))
    assert reports[-1].loss < reports[0].loss - 0.3
    assert reports[-1].accuracy > 0.3 > reports[0].accuracy
    assert not any(module.training for module in supernet.modules())


def test_a_single_path_is_learned_well() -> None:
    class OnePath(PathSampler):
        def sample(self, rng: np.random.Generator) -> tuple[Architecture, ...]:
            return ((0, 3, 0),)

    reports = train(small_supernet(), digits(900), with_settings(epochs=4), paths=OnePath())
    assert reports[-1].loss < 0.6 * reports[0].loss
    assert reports[-1].accuracy > 0.7


def test_reports() -> None:
    epochs: list[EpochReport] = []
    steps: list[StepReport] = []
    reports = train(
        small_supernet(), digits(200), SETTINGS, observer=epochs.append, step_observer=steps.append
    )
    assert reports == epochs
    assert [report.epoch for report in reports] == [1, 2, 3]
    assert [(step.epoch, step.step) for step in steps] == [
        (epoch, step) for epoch in (1, 2, 3) for step in (1, 2, 3, 4, 5, 6)
    ]
    assert {(step.epochs, step.steps) for step in steps} == {(3, 6)}
    rates = [SETTINGS.learning_rate_at(step, 6) for step in range(18)]
    assert [step.learning_rate for step in steps] == rates
    assert [report.learning_rate for report in reports] == rates[5::6]
    for report in reports:
        losses = [step.loss for step in steps if step.epoch == report.epoch]
        assert report.loss == pytest.approx(np.mean(losses))
        assert 0 <= report.accuracy <= 1
        assert report.images_per_second == pytest.approx(6 * 32 / report.seconds)


def test_the_global_generators_neither_matter_nor_change() -> None:
    results = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        before = torch.get_rng_state()
        supernet = small_supernet(dropout=0.5)
        train(supernet, digits(), SETTINGS)
        assert torch.equal(torch.get_rng_state(), before)
        results.append(state(supernet))
    assert same(*results)


def test_observers_do_not_change_the_result() -> None:
    supernets = [small_supernet(dropout=0.5), small_supernet(dropout=0.5)]
    train(supernets[0], digits(), SETTINGS)
    train(supernets[1], digits(), SETTINGS, step_observer=lambda report: torch.rand(3).sum())
    assert same(state(supernets[0]), state(supernets[1]))


@pytest.mark.parametrize("change", [{"seed": 4}, {"schedule": "cosine"}, {"clip": 0.01}])
def test_every_setting_matters(change: dict[str, object]) -> None:
    supernets = [small_supernet(), small_supernet()]
    train(supernets[0], digits(), SETTINGS)
    train(supernets[1], digits(), with_settings(**change))
    assert not same(state(supernets[0]), state(supernets[1]))


def test_unsampled_choices_stay_as_they_are() -> None:
    supernet = small_supernet()
    rng = np.random.default_rng(0)
    paths = [(supernet.space.sample(rng),) for _ in range(8)]
    paths[1:3] = [((0, 0, 0), (1, 1, 1))] * 2
    sampler = Recorded(supernet, paths)
    settings = with_settings(epochs=1, batch_size=25, weight_decay=0.1)
    train(supernet, digits(200), settings, paths=sampler)
    after = [*sampler.before[1:], state(supernet)]
    assert len(sampler.before) == 8
    for step, before, now in zip(paths, sampler.before, after, strict=True):
        for block, choices in enumerate(supernet.space.choices):
            for choice in range(choices):
                sampled = any(path[block] == choice for path in step)
                names = [n for n in before if n.startswith(f"blocks.{block}.{choice}.")]
                changed = {not torch.equal(before[n], now[n]) for n in names}
                assert names
                assert changed == {sampled}


def naive_step(supernet: ChainSupernet, images: Images, paths: tuple[Architecture, ...]) -> None:
    """Plain gradient descent on the sum of the paths' losses, at a rate of 0.5."""
    ((pixels, labels),) = images.batches(50, seed=SETTINGS.seed, epoch=0)
    supernet.train()
    losses = [functional.cross_entropy(supernet(pixels, path), labels) for path in paths]
    parameters = list(supernet.parameters())
    gradients = torch.autograd.grad(sum(losses), parameters, allow_unused=True)
    with torch.no_grad():
        for parameter, gradient in zip(parameters, gradients, strict=True):
            if gradient is not None:
                parameter -= 0.5 * gradient


ONE_STEP = with_settings(
    epochs=1,
    batch_size=50,
    learning_rate=0.5,
    momentum=0,
    weight_decay=0,
    label_smoothing=0,
    warmup_epochs=0,
)
"""One step down the gradient of the loss, and nothing else."""


@pytest.mark.parametrize("paths", [((2, 1, 3),), ((0, 1, 2), (1, 1, 0), (3, 1, 1))])
def test_a_step_descends_the_sum_of_the_losses(paths: tuple[Architecture, ...]) -> None:
    supernet = small_supernet(dropout=0.0)
    expected = copy.deepcopy(supernet)
    naive_step(expected, digits(50), paths)
    (report,) = train(supernet, digits(50), ONE_STEP, paths=Recorded(supernet, [paths]))
    torch.testing.assert_close(supernet.state_dict(), expected.state_dict(), rtol=1e-4, atol=1e-6)
    assert report.learning_rate == 0.5


class ReadsMemory(nn.Module):
    """A choice that channels-last changes without an error, and a head that it breaks."""

    def __init__(self, outputs: int | None = None) -> None:
        super().__init__()
        self.linear = nn.Linear(4 * 8 * 8, outputs or 4 * 8 * 8)
        self.outputs = outputs

    def forward(self, x: Tensor) -> Tensor:
        if self.outputs is not None:
            return self.linear(x.view(len(x), -1))
        flat = torch.as_strided(x, (len(x), 256), (256, 1))
        return self.linear(flat).view(x.shape)


def test_modules_that_channels_last_breaks_are_trained_as_plain_torch_trains_them() -> None:
    torch.manual_seed(0)
    stem = nn.Sequential(Normalize((0.3,), (0.35,)), nn.Conv2d(1, 4, 3, padding=1))
    supernet = ChainSupernet(
        stem, [[ReadsMemory(), nn.Identity()]], ReadsMemory(10), image_shape=(1, 8, 8),
        num_classes=10,
    )  # fmt: skip
    expected = copy.deepcopy(supernet)
    naive_step(expected, digits(50), ((0,), (1,)))
    before = supernet.state_dict()["blocks.0.0.linear.weight"].clone()
    train(supernet, digits(50), ONE_STEP, paths=Recorded(supernet, [((0,), (1,))]))
    torch.testing.assert_close(supernet.state_dict(), expected.state_dict(), rtol=1e-4, atol=1e-6)
    assert not torch.equal(supernet.state_dict()["blocks.0.0.linear.weight"], before)


def test_clipping_bounds_the_step() -> None:
    supernet = small_supernet()
    before = state(supernet)
    settings = with_settings(
        epochs=1,
        batch_size=50,
        learning_rate=1.0,
        momentum=0,
        weight_decay=0,
        warmup_epochs=0,
        clip=1e-3,
    )
    train(supernet, digits(50), settings, paths=Recorded(supernet, [((0, 0, 0),)]))
    moved = [tensor - before[name] for name, tensor in supernet.named_parameters()]
    norm = torch.stack([difference.norm() for difference in moved]).norm()
    assert 0 < norm <= 1e-3 * (1 + 1e-3)


def test_weight_decay_spares_biases_and_norms() -> None:
    supernet = small_supernet()
    supernet.head = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(32 * 4), nn.Linear(32 * 4, 10))
    decayed, free = make_optimizer(supernet, with_settings(weight_decay=0.1)).param_groups
    assert decayed["weight_decay"] == 0.1
    assert free["weight_decay"] == 0.0
    assert {parameter.ndim for parameter in decayed["params"]} == {2, 4}
    assert {parameter.ndim for parameter in free["params"]} == {1}
    assert len(decayed["params"]) + len(free["params"]) == len(list(supernet.parameters()))
    assert decayed["nesterov"]


def test_a_few_images_make_one_batch() -> None:
    steps: list[StepReport] = []
    train(small_supernet(), digits(10), SETTINGS, step_observer=steps.append)
    assert [(step.step, step.steps) for step in steps] == [(1, 1)] * 3


@pytest.mark.parametrize("labels", [[0, 10], [-1, 3]])
def test_labels_outside_the_classes(labels: list[int]) -> None:
    images = Images(np.zeros((2, 1, 8, 8), np.uint8), np.array(labels))
    supernet = small_supernet()
    before = state(supernet)
    with pytest.raises(InputError, match=r"labels: expected 0 to 9, one of 10 classes"):
        train(supernet, images, SETTINGS)
    assert same(state(supernet), before)
    assert not supernet.training


def test_images_of_another_shape() -> None:
    images = Images(np.zeros((4, 3, 8, 8), np.uint8), np.zeros(4, np.int64))
    with pytest.raises(InputError, match=r"images: .*\(1, 8, 8\).*\(3, 8, 8\)"):
        train(small_supernet(), images, SETTINGS)


@pytest.mark.parametrize(
    ("pixels", "labels", "message"),
    [
        (np.full((4, 1, 8, 8), 0.5, np.float32), np.zeros(4, np.int64), "rint.255 . images. as"),
        (np.full((4, 8, 8, 1), 9, np.uint8), np.zeros(4, np.int64), r"transpose\(0, 3, 1, 2\)"),
        (np.zeros((4, 1, 8, 8), np.uint8), np.zeros(4, np.float32), "labels: .*float32"),
        (np.zeros((4, 1, 8, 8), np.uint8), np.zeros((4, 10), np.int64), "not one-hot"),
        (np.zeros((4, 1, 8, 8), np.uint8), np.zeros(3, np.int64), "with 3 labels"),
    ],
)
def test_batches_of_another_kind(pixels: np.ndarray, labels: np.ndarray, message: str) -> None:
    batch = (torch.from_numpy(pixels), torch.from_numpy(labels))
    with pytest.raises(InputError, match=message):
        require_fitting(*batch, small_supernet(), Classification(10))


def test_a_loader_is_no_training_images() -> None:
    with pytest.raises(InputError, match=r"with len\(\) and batches\(\), .* got a list"):
        train(small_supernet(), [], SETTINGS)  # type: ignore[arg-type]


def test_no_images() -> None:
    with pytest.raises(InputError, match="at least one image"):
        train(small_supernet(), digits(0), SETTINGS)


def test_no_batches() -> None:
    class Silent(Images):
        def batches(
            self, batch_size: int, *, seed: int, epoch: int
        ) -> Iterator[tuple[Tensor, Tensor]]:
            return iter(())

    silent = Silent(digits(5).pixels, digits(5).labels)
    with pytest.raises(InputError, match="at least one batch"):
        train(small_supernet(), silent, SETTINGS)


@pytest.mark.parametrize("paths", [(), ((0, 0),), ((0, 0, 4),)])
def test_paths_outside_the_space(paths: tuple[Architecture, ...]) -> None:
    supernet = small_supernet()
    with pytest.raises(InputError, match="paths"):
        train(supernet, digits(), SETTINGS, paths=Recorded(supernet, [paths]))


def test_constrained_paths_are_the_only_ones_trained() -> None:
    supernet = small_supernet()
    table = flops_table(supernet)
    cheapest = table.cheapest()
    limits = resolve_limits(FLOPs(at_most=table.of(cheapest)), supernet)
    before = state(supernet)
    train(supernet, digits(), SETTINGS, paths=LegalPaths(supernet.space, limits, 3))
    now = state(supernet)
    for block, choices in enumerate(supernet.space.choices):
        for choice in range(choices):
            start = f"blocks.{block}.{choice}."
            names = [name for name in now if name.startswith(start)]
            trained = not all(torch.equal(now[name], before[name]) for name in names)
            assert trained == (cheapest[block] == choice)


@dataclass(frozen=True)
class Exploding(Images):
    """Finite in the first epoch only: a weight becomes infinite in the second one."""

    weight: Tensor

    def batches(self, batch_size: int, *, seed: int, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        for step, batch in enumerate(super().batches(batch_size, seed=seed, epoch=epoch)):
            if (epoch, step) == (1, 2):
                self.weight.detach().fill_(torch.inf)
            yield batch


def test_a_loss_that_is_not_finite(tmp_path: Path) -> None:
    supernet, kept = small_supernet(), []
    weight = next(supernet.head.parameters())
    images = Exploding(digits().pixels, digits().labels, weight)
    path = tmp_path / "training.pt"
    with pytest.raises(TrainingDivergedError, match=r"epoch 2, step 3 is nan"):
        train(
            supernet,
            images,
            SETTINGS,
            checkpoint=path,
            observer=lambda report: kept.append(path.read_bytes()),
        )
    assert kept == [path.read_bytes()]
    assert not supernet.training


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_training_on_a_gpu_leaves_the_supernet_where_it_was(tmp_path: Path) -> None:
    supernet, path = small_supernet(), tmp_path / "training.pt"
    settings = with_settings(epochs=6, learning_rate=0.2, device="cuda")
    before = torch.cuda.get_rng_state()
    reports = train(supernet, digits(1200), settings, checkpoint=path)
    assert torch.equal(torch.cuda.get_rng_state(), before)
    assert reports[-1].loss < reports[0].loss - 0.3
    assert {tensor.device.type for tensor in supernet.state_dict().values()} == {"cpu"}
    again = small_supernet(1)
    assert train(again, digits(1200), settings, checkpoint=path) == reports
    assert same(state(again), state(supernet))


class Gated(nn.Module):
    """Reads the statistics that its batch norm records."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(1)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x) + torch.sigmoid(self.norm.running_mean)[:, None, None]


def test_what_a_search_could_not_recalibrate_is_said_before_the_first_step(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stem, head = Normalize((0.3,), (0.3,)), nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    said: list[int] = []
    for choice in (Gated(), nn.BatchNorm2d(1)):
        blocks = [[nn.Identity(), choice]]
        supernet = ChainSupernet(stem, blocks, head, image_shape=(1, 8, 8), num_classes=10)
        train(
            supernet,
            digits(64),
            with_settings(epochs=1),
            step_observer=lambda report: said.append(len(caplog.records)),
        )
    assert set(said) == {1}
    (warning,) = [record.getMessage() for record in caplog.records]
    assert "blocks[0][1]: expected batch norms" in warning
    assert "batch_norm='inherit'" in warning
