"""Files of tensors, read without running code from them."""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors
import torch
from torch import Tensor

from raynas.errors import InputError

CONTAINERS = (
    "state_dict",
    "model",
    "model_state_dict",
    "state_dict_ema",
    "model_ema",
    "net",
    "network",
    "weights",
    "supernet",
    "ema",
    "module",
)
"""Keys under which programs put a state dict, the first of several taken: plain weights before
averaged ones."""


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors or torch file by name, on the CPU.

    Raises:
        InputError: no readable checkpoint, or one that holds something other than tensors.
    """
    if is_safetensors(path):
        with open_safetensors(path) as reader:
            return {name: reader.get_tensor(name) for name in reader.keys()}  # noqa: SIM118
    content = read_torch(path)
    if isinstance(content, Mapping) and isinstance(content.get("terms"), str):
        # A training of this library; of one that ends with its average, as far as that is.
        own, average = content.get("model"), content.get("average")
        if isinstance(own, Mapping) and isinstance(average, Mapping):
            return require_tensors({**own, **average}, path)
    while isinstance(content, Mapping) and not holds_tensors(content):
        inner = next((key for key in CONTAINERS if isinstance(content.get(key), Mapping)), None)
        if inner is None:
            break
        content = content[inner]
    return require_tensors(content, path)


def holds_tensors(content: Mapping[Any, Any]) -> bool:
    """Whether everything in a mapping is a tensor."""
    return all(isinstance(value, Tensor) for value in content.values())


def require_tensors(content: Any, path: Path) -> dict[str, Tensor]:
    """The content if it maps names to tensors, else `InputError`."""
    if isinstance(content, Mapping) and holds_tensors(content):
        return {str(name): tensor for name, tensor in content.items()}
    shown = type(content).__name__
    if isinstance(content, Mapping):
        others = [str(key) for key, value in content.items() if not isinstance(value, Tensor)]
        shown = f"{', '.join(others[:5])}{', …' if len(others) > 5 else ''}"
    raise InputError(
        "checkpoint",
        f"a mapping from names to tensors, by itself or under {', '.join(CONTAINERS)}",
        f"{path} with {shown}",
        "Save the state_dict() of the supernet.",
    )


def read_torch(path: Path) -> Any:
    """The content of a torch file, on the CPU, read without running code from it.

    Raises:
        InputError: no file, not a torch file, or one that holds more than tensors and plain values.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    # Bytes that are no pickle make the unpickler raise nearly anything.
    except Exception as error:
        blocked = re.search(r"GLOBAL ([\w.]+)", str(error))
        if isinstance(error, pickle.UnpicklingError) and blocked:
            raise InputError(
                "checkpoint",
                "tensors and plain values only",
                f"{path}, which needs {blocked[1]} to be imported",
                "Nothing was imported. If you trust the file, save its state dict alone.",
            ) from error
        if isinstance(error, pickle.UnpicklingError):
            # Torch advises to load it in a way that can run code.
            raise unreadable(path, "not tensors as torch.save writes them") from error
        raise unreadable(path, error) from error


def is_safetensors(path: Path) -> bool:
    """Whether a file begins like safetensors: eight bytes of length, then a JSON object.

    Raises:
        InputError: no such file.
    """
    try:
        with path.open("rb") as file:
            return file.read(9)[8:] == b"{"
    except OSError as error:
        raise unreadable(path, error) from error


@contextmanager
def open_safetensors(path: Path) -> Iterator[Any]:
    """An open safetensors file; its errors become `InputError`."""
    try:
        with safetensors.safe_open(path, framework="pt", device="cpu") as reader:
            yield reader
    except (safetensors.SafetensorError, OSError) as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: Exception | str) -> InputError:
    """The error for a file that is absent, cut short or of another kind."""
    words = error.strerror if isinstance(error, OSError) else None  # Else the path comes twice.
    reason = words or str(error).strip().split("\n")[0] or type(error).__name__
    return InputError(
        "checkpoint",
        "a readable safetensors or torch file",
        f"{path} ({reason})",
        "Check the path, and that the file was written to its end.",
    )
