"""The versions of what computes a search, for its records."""

from __future__ import annotations

import functools
import platform
from importlib.metadata import PackageNotFoundError, version

from raynas._version import __version__

PACKAGES = ("torch", "ray", "numpy")
"""Packages on whose version scores, or their last bits, may depend."""


def versions() -> dict[str, str]:
    """The versions by name; packages are read from their metadata, and not imported."""
    return {
        "raynas": __version__,
        "python": platform.python_version(),
        **{name: installed(name) for name in PACKAGES},
    }


@functools.cache
def installed(package: str) -> str:
    """The installed version of a package."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
