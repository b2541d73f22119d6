"""A torch module as the content of files: its weights, and a program that runs without its code."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr

import safetensors.torch
import torch
from torch import Tensor, nn

from raynas.inputs import Inputs

WEIGHTS, PROGRAM = "weights.safetensors", "model.pt2"


def weights_bytes(subnet: nn.Module, refused: dict[str, str]) -> bytes | None:
    """The state dict as a safetensors file; what it cannot hold is added to `refused`."""
    weights = {}
    for name, value in subnet.state_dict().items():
        if isinstance(value, Tensor):
            # A copy of its own for each name: the file knows no memory that is shared.
            weights[name] = value.detach().clone(memory_format=torch.contiguous_format)
        else:
            refused[name] = f"a {type(value).__name__}, and no tensor"
    try:
        return safetensors.torch.save(weights)
    # Types and layouts that the format does not know raise nearly anything.
    except Exception as error:
        refused[WEIGHTS] = first_line(error)
        return None


def program_bytes(
    subnet: nn.Module, inputs: Inputs, refused: dict[str, str]
) -> tuple[bytes | None, int | None]:
    """A subnet as a `torch.export` file that was seen to give its outputs.

    Args:
        subnet: in evaluation mode.
        inputs: the shape and type of one sample.
        refused: receives the reason if there is none, or none for any batch size.

    Returns:
        The file and the one batch size that it takes, `None` for any.
    """
    reasons: list[str] = []
    # A batch of one is what most programs are asked for; some modules cannot take it.
    for batch in (None, 1, 2):
        try:
            with quiet():
                program = checked_program(subnet, inputs, batch)
        # Tracing runs the user's code with tensors that have no values, and may raise anything.
        except Exception as error:
            reasons.append(first_line(error))
            continue
        if reasons:
            refused[f"{PROGRAM} for any batch size"] = reasons[0]
        return program, batch
    refused[PROGRAM] = reasons[-1]
    return None, None


def checked_program(subnet: nn.Module, inputs: Inputs, batch: int | None) -> bytes:
    """A subnet as a `torch.export` file, for one batch size or for any.

    Raises:
        Exception: torch does not take the module, or writes another one.
    """
    size = 2 if batch is None else batch
    samples = torch.from_numpy(inputs.examples(size))
    shapes = None if batch is not None else ({0: torch.export.Dim("batch", min=1)},)
    # Without gradients some layers run as one operation that only torch itself knows.
    with torch.enable_grad():
        program = torch.export.export(subnet, (samples,), dynamic_shapes=shapes)
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    written = torch.export.load(file).module()
    # Of other samples than it was traced with, and of another number if it may be any.
    others = torch.from_numpy(inputs.examples(3 if batch is None else batch, seed=1))
    with torch.no_grad():
        wanted, got = subnet(others), written(others)
    scale = max(1.0, float(wanted.nan_to_num(0.0, 0.0, 0.0).abs().max()))
    same = torch.allclose(got, wanted, rtol=1e-3, atol=1e-4 * scale, equal_nan=True)
    if len(wanted) != len(others) or not same:
        raise ValueError("the program that torch writes gives other outputs than the module")
    return file.getvalue()


@contextmanager
def quiet() -> Iterator[None]:
    """Hold torch's warnings, logs and prints of programs back: what matters of them is raised."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def first_line(error: Exception) -> str:
    """An error's message in one short line."""
    lines = [line.strip(" -") for line in str(error).strip().split("\n")]
    # What follows names the place: this one says only that there is one.
    said = lines[1] if len(lines) > 1 and lines[0].startswith("Constraints violated") else lines[0]
    return f"{type(error).__name__}: {said[:200]}" if said else type(error).__name__
