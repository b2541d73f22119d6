"""The files of the search that the authors of SPOS released.

The format is that of megvii-model/SinglePathOneShot: `arch.pkl`, the choices 0 to 3 of every
block, which `src/Evaluation` trains from scratch, and `checkpoint.pth.tar` of `src/Search`, whose
`vis_dict` has the errors of all candidates; the one with the smallest is taken, as
`src/Evaluation/eval.py` does. Neither can run code here.
"""

from __future__ import annotations

import io
import pickle
import warnings
from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import Any, final

from raynas.errors import is_number, is_whole
from raynas.foreign.found import Found, NotUnderstoodError, shown

CANDIDATES, ERROR = "vis_dict", "err"


def is_binary(content: bytes) -> bool:
    """Whether a file is a pickle, or one that torch wrote."""
    return content[:1] == b"\x80" or content[:2] == b"PK"


def read(path: Path, content: bytes) -> Found:
    """The architecture of a pickle, or the best one of a search.

    Raises:
        NotUnderstoodError: something else, such as the weights of a supernet.
    """
    value = plain_pickle(content)
    if isinstance(value, tuple | list):
        return Found("SPOS's architecture", choices(value))
    found = torch_file(path)
    candidates = found.get(CANDIDATES) if isinstance(found, Mapping) else None
    if not isinstance(candidates, Mapping):
        raise NotUnderstoodError("a torch file without candidates of a search")
    scored = {
        choices(candidate): told[ERROR]
        for candidate, told in candidates.items()
        # An error that is no number of percent says nothing about a candidate.
        if isinstance(told, Mapping) and is_number(told.get(ERROR)) and isfinite(told[ERROR])
    }
    if not scored:
        raise NotUnderstoodError("candidates without errors")
    best = min(scored, key=lambda each: (scored[each], each))
    return Found("SPOS's search", best)


def choices(value: Any) -> tuple[int, ...]:
    """The indices that a tuple or a list holds."""
    if not isinstance(value, tuple | list) or not all(map(is_whole, value)) or not value:
        raise NotUnderstoodError(f"{shown(value)}, which are no choices of blocks")
    return tuple(int(each) for each in value)


@final
class PlainUnpickler(pickle.Unpickler):
    """Reads pickles of numbers, texts, tuples, lists and dicts, and nothing that runs code."""

    def find_class(self, module: str, name: str) -> Any:
        """Refuse every class and function.

        Raises:
            UnpicklingError: always.
        """
        raise pickle.UnpicklingError(f"{module}.{name} is refused")


def plain_pickle(content: bytes) -> Any:
    """The value of a pickle; `None` if it is none, or of more than plain values."""
    try:
        return PlainUnpickler(io.BytesIO(content)).load()
    # Damaged pickles raise nearly anything.
    except Exception:
        return None


def torch_file(path: Path) -> Any:
    """The content of a torch file, read so that it cannot run code.

    Raises:
        NotUnderstoodError: no such file.
    """
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    # Damaged archives and pickles raise nearly anything.
    except Exception as error:
        raise NotUnderstoodError("neither a pickle of choices nor a file of torch") from error
