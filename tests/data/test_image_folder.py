"""Image folders of small real files: decoding, skipping, training crops."""

from __future__ import annotations

import logging
import pickle
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torchvision import transforms

from raynas.data.decoding import DecodedShards, centre_crop
from raynas.data.folder_training import FolderImages, random_box, random_crop
from raynas.data.image_folder import ImageFiles, list_images
from raynas.errors import InputError

DECODE = partial(centre_crop, image_size=8, resize=10)


def write_image(path: Path, seed: int, *, size: tuple[int, int] = (12, 10), mode: str = "RGB"):
    """A file of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    """Two classes of 60 images each."""
    folder = tmp_path_factory.mktemp("images")
    for row in range(120):
        write_image(folder / f"class{row % 2}" / f"{row:03}.png", row)
    return folder


def spoil(files: ImageFiles, rows: list[int], folder: Path) -> ImageFiles:
    """The same files, with damaged copies of some: empty, text, cut in half."""
    paths = list(files.paths)
    for kind, row in enumerate(rows):
        content = Path(paths[row]).read_bytes()
        damaged = folder / Path(paths[row]).name
        damaged.write_bytes((b"", b"not an image", content[: len(content) // 2])[kind % 3])
        paths[row] = str(damaged)
    return ImageFiles(tuple(paths), files.labels, files.classes)


def shards_of(files: ImageFiles, shard_size: int = 50, **options) -> DecodedShards:
    return DecodedShards(
        files, split="validation", shard_size=shard_size, decode=DECODE, threads=2, **options
    )


def test_listing_is_sorted_and_labelled(tree):
    (tree / "class0" / "notes.txt").write_text("passed over")
    files = list_images(tree)
    assert files.classes == ("class0", "class1")
    assert list(files.paths) == sorted(files.paths)
    assert len(files) == 120
    for path, label in zip(files.paths, files.labels, strict=True):
        assert Path(path).parent.name == f"class{label}"
    few = files.select_rows(np.array([119, 0]))
    assert few.paths == (files.paths[119], files.paths[0])
    assert few.labels.tolist() == [1, 0]


@pytest.mark.parametrize("size", [(40, 30), (30, 40), (25, 25), (100, 11), (8, 9)])
@pytest.mark.parametrize(("name", "mode"), [("a.jpeg", "L"), ("a.png", "RGBA"), ("a.jpg", "CMYK")])
def test_centre_crop_is_resize_and_crop(tmp_path, size, name, mode):
    write_image(tmp_path / name, 0, size=size, mode=mode)
    ours = centre_crop(str(tmp_path / name), image_size=14, resize=16)
    steps = [transforms.Resize(16), transforms.CenterCrop(14), transforms.PILToTensor()]
    with Image.open(tmp_path / name) as image:
        expected = transforms.Compose(steps)(image.convert("RGB"))
    assert ours.shape == (3, 14, 14)
    assert ours.dtype == np.uint8
    assert np.array_equal(ours, expected.numpy())


def test_shards_hold_the_files_in_order(tree):
    files = list_images(tree)
    shards = shards_of(files)
    assert [shard.rows for shard in shards] == [40, 40, 40]
    assert np.concatenate([s.samples for s in shards]).tolist() == list(range(120))
    assert np.array_equal(np.concatenate([s.labels for s in shards]), files.labels)
    assert np.array_equal(shards[1].features[3], DECODE(files.paths[43]))
    assert shards[-1].batch.equals(shards[2].batch)
    assert [s.samples[0] for s in shards[1:]] == [40, 80]
    assert shards.skipped == ()
    with pytest.raises(IndexError):
        shards[3]


def test_threads_and_pickling_change_nothing(tree):
    shards = shards_of(list_images(tree))
    alone = DecodedShards(
        list_images(tree), split="validation", shard_size=50, decode=DECODE, threads=1
    )
    copied = pickle.loads(pickle.dumps(shards))
    assert shards[1].batch.equals(alone[1].batch)
    assert shards[1].batch.equals(copied[1].batch)


def test_an_unreadable_image_is_skipped_named_and_counted_once(tree, tmp_path, caplog):
    listed = spoil(list_images(tree), [70], tmp_path)
    files = ImageFiles(listed.paths, np.arange(120), listed.classes)
    shards = shards_of(files)
    with caplog.at_level(logging.WARNING, logger="raynas.data"):
        decoded = list(shards) + list(shards)
    assert [shard.rows for shard in decoded] == [40, 39, 40] * 2
    assert 70 not in decoded[1].samples
    assert decoded[1].samples[-1] == 79
    assert np.array_equal(decoded[1].features[30], DECODE(files.paths[71]))
    assert np.array_equal(decoded[1].labels, decoded[1].samples)
    assert shards.skipped == (files.paths[70],)
    assert len(caplog.records) == 1
    assert files.paths[70] in caplog.text


@pytest.mark.parametrize("kind", [0, 1, 2])
def test_each_kind_of_damage_is_skipped(tree, tmp_path, kind):
    files = list_images(tree)
    damaged = spoil(files, [0, 1, 2], tmp_path)
    paths = (*files.paths[:kind], damaged.paths[kind], *files.paths[kind + 1 :])
    shards = shards_of(ImageFiles(paths, files.labels, files.classes))
    assert shards[0].rows == 39
    assert shards.skipped == (damaged.paths[kind],)


def test_a_missing_file_is_unreadable(tree):
    files = list_images(tree)
    shards = shards_of(ImageFiles(("gone.png", *files.paths[1:]), files.labels, files.classes))
    assert shards[0].rows == 39
    assert shards.skipped == ("gone.png",)


def test_more_than_one_percent_is_an_error(tree, tmp_path):
    files = spoil(list_images(tree), [10, 90], tmp_path)
    shards = shards_of(files)
    assert (shards[0].rows, shards[1].rows) == (39, 40)
    for _ in range(2):
        with pytest.raises(InputError) as caught:
            shards[2]
    assert caught.value.argument == "validation images"
    assert "at most 1% of 120" in str(caught.value)
    assert f"2 so far: {files.paths[10]}, {files.paths[90]}" in str(caught.value)


def test_a_shard_without_a_readable_image_is_a_clear_error(tree, tmp_path):
    files = spoil(list_images(tree), [7], tmp_path)
    shards = shards_of(files, shard_size=1)
    assert shards[6].rows == 1
    with pytest.raises(InputError, match=r"a readable image in every shard, got none in .*png"):
        shards[7]


def test_shards_need_files_and_a_size(tree):
    with pytest.raises(InputError, match="validation"):
        shards_of(ImageFiles((), np.zeros(0, np.int64), ()))
    with pytest.raises(InputError, match="shard_size"):
        shards_of(list_images(tree), shard_size=0)


def epoch_of(images: FolderImages, batch_size: int, seed: int = 0, epoch: int = 0):
    batches = list(images.batches(batch_size, seed=seed, epoch=epoch))
    return torch.cat([b[0] for b in batches]), torch.cat([b[1] for b in batches])


def test_training_batches(tree):
    images = FolderImages(list_images(tree), image_size=9, threads=2)
    batches = list(images.batches(50, seed=0, epoch=0))
    assert [tuple(pixels.shape) for pixels, _ in batches] == [(50, 3, 9, 9)] * 2
    assert {(pixels.dtype, labels.dtype) for pixels, labels in batches} == {
        (torch.uint8, torch.int64)
    }
    assert [len(labels) for _, labels in images.batches(500, seed=0, epoch=0)] == [120]
    with pytest.raises(InputError, match="batch_size"):
        next(images.batches(0, seed=0, epoch=0))


def test_seed_and_epoch_alone_determine_training_batches(tree):
    files = list_images(tree)
    one, labels = epoch_of(FolderImages(files, image_size=9, threads=1), 40)
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    images = FolderImages(files, image_size=9, threads=4)
    again, same = epoch_of(images, 60)
    assert torch.equal(one, again)
    assert torch.equal(labels, same)
    for seed, epoch in ((0, 1), (1, 0)):
        other, order = epoch_of(images, 40, seed, epoch)
        assert not torch.equal(one, other)
        assert not torch.equal(labels, order)


def test_training_batches_are_crops_of_their_files(tree):
    files = list_images(tree)
    ids = ImageFiles(files.paths, np.arange(120), files.classes)
    pixels, rows = epoch_of(FolderImages(ids, image_size=9, threads=2), 40, seed=5, epoch=2)
    assert sorted(rows.tolist()) == list(range(120))
    for row in (0, 57, 119):
        rng = np.random.default_rng([5, 2, row])
        expected = random_crop(files.paths[row], 9, rng)
        assert np.array_equal(pixels[rows == row][0].numpy(), expected)


def test_training_skips_unreadable_images_and_keeps_batches_full(tree, tmp_path):
    files = spoil(list_images(tree), [33], tmp_path)
    images = FolderImages(files, image_size=9, threads=2)
    for epoch in (0, 1):
        sizes = [len(labels) for _, labels in images.batches(17, seed=0, epoch=epoch)]
        assert sizes == [17] * 7
    assert images.skipped == (files.paths[33],)
    spoiled = FolderImages(spoil(files, [3, 4], tmp_path), image_size=9, threads=2)
    with pytest.raises(InputError, match=r"train images: expected at most 1% of 120"):
        list(spoiled.batches(17, seed=0, epoch=0))


def test_an_epoch_that_is_left_early_can_be_begun_again(tree):
    images = FolderImages(list_images(tree), image_size=9, threads=2)
    first = next(images.batches(20, seed=0, epoch=0))[0]
    assert torch.equal(first, next(images.batches(20, seed=0, epoch=0))[0])


@given(st.integers(1, 400), st.integers(1, 400), st.integers(0, 99))
def test_a_random_box_is_inside_the_image(width, height, seed):
    left, top, right, bottom = random_box(width, height, np.random.default_rng(seed))
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height


def test_random_boxes_have_the_areas_and_aspects_asked_for():
    rng = np.random.default_rng(0)
    boxes = np.array([random_box(1000, 1000, rng) for _ in range(3000)])
    w, h = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    areas, aspects = w * h / 1e6, w / h
    assert 0.079 < areas.min() < 0.1
    assert 0.95 < areas.max() <= 1.0
    assert 0.745 < aspects.min() < 0.77
    assert 1.30 < aspects.max() < 1.34
    assert abs(np.log(aspects).mean()) < 0.02


def test_an_image_too_long_for_any_draw_is_cut_in_the_middle():
    assert random_box(1000, 3, np.random.default_rng(0)) == (498, 0, 502, 3)
    assert random_box(3, 1000, np.random.default_rng(0)) == (0, 498, 3, 502)


def test_half_of_the_crops_are_mirrored(tmp_path):
    ramp = np.tile(np.arange(0, 240, 4, dtype=np.uint8), (60, 1))
    Image.fromarray(ramp).save(tmp_path / "ramp.png")
    crops = [
        random_crop(str(tmp_path / "ramp.png"), 8, np.random.default_rng(i)) for i in range(400)
    ]
    rising = np.mean([crop[0, 4, -1] > crop[0, 4, 0] for crop in crops])
    assert 0.43 < rising < 0.57


def test_a_digest_is_of_names_classes_and_bytes(tree, tmp_path):
    def digest(files: ImageFiles, size: int = 9) -> str:
        return FolderImages(files, image_size=size).digest()

    files = list_images(tree)
    moved = tmp_path / "moved"
    shutil.copytree(tree, moved)
    assert digest(files) == digest(list_images(moved))
    assert digest(files) != digest(files, size=10)
    swapped = ImageFiles(files.paths, 1 - files.labels, files.classes)
    assert digest(files) != digest(swapped)
    write_image(Path(list_images(moved).paths[0]), 999)
    assert digest(files) != digest(list_images(moved))


@pytest.mark.parametrize("small", [True, False], ids=["all contents", "a few contents"])
def test_a_digest_sees_every_file(tree, tmp_path, monkeypatch, small):
    if not small:
        monkeypatch.setattr("raynas.data.folder_training.SMALL", 1)
    moved = tmp_path / "moved"
    shutil.copytree(tree, moved)
    files = list_images(moved)
    before = FolderImages(files, image_size=9).digest()
    read = np.unique(np.linspace(0, 119, 64).astype(int))
    row = next(row for row in range(120) if row not in read)
    content = Path(files.paths[row]).read_bytes()
    Path(files.paths[row]).write_bytes(content + b"0")
    assert FolderImages(files, image_size=9).digest() != before
    Path(files.paths[row]).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert (FolderImages(files, image_size=9).digest() != before) == small
    Path(files.paths[row]).unlink()
    assert FolderImages(files, image_size=9).digest() != before
    Path(files.paths[row]).write_bytes(content)
    assert FolderImages(files, image_size=9).digest() == before
