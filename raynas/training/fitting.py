"""Seeing that samples are what a training of a supernet and a task can use."""

from __future__ import annotations

import torch
from torch import Tensor

from raynas.data.splits import TrainingImages
from raynas.errors import require
from raynas.shards.inspection import require_inputs
from raynas.shards.samples import as_array
from raynas.supernets.chain import ChainSupernet
from raynas.task import Task


def require_images(images: TrainingImages) -> None:
    """Raise `InputError` unless there are samples to train on."""
    require(
        hasattr(images, "batches") and hasattr(images, "__len__"),
        "images",
        "training samples with len() and batches(), such as data.train",
        f"a {type(images).__name__}",
        "Wrap arrays in raynas.data.ArrayImages, or use raynas.data.from_datasets.",
    )
    require(len(images) > 0, "images", "at least one image", 0, "Give some images to train on.")


def require_fitting(samples: Tensor, targets: Tensor, supernet: ChainSupernet, task: Task) -> None:
    """Raise `InputError`, with the likely remedy, unless a batch fits the supernet and the task.

    Args:
        samples: `[n, …]`.
        targets: `[n, …]`.
        supernet: its inputs are what the samples must be.
        task: targets must fit it.
    """
    for argument, batch in (("images", samples), ("labels", targets)):
        require(
            isinstance(batch, Tensor) and batch.dim() > 0 and batch.dtype != torch.bfloat16,
            argument,
            "batches that are tensors [n, …], of a type that numpy has",
            f"{batch.dtype} {list(batch.shape)}" if isinstance(batch, Tensor) else type(batch),
            "Yield pairs of tensors.",
        )
    require(
        len(samples) == len(targets) > 0,
        "images",
        f"batches of images of shape {supernet.image_shape}, one label each",
        f"{tuple(samples.shape)} with {len(targets)} labels",
        "Pair each sample with its target.",
    )
    require_inputs(as_array(samples, "images"), supernet.inputs, "images")
    task.require_targets(as_array(targets, "labels"), "labels")
