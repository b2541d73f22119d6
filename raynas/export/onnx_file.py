"""A torch program as an ONNX file: a program that other runtimes take. Needs the extra `onnx`."""

from __future__ import annotations

import re
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from raynas.errors import require
from raynas.export.program import Program, first_line, quiet, require_same_outputs
from raynas.inputs import Inputs

ONNX = "model.onnx"

PACKAGES = ("onnx", "onnxscript", "onnxruntime")
"""The packages that write ONNX files, and see that they compute the same."""


def missing_packages() -> list[str]:
    """The packages for ONNX files that are not installed."""
    return [name for name in PACKAGES if find_spec(name) is None]


def require_onnx() -> None:
    """Raise `InputError` unless the packages that ONNX files need are installed."""
    missing = missing_packages()
    require(
        not missing,
        "onnx",
        f"the packages {', '.join(PACKAGES)}",
        f"no {', '.join(missing)}",
        "Install the extra: pip install 'raynas[onnx]'.",
    )


def onnx_bytes(
    program: Program, subnet: nn.Module, inputs: Inputs, refused: dict[str, str]
) -> bytes | None:
    """A program as an ONNX file that was seen to give the outputs of its module in onnxruntime.

    Its input is called `samples`, its output `outputs`, and a batch of any size `batch`.

    Args:
        program: of the subnet.
        subnet: in evaluation mode.
        inputs: the shape and type of one sample.
        refused: receives the reason if there is none.
    """
    try:
        with quiet():
            return checked_onnx(program, subnet, inputs)
    # Converters raise nearly anything for an operation that they do not know.
    except Exception as error:
        refused[ONNX] = first_line(first_cause(error))
        return None


def checked_onnx(program: Program, subnet: nn.Module, inputs: Inputs) -> bytes:
    """A program as an ONNX file.

    Raises:
        Exception: torch or onnxruntime do not take the program, or compute something else.
    """
    import onnxruntime

    names: dict[str, Any] = {"input_names": ["samples"], "output_names": ["outputs"]}
    made = torch.onnx.export(program.exported, (), dynamo=True, verbose=False, **names)
    assert made is not None
    model = made.model_proto
    rename_batch(model)
    content: bytes = model.SerializeToString()
    options = onnxruntime.SessionOptions()
    # Fatal errors alone: what matters of others is raised.
    options.log_severity_level = 4
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def run(samples: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {"samples": samples.numpy()})[0])

    require_same_outputs(run, subnet, inputs, program.batch, "the converter to ONNX")
    return content


def first_cause(error: BaseException) -> BaseException:
    """The error that others were raised from; theirs say where torch was, not what is wrong."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def rename_batch(model: Any) -> None:
    """Call the batch of an ONNX model `batch`, where torch has numbered it."""
    graph = model.graph
    first = graph.input[0].type.tensor_type.shape.dim[0].dim_param
    if first:
        for value in (*graph.input, *graph.output, *graph.value_info):
            for dim in value.type.tensor_type.shape.dim:
                if dim.dim_param:
                    dim.dim_param = re.sub(rf"\b{re.escape(first)}\b", "batch", dim.dim_param)
