"""Training the supernet one path at a time (SPOS, section 3.2)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from raynas.data.splits import TrainingImages
from raynas.errors import require, require_kind
from raynas.space import Architecture
from raynas.supernets.chain import ChainSupernet
from raynas.supernets.layout import own_layouts, set_layout
from raynas.supernets.recalibration import require_recalibratable, warn_unless
from raynas.task import Task, classification_or
from raynas.training.course import Course, Training
from raynas.training.decay import parameter_groups
from raynas.training.fitting import require_fitting, require_images
from raynas.training.paths import PathSampler, UniformPaths
from raynas.training.processes import Processes
from raynas.training.progress import EpochMeter, EpochReport, StepReport
from raynas.training.settings import TrainingSettings
from raynas.training.weight_average import WeightAverage

KEPT, EPSILON = 0.9, 1e-3**0.5
"""The settings of RMSProp in MnasNet's published code, which GreedyNAS follows.

TensorFlow adds 0.001 inside the root, and torch its epsilon outside: its root gives small gradients
the same steps. TensorFlow's mean square begins with 1 instead of 0, which the warm-up hides.
"""

PATHS, DROPOUT = 1, 2
"""The random streams of an epoch, each with a generator of its own."""


def train(
    supernet: ChainSupernet,
    images: TrainingImages,
    settings: TrainingSettings,
    *,
    task: Task | None = None,
    paths: PathSampler | None = None,
    checkpoint: str | Path | None = None,
    observer: Callable[[EpochReport], None] | None = None,
    step_observer: Callable[[StepReport], None] | None = None,
) -> list[EpochReport]:
    """Train a supernet in place.

    A choice that no path of a step takes is left exactly as it is: weights, momentum and batch-norm
    statistics; but for what it shares with one that is taken. Of a weight that choices slice, all
    decays and moves with its momentum then (`supernets.spos_channels`). On the CPU the result
    depends on the initial weights, the images, the settings and the number of threads only, and
    not on how often the training was interrupted and resumed.

    Batch norm that a search could not recalibrate is named in a log warning before the first step;
    `raynas.check_search` finds all that a search would refuse.

    Called in every process of an initialised `torch.distributed` group (as torchrun starts them),
    with the same arguments, it trains one supernet by DistributedDataParallel, which ends the same
    to the bit in all. Each process makes every batch and keeps an equal part of it, on a GPU of its
    own (`LOCAL_RANK`) if there are GPUs, unless the device is `"cpu"`. Gradients are the means over
    all parts; batch norm sees its part alone, and process 0's statistics are kept. Process 0 draws
    the paths, reads and writes the checkpoint, and calls the observers; the result depends on the
    number of processes, too. An error that another process meets alone ends the group as PyTorch
    ends it: torchrun stops all.

    Args:
        supernet: to be trained. It ends in evaluation mode and on the device where it was, also
            when an error is raised.
        images: samples to train on.
        settings: how to train.
        task: to be learned; classification among the supernet's classes if omitted.
        paths: which paths each step updates; one uniform path if omitted.
        checkpoint: a file that is rewritten after each epoch: tensors, and what else the training
            changes in the attributes of modules as far as these are plain values, of which others
            are named in a log warning. If it exists, the training goes on from there, and a
            finished one is only read back. Supernet (but for the weights and buffers that are
            trained), images, settings, task, paths and the number of processes must be those that
            it was begun with.
        observer: called after each epoch, and its checkpoint, of this call.
        step_observer: called after each step, one step late.

    Returns:
        The reports of all epochs, those before a resume included; fewer than in the settings if the
        paths' sampler has finished before.

    Raises:
        InputError: a supernet that no search could use, no samples, samples of another shape or
            type, targets that are none of the task, batches that the processes cannot share
            equally, paths that need more steps, or a checkpoint that is not from a training on
            these terms.
        TrainingDivergedError: the loss is not finite; the last checkpoint is kept.
    """
    require_kind(supernet, ChainSupernet, "supernet", "Build one of stem, blocks and head.")
    require_kind(settings, TrainingSettings, "settings", "Write it as raynas.TrainingSettings(…).")
    sampler = UniformPaths(supernet.space) if paths is None else paths
    judged = classification_or(task, supernet.num_classes)
    require_images(images)
    processes = Processes.current()
    processes.require_share(settings.batch_size, "batch_size")
    steps = settings.epochs * settings.steps_of_epoch(len(images))
    processes.in_first(partial(sampler.begin, steps))
    # Dropout that ignores evaluation mode is no fault of a training, only of a search.
    supernet.check(judged, stochastic=True)
    home = next(chain(supernet.parameters(), supernet.buffers())).device
    try:
        device = processes.device(settings)
        move(supernet, device)
        optimizer = make_optimizer(supernet, settings)
        decay = settings.average if processes.first else None
        average = None if decay is None else WeightAverage(supernet, decay)
        training = Training(supernet, judged, settings, sampler, optimizer, processes, average)
        course = Course(training, images, checkpoint, observer)
        return train_epochs(training, course, images, device, step_observer)
    finally:
        set_layout(supernet.eval().to(home), torch.contiguous_format)


def train_epochs(
    training: Training,
    course: Course,
    images: TrainingImages,
    device: torch.device,
    step_observer: Callable[[StepReport], None] | None,
) -> list[EpochReport]:
    """Train all epochs that a checkpoint does not have, and return the reports of all.

    Args:
        training: in one process, its model not made yet.
        course: of the training.
        images, step_observer: as those of `train`.
        device: where the supernet is.
    """
    supernet, processes = training.supernet, training.processes
    reports = processes.agree(course.resumed)
    processes.copy_optimizer(training.optimizer)
    processes.copy_attributes(supernet, course.plain)
    epochs = training.settings.epochs
    if supernet.space.count() > 1 and len(reports) < epochs and processes.first:
        warn_unless(partial(require_recalibratable, supernet))
    supernet.train()
    training = replace(training, model=processes.model(supernet, device))
    for epoch in range(len(reports), epochs):
        if processes.agree(lambda: training.sampler.finished):
            break
        reports.append(train_epoch(training, images, epoch, device, step_observer))
        processes.in_first(partial(course.end_epoch, reports))
    if training.average is not None:
        training.average.put()
    if training.settings.average is not None:
        processes.copy_state(supernet)
    return reports


def move(supernet: ChainSupernet, device: torch.device) -> None:
    """Move a supernet to a device, laid out as it runs fastest there."""
    supernet.to(device).eval()
    # Depthwise convolutions run up to twice as fast with channels last.
    if not own_layouts(supernet, device):
        set_layout(supernet, torch.channels_last)


def train_epoch(
    training: Training,
    images: TrainingImages,
    epoch: int,
    device: torch.device,
    observer: Callable[[StepReport], None] | None,
) -> EpochReport:
    """Train for one pass over the images; `epoch` counts from 0."""
    settings, processes = training.settings, training.processes
    rng = np.random.default_rng([settings.seed, epoch, PATHS])
    # Other processes draw other masks; one that is alone keeps those it always had.
    own = [processes.rank] if processes.count > 1 else []
    steps = settings.steps_of_epoch(len(images))
    meter = EpochMeter(epoch, settings.epochs, steps, observer if processes.first else None)
    batches = images.batches(settings.batch_size, seed=settings.seed, epoch=epoch)
    step = -1
    for step, (inputs, targets) in enumerate(batches):
        require_fitting(inputs, targets, training.supernet, training.task)
        learning_rate = settings.learning_rate_at(epoch * steps + step, steps)
        for group in training.optimizer.param_groups:
            group["lr"] = learning_rate
        architectures = processes.agree(partial(training.sampler.sample, rng))
        part = [processes.share(each).to(device) for each in (inputs, targets)]
        with seeded(device, settings.seed, epoch, DROPOUT, step, *own):
            loss, score = update(training, architectures, *part)
        meter.add(loss, score, len(targets), learning_rate)
    require(step >= 0, "images", "at least one batch an epoch", 0, "Yield the only batch as it is.")
    report = meter.report()
    processes.copy_buffers(training.supernet)
    # The seconds are process 0's.
    return processes.agree(lambda: report)


def update(
    training: Training, architectures: tuple[Architecture, ...], inputs: Tensor, targets: Tensor
) -> tuple[Tensor, Tensor]:
    """Make one step: the gradients of all paths are summed, then the weights change once.

    Returns:
        The loss, and the sum over the samples of the task's first objective (the number of images
        that were right), both means over the paths, as scalars on the device; of all processes.
    """
    supernet, settings, task = training.supernet, training.settings, training.task
    require(len(architectures) > 0, "paths", "at least one a step", 0, "Sample some.")
    model = supernet if training.model is None else training.model
    # Choices without a gradient, as opposed to a zero one, get neither decay nor momentum.
    training.optimizer.zero_grad(set_to_none=True)
    losses, scores = [], []
    for architecture in architectures:
        outputs = model(inputs, supernet.space.validate(architecture, "paths"))
        loss = task.training_loss(outputs, targets, smoothing=settings.label_smoothing)
        loss.backward()
        losses.append(loss.detach())
        values, _ = task.judge(outputs.detach()[None], targets)
        scores.append(values[task.objectives[0]].sum())
    if settings.clip is not None:
        torch.nn.utils.clip_grad_norm_(supernet.parameters(), settings.clip)
    training.optimizer.step()
    if training.average is not None:
        training.average.update()
    loss, score = torch.stack(losses).mean(), torch.stack(scores).to(torch.float32).mean()
    return training.processes.total(loss, score)


def make_optimizer(supernet: ChainSupernet, settings: TrainingSettings) -> torch.optim.Optimizer:
    """Nesterov's method or RMSProp, with the weight decay of `parameter_groups`."""
    groups, momentum = parameter_groups(supernet, settings), settings.momentum
    if settings.optimizer == "rmsprop":
        return torch.optim.RMSprop(
            groups, settings.learning_rate, alpha=KEPT, eps=EPSILON, momentum=momentum
        )
    return torch.optim.SGD(groups, settings.learning_rate, momentum=momentum, nesterov=momentum > 0)


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
