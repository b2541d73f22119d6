"""A tiny supernet of the digits, and few of them."""

from __future__ import annotations

import pytest
import torch
from command_runs import tiny_supernet

import raynas
from raynas.data.splits import SearchData


@pytest.fixture(scope="module")
def data() -> SearchData:
    return raynas.data.digits(calibration=20, validation=40, test=30)


@pytest.fixture(scope="module")
def supernet() -> raynas.ChainSupernet:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return tiny_supernet()
