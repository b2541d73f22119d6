"""A torch module as the content of files: its weights, and a program that runs without its code."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from typing import final

import safetensors.torch
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from raynas.inputs import Inputs

WEIGHTS, PROGRAM = "weights.safetensors", "model.pt2"


@final
@dataclass(frozen=True)
class Program:
    """A subnet as a program of `torch.export`.

    Args:
        exported: the program.
        content: of its file.
        batch: the one batch size that it takes, `None` for any.
    """

    exported: ExportedProgram
    content: bytes
    batch: int | None


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


def program_of(subnet: nn.Module, inputs: Inputs, refused: dict[str, str]) -> Program | None:
    """A subnet as a program whose file was seen to give its outputs.

    Args:
        subnet: in evaluation mode.
        inputs: the shape and type of one sample.
        refused: receives the reason if there is none, or none for any batch size.
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
        return program
    refused[PROGRAM] = reasons[-1]
    return None


def checked_program(subnet: nn.Module, inputs: Inputs, batch: int | None) -> Program:
    """A subnet as a program for one batch size, or for any.

    Raises:
        Exception: torch does not take the module, or writes another one.
    """
    samples = torch.from_numpy(inputs.examples(2 if batch is None else batch))
    shapes = None if batch is not None else ({0: torch.export.Dim("batch", min=1)},)
    # Without gradients some layers run as one operation that only torch itself knows.
    with torch.enable_grad():
        program = torch.export.export(subnet, (samples,), dynamic_shapes=shapes)
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    written = torch.export.load(file).module()
    require_same_outputs(written, subnet, inputs, batch, "torch")
    return Program(program, file.getvalue(), batch)


def require_same_outputs(
    program: Callable[[Tensor], Tensor],
    subnet: nn.Module,
    inputs: Inputs,
    batch: int | None,
    writer: str,
) -> None:
    """Compare a program with its module on samples that it was not traced with.

    One for any batch size gets another number of them, and one alone: what a module does with a
    batch of one is not traced, and differs where its code asks for the size.

    Args:
        program: gives outputs for samples.
        subnet: the module, in evaluation mode.
        inputs: the shape and type of one sample.
        batch: the one batch size that the program takes; `None` for any.
        writer: of the program, in words.

    Raises:
        ValueError: other outputs.
        Exception: whatever the code of the module raises.
    """
    for count in (3, 1) if batch is None else (batch,):
        samples = torch.from_numpy(inputs.examples(count, seed=1))
        with torch.no_grad():
            try:
                wanted = subnet(samples.clone())
            # A module that does not take a single sample has nothing to differ from.
            except Exception:
                if count == 1 and batch is None:
                    continue
                raise
            require_close(program(samples), wanted, writer)
        if count == (batch or 3) and len(wanted) != count:
            raise ValueError("the module gives another number of outputs than it gets samples")


def require_close(got: Tensor, wanted: Tensor, writer: str) -> None:
    """Raise `ValueError` unless a program gives the outputs of its module, but for rounding."""
    scale = max(1.0, float(wanted.nan_to_num(0.0, 0.0, 0.0).abs().max()))
    close = got.shape == wanted.shape and torch.allclose(
        got, wanted, rtol=1e-3, atol=1e-4 * scale, equal_nan=True
    )
    if not close:
        raise ValueError(f"the program that {writer} writes gives other outputs than the module")


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


def first_line(error: BaseException) -> str:
    """An error's message in one short line."""
    lines = [line.strip(" -") for line in str(error).strip().split("\n")]
    # What follows names the place: this one says only that there is one.
    said = lines[1] if len(lines) > 1 and lines[0].startswith("Constraints violated") else lines[0]
    return f"{type(error).__name__}: {said[:200]}" if said else type(error).__name__
