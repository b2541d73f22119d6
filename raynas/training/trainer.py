"""Training the supernet one path at a time (SPOS, section 3.2)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from raynas.data.splits import TrainingImages
from raynas.errors import require
from raynas.supernets.chain import ChainSupernet
from raynas.training import resume
from raynas.training.paths import PathSampler, UniformPaths
from raynas.training.progress import EpochReport, Meter, StepReport
from raynas.training.settings import TrainingSettings

PATHS, DROPOUT = 1, 2
"""Which random stream of an epoch a generator is seeded for."""


def train(
    supernet: ChainSupernet,
    images: TrainingImages,
    settings: TrainingSettings,
    *,
    paths: PathSampler | None = None,
    checkpoint: str | Path | None = None,
    observer: Callable[[EpochReport], None] | None = None,
    step_observer: Callable[[StepReport], None] | None = None,
) -> list[EpochReport]:
    """Train a supernet in place.

    A choice that no path of a step takes is left exactly as it is: weights, momentum and batch-norm
    statistics. On the CPU the result depends on the initial weights, the images, the settings and
    the number of threads only, and not on how often the training was interrupted and resumed.

    Args:
        supernet: what to train. It ends in evaluation mode and on the device where it was, also
            when an error is raised.
        images: what to train on.
        settings: how to train.
        paths: which paths each step updates; one uniform path if omitted.
        checkpoint: a file that is rewritten after each epoch. If it exists, the training goes on
            from there, and a finished one is only read back.
        observer: called after each epoch, and its checkpoint, of this call.
        step_observer: called after each step, one step late.

    Returns:
        The reports of all epochs, those before a resume included.

    Raises:
        InputError: no images, images of another shape, labels outside the classes, or a checkpoint
            that is not from a training on these terms.
        TrainingDivergedError: the loss is not finite; the last checkpoint is kept.
    """
    supernet.check(stochastic=True)
    sampler = UniformPaths(supernet.space) if paths is None else paths
    require(len(images) > 0, "images", "at least one image", 0, "Give some images to train on.")
    terms = terms_of(images, settings, sampler)
    home = next(chain(supernet.parameters(), supernet.buffers())).device
    reports: list[EpochReport] = []
    try:
        # Depthwise convolutions run up to twice as fast with channels last.
        supernet.to(settings.torch_device()).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimizer = make_optimizer(supernet, settings)
        if checkpoint is not None and Path(checkpoint).exists():
            reports = resume.read(Path(checkpoint), supernet, optimizer, terms)
        supernet.train()
        for epoch in range(len(reports), settings.epochs):
            report = train_epoch(
                supernet, images, settings, sampler, optimizer, epoch, step_observer
            )
            reports.append(report)
            if checkpoint is not None:
                resume.write(Path(checkpoint), supernet, optimizer, terms, reports)
            if observer is not None:
                observer(report)
    finally:
        supernet.eval().to(home).to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return reports


def train_epoch(
    supernet: ChainSupernet,
    images: TrainingImages,
    settings: TrainingSettings,
    sampler: PathSampler,
    optimizer: torch.optim.Optimizer,
    epoch: int,
    observer: Callable[[StepReport], None] | None,
) -> EpochReport:
    """One pass over the images; `epoch` counts from 0, the other arguments are as in `train`."""
    rng = np.random.default_rng([settings.seed, epoch, PATHS])
    device = settings.torch_device()
    steps = max(1, len(images) // settings.batch_size)
    meter = Meter(epoch, settings.epochs, steps, observer)
    batches = images.batches(settings.batch_size, seed=settings.seed, epoch=epoch)
    step = -1
    for step, (pixels, labels) in enumerate(batches):
        require_fitting(pixels, labels, supernet)
        learning_rate = settings.learning_rate_at(epoch * steps + step, steps)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate
        architectures = sampler.sample(rng)
        with seeded(device, settings.seed, epoch, DROPOUT, step):
            loss, correct = update(
                supernet, optimizer, architectures, pixels.to(device), labels.to(device), settings
            )
        meter.add(loss, correct, len(labels), learning_rate)
    require(step >= 0, "images", "at least one batch an epoch", 0, "Yield the only batch as it is.")
    return meter.report()


def update(
    supernet: ChainSupernet,
    optimizer: torch.optim.Optimizer,
    architectures: tuple[tuple[int, ...], ...],
    pixels: Tensor,
    labels: Tensor,
    settings: TrainingSettings,
) -> tuple[Tensor, Tensor]:
    """One step: the gradients of all paths are summed, then the weights change once.

    Returns:
        The loss and the number of images that were right, both means over the paths, as scalars
        on the device.
    """
    require(len(architectures) > 0, "paths", "at least one a step", 0, "Sample some.")
    # Choices without a gradient, as opposed to a zero one, get neither decay nor momentum.
    optimizer.zero_grad(set_to_none=True)
    losses, corrects = [], []
    for architecture in architectures:
        logits = supernet(pixels, supernet.space.validate(architecture, "paths"))
        loss = functional.cross_entropy(logits, labels, label_smoothing=settings.label_smoothing)
        loss.backward()
        losses.append(loss.detach())
        corrects.append((logits.detach().argmax(1) == labels).sum())
    if settings.clip is not None:
        torch.nn.utils.clip_grad_norm_(supernet.parameters(), settings.clip)
    optimizer.step()
    return torch.stack(losses).mean(), torch.stack(corrects).to(torch.float32).mean()


def make_optimizer(supernet: ChainSupernet, settings: TrainingSettings) -> torch.optim.SGD:
    """Nesterov's method, with weight decay for weights of two or more dimensions only."""
    parameters = list(supernet.parameters())
    decayed = [parameter for parameter in parameters if parameter.ndim > 1]
    free = [parameter for parameter in parameters if parameter.ndim <= 1]
    return torch.optim.SGD(
        [
            {"params": decayed, "weight_decay": settings.weight_decay},
            {"params": free, "weight_decay": 0.0},
        ],
        lr=settings.learning_rate,
        momentum=settings.momentum,
        nesterov=settings.momentum > 0,
    )


def terms_of(
    images: TrainingImages, settings: TrainingSettings, sampler: PathSampler
) -> dict[str, Any]:
    """What a resumed training must have in common with the interrupted one, as JSON values."""
    terms = asdict(settings) | {"images": len(images), "paths": sampler.describe()}
    del terms["device"]
    return terms


def require_fitting(pixels: Tensor, labels: Tensor, supernet: ChainSupernet) -> None:
    """Raise `InputError` unless a batch has the supernet's image shape and classes."""
    require(
        tuple(pixels.shape[1:]) == supernet.image_shape and len(pixels) == len(labels) > 0,
        "images",
        f"batches of images of shape {supernet.image_shape}, one label each",
        f"{tuple(pixels.shape)} with {len(labels)} labels",
        "Build the supernet for the images that it is trained on.",
    )
    lowest, highest = int(labels.min()), int(labels.max())
    require(
        lowest >= 0 and highest < supernet.num_classes,
        "labels",
        f"classes from 0 to {supernet.num_classes - 1}",
        f"{lowest} to {highest}",
        "Build the supernet with num_classes of the data set, and number the classes from 0.",
    )


@contextmanager
def seeded(device: torch.device, *key: int) -> Iterator[None]:
    """Torch's random numbers from a key, on the CPU and the device; then again as they were."""
    seed = int(np.random.SeedSequence(key).generate_state(1)[0])
    gpus = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=gpus):
        torch.default_generator.manual_seed(seed)
        for gpu in gpus:
            with torch.cuda.device(gpu):
                torch.cuda.manual_seed(seed)
        yield
