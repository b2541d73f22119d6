"""Image files of every kind: as torchvision reads them, refused by name, or unreadable."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets.folder import pil_loader

from raynas.data import from_datasets
from raynas.data.decoding import DecodedShards, centre_crop
from raynas.data.folder_training import FolderImages, random_crop
from raynas.data.image_folder import ImageFiles
from raynas.data.pixels import coding_of, require_eight_bits, rgb
from raynas.errors import InputError

RAMP = np.linspace(0, 1, 64).reshape(8, 8)
COLOURS = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)


def deep_png(path: Path, colour_type: int, channels: int) -> None:
    """A PNG of 16 bits in each of several channels, which Pillow does not write."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    rows = np.repeat((RAMP * 4095).astype(">u2")[:, :, None], channels, axis=2)
    lines = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", 8, 8, 16, colour_type, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(lines))
        + chunk(b"IEND", b"")
    )


def saved(values: np.ndarray, path: Path) -> None:
    Image.fromarray(values).save(path)


DEEP: dict[str, Callable[[Path], None]] = {
    "grey16.png": lambda path: saved((RAMP * 65535).astype(np.uint16), path),
    "grey12.png": lambda path: saved((RAMP * 4095).astype(np.uint16), path),
    "grey16.tif": lambda path: saved((RAMP * 65535).astype(np.uint16), path),
    "grey16.pgm": lambda path: saved((RAMP * 65535).astype(np.uint16), path),
    "int32.tif": lambda path: saved((RAMP * 65535).astype(np.int32), path),
    "float.tif": lambda path: saved(RAMP.astype(np.float32), path),
    "rgb16.png": partial(deep_png, colour_type=2, channels=3),
    "rgba16.png": partial(deep_png, colour_type=6, channels=4),
    "la16.png": partial(deep_png, colour_type=4, channels=2),
}


def files_of(path: Path, count: int = 4) -> ImageFiles:
    return ImageFiles((str(path),) * count, np.arange(count) % 2, ("a", "b"))


def shards_of(files: ImageFiles) -> DecodedShards:
    decode = partial(centre_crop, image_size=8, resize=8)
    return DecodedShards(files, split="validation", shard_size=len(files), decode=decode)


@pytest.mark.parametrize("name", DEEP)
def test_more_than_8_bits_are_refused_by_file(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    DEEP[name](path)
    images = FolderImages(files_of(path), image_size=8, threads=1)
    message = "8 bits in each channel, got one of 16 or 32 bits"
    with pytest.raises(InputError, match=message):
        shards_of(files_of(path))[0]
    with pytest.raises(InputError, match=message):
        next(images.batches(2, seed=0, epoch=0))
    with Image.open(path) as image, pytest.raises(InputError, match=message):
        from_datasets([(image, 0)] * 9, name="x")
    with pytest.raises(InputError) as caught:
        random_crop(str(path), 8, np.random.default_rng(0))
    assert caught.value.argument == str(path)


KINDS = {
    "png": ("1", "L", "LA", "P", "RGB", "RGBA"),
    "tif": ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"),
    "jpg": ("1", "L", "RGB", "CMYK", "YCbCr"),
    "webp": ("L", "P", "RGB", "RGBA"),
    "bmp": ("1", "L", "P", "RGB", "RGBA"),
}


@pytest.mark.parametrize(("suffix", "mode"), [(s, mode) for s in KINDS for mode in KINDS[s]])
def test_8_bits_are_read_as_torchvision_reads_them(suffix: str, mode: str, tmp_path: Path) -> None:
    path = tmp_path / f"image.{suffix}"
    Image.fromarray(COLOURS).convert(mode).save(path)
    found = centre_crop(str(path), image_size=8, resize=8)
    assert np.array_equal(found, np.asarray(pil_loader(str(path))).transpose(2, 0, 1))


def test_a_palette_with_transparency_keeps_its_colours(tmp_path: Path) -> None:
    palette = Image.fromarray(COLOURS).quantize(16)
    palette.save(tmp_path / "image.png", transparency=bytes(range(0, 160, 10)))
    found = centre_crop(str(tmp_path / "image.png"), image_size=8, resize=8)
    assert np.array_equal(found, np.asarray(palette.convert("RGB")).transpose(2, 0, 1))


def test_orientation_stays_as_torchvision_leaves_it(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(COLOURS).save(tmp_path / "image.png", exif=exif)
    found = centre_crop(str(tmp_path / "image.png"), image_size=8, resize=8)
    assert np.array_equal(found, COLOURS.transpose(2, 0, 1))


def test_few_bits_in_a_pixel_are_no_depth() -> None:
    image = Image.fromarray(COLOURS)
    image.tile = [("raw", (0, 0, 8, 8), 0, ("BGR;16", 0, 1))]  # type: ignore[attr-defined]
    assert coding_of(image) == "BGR;16"
    require_eight_bits(image, "image")
    assert rgb(image).mode == "RGB"


@pytest.mark.parametrize(
    "error",
    [NotImplementedError("DDS"), RuntimeError("AVIF"), struct.error("cut"), KeyError(1), OSError()],
)
def test_an_error_of_any_decoder_makes_a_file_unreadable(error: Exception, tmp_path: Path) -> None:
    saved(COLOURS, tmp_path / "good.png")

    def decode(path: str) -> np.ndarray:
        if path == "bad":
            raise error
        return centre_crop(path, image_size=8, resize=8)

    good = files_of(tmp_path / "good.png", 100)
    for bad in (1, 2):
        paths = (*("bad",) * bad, *good.paths[bad:])
        files = ImageFiles(paths, good.labels, good.classes)
        shards = DecodedShards(files, split="test", shard_size=100, decode=decode, threads=1)
        if bad == 1:
            assert (shards[0].rows, shards.skipped) == (99, ("bad",))
        else:
            with pytest.raises(InputError, match=f"at most 1% .*{type(error).__name__}"):
                shards[0]


@pytest.mark.parametrize(
    "content", [b"DDS " + struct.pack("<7I44x", 124, 7, 8, 8, 0, 0, 0), b"\0\0\0\x1cftypavif\0\0\0"]
)
def test_files_that_pillow_cannot_decode_are_named(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    path.write_bytes(content + bytes(200))
    with pytest.raises(InputError, match=r"to be unreadable, got 1 so far: .*image\.png"):
        shards_of(files_of(path))[0]
    images = FolderImages(files_of(path), image_size=8, threads=1)
    with pytest.raises(InputError, match="train images"):
        next(images.batches(2, seed=0, epoch=0))


def test_training_and_evaluation_see_the_same_bytes(tmp_path: Path) -> None:
    saved(np.full((8, 8), 200, np.uint8), tmp_path / "grey.png")
    images = FolderImages(files_of(tmp_path / "grey.png"), image_size=8, threads=1)
    batch, _ = next(images.batches(4, seed=0, epoch=0))
    assert torch.equal(batch, torch.full((4, 3, 8, 8), 200, dtype=torch.uint8))
    assert (shards_of(files_of(tmp_path / "grey.png"))[0].features == 200).all()
