"""A supernet that the tests of bad commands share."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_runs import (
    TINY,
    tiny_supernet,
)

from raynas.supernets import save


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny supernet of the digits that nobody trained."""
    path = tmp_path_factory.mktemp("weights") / "supernet.safetensors"
    save(tiny_supernet(), path)
    return path


@pytest.fixture(scope="module")
def own(weights: Path) -> tuple[object, ...]:
    """The options that name it."""
    return (*TINY, "--weights", weights)
