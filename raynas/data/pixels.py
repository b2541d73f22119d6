"""Pillow images as bytes of RGB, and those that cannot become such without a guess."""

from __future__ import annotations

import re

from PIL import Image

from raynas.errors import InputError

DEEP_MODES = re.compile(r"I(;.*)?|F")
"""Pillow's names of images of 16 or 32 bits, integers or floats, in one channel."""

DEEP_CODING = re.compile(r".*;16[BLN]")
"""Pillow's names of codings of 16 bits in each of several channels, of which it keeps 8."""


def require_eight_bits(image: Image.Image, source: str) -> None:
    """Raise `InputError`, naming the source, for an image of more than 8 bits in a channel.

    Pillow clips some of these at 255, and drops the lower half of others. And they cannot be scaled
    without knowing their range: values of 12 bits in a file of 16 look like any others.
    """
    coding = coding_of(image)
    if DEEP_MODES.fullmatch(image.mode) or DEEP_CODING.fullmatch(coding):
        raise InputError(
            source,
            "an image of 8 bits in each channel",
            f"one of 16 or 32 bits (Pillow's mode {coding or image.mode})",
            "Scale its values to 0 to 255 and save it with 8 bits, or give float32 arrays to "
            "raynas.data.from_arrays.",
        )


def coding_of(image: Image.Image) -> str:
    """The coding of an image in its file, in Pillow's words, while it is not yet decoded."""
    tiles = getattr(image, "tile", None)
    if not tiles:
        return ""
    arguments = tiles[0][3]
    first = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return first if isinstance(first, str) else ""


def rgb(image: Image.Image) -> Image.Image:
    """An image as RGB; transparency is dropped, not laid over a colour."""
    if image.mode == "P" and isinstance(image.info.get("transparency"), bytes):
        # Pillow warns of the direct way, which gives the same.
        image = image.convert("RGBA")
    return image.convert("RGB")
