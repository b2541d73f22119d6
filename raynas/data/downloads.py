"""Downloading, with errors that say what to do instead."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from raynas.errors import InputError


def download_to(root: str | Path | None, fetch: Callable[[Path], object]) -> Path:
    """Let torchvision download a data set.

    Args:
        root: the folder to download to; made if it does not exist.
        fetch: downloads to the folder that it is given.

    Returns:
        The folder.

    Raises:
        InputError: no folder is given, or the download fails.
    """
    if root is None:
        raise InputError("root", "a folder to download to", None, 'Give one, as root="data".')
    folder = Path(root)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        fetch(folder)
    # RuntimeError is torchvision's word for a file whose checksum is wrong.
    except (OSError, RuntimeError) as error:
        raise InputError(
            "download",
            f"the files to arrive in {folder}",
            error,
            "Check the network and the folder, or put the files there yourself.",
        ) from error
    return folder
