"""Disjoint parts of a labelled set, every one with nearly the class proportions of the whole."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from raynas.errors import InputError, require

SPLIT_SEED = 0
"""The seed with which the data sets of this room are split, so that no image ever changes side."""


def stratified_split(
    labels: np.ndarray, sizes: Mapping[str, int], seed: int, *, rest: str | None = None
) -> dict[str, np.ndarray]:
    """Draw disjoint, class-stratified parts.

    scikit-learn's splitters refuse parts smaller than the number of classes, and classes of one
    image; this one takes any sizes. Each part is in an order of which every run is itself nearly
    stratified, so the shards that are cut from it are too.

    Args:
        labels: `[n]` class indices.
        sizes: how many images each part gets, by the name that an error gives it.
        seed: of the draw.
        rest: the name of a further part, which gets all images that are left, at least one.

    Returns:
        For each part, distinct indices into `labels`, int64.

    Raises:
        InputError: a size below 1, or more images asked for than there are.
    """
    for name, size in sizes.items():
        require(size >= 1, name, "at least 1 image", size, "Give the split some images.")
    names = " + ".join(sizes)
    available = len(labels) - (rest is not None)
    asked = sum(sizes.values())
    if asked > available:
        kept = f" of {len(labels)}, one being left for {rest}" if rest is not None else ""
        raise InputError(
            names,
            f"at most {max(available, 0)} images{kept}",
            asked,
            "Ask for fewer images, or give the data set more.",
        )
    order = stratified_order(labels, seed)
    ends = np.cumsum([0, *sizes.values()])
    parts = {name: order[ends[i] : ends[i + 1]] for i, name in enumerate(sizes)}
    return parts if rest is None else {**parts, rest: order[ends[-1] :]}


def stratified_order(labels: np.ndarray, seed: int) -> np.ndarray:
    """A shuffle of all images in which every run has nearly the class proportions of the whole.

    The images of each class, shuffled, are laid out evenly over [0, 1); all are read off from left
    to right. Where a class begins is drawn, so that classes with few images do not fall together.

    Args:
        labels: `[n]` class indices.
        seed: of the shuffle.

    Returns:
        A permutation of `0 … n - 1`, int64.
    """
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(len(labels))
    classes, member, counts = np.unique(labels[shuffled], return_inverse=True, return_counts=True)
    ranks = np.empty(len(labels), dtype=np.int64)
    first = np.cumsum(counts) - counts
    ranks[np.argsort(member, kind="stable")] = np.arange(len(labels)) - np.repeat(first, counts)
    starts = (rng.permutation(len(classes)) + 0.5) / max(len(classes), 1)
    positions = (ranks + starts[member]) / counts[member]
    return shuffled[np.argsort(positions, kind="stable")]
