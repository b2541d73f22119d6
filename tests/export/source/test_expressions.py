"""Values and calls as the text of `network.py`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from raynas.export.source.expressions import Call, lines_of, written


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "True"), (np.int64(3), "3"), (0.1, "0.1"), (float("-inf"), 'float("-inf")'),
        ((1,), "(1,)"), ([1, (2, "a")], "[1, (2, 'a')]"), ({"a": None}, "{'a': None}"),
        (torch.float16, "torch.float16"), (torch.relu, "torch.relu"),
        (torch.tensor([[0.1, -2.0]]), "torch.tensor([[0.1, -2.0]])"),
        (torch.tensor(True), "torch.tensor(True)"),
        (torch.tensor([1, 2], dtype=torch.uint8), "torch.tensor([1, 2], dtype=torch.uint8)"),
        (torch.zeros(0), "torch.tensor([], dtype=torch.float32)"),
        (torch.zeros(0, 3), "torch.zeros(0, 3, dtype=torch.float32)"),
    ],
)  # fmt: skip
def test_values_as_source(value: Any, text: str) -> None:
    assert written(value) == text
    again = eval(text, {"torch": torch})
    if isinstance(value, Tensor):
        assert again.dtype == value.dtype
        assert torch.equal(again, value)
    else:
        assert again == value


def test_long_calls_have_a_line_for_each_argument() -> None:
    short = Call("f", (("", "1"), ("b", "2")))
    assert lines_of(short, "return ", ",", 4) == ["    return f(1, b=2),"]
    long = Call("f", (("", "1" * 60), ("b", Call("g", (("", "2" * 40),)))))
    assert lines_of(long, "", "", 0) == ["f(", f"    {'1' * 60},", f"    b=g({'2' * 40}),", ")"]
