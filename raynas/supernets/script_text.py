"""The text of TorchScript, alike in every process, and the constants that it leaves out."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor


def scripted(module: torch.jit.ScriptModule) -> dict[str, Any]:
    """Everything that a TorchScript module computes with beside its tensors and children.

    Its class alone where it has no forward of its own.
    """
    try:
        found = text_and_constants(module)
    except (RuntimeError, AttributeError):
        return {"code": str(getattr(module, "original_name", ""))}
    for name in sorted(set(re.findall(r'GetAttr\[name="([^"]+)"\]', str(module.inlined_graph)))):
        if module._c.hasattr(name):
            value = module._c.getattr(name)
            # Tensors and modules are registered, and others are values of Python.
            if not isinstance(value, Tensor | torch.ScriptObject):
                found[f"script {name}"] = value
    return found


def text_and_constants(script: Any) -> dict[str, Any]:
    """The code of a TorchScript module or function, with all that it calls.

    Raises:
        RuntimeError: a module without code.
    """
    graph = script.inlined_graph
    constants = [
        node for node in graph.findAllNodes("prim::Constant") if node.hasAttribute("value")
    ]
    return {
        "code": without_numbers(str(script.code)),
        "graph": without_numbers(re.sub(r"\s*#.*", "", str(graph))),
        "constants": [node.t("value") for node in constants if node.kindOf("value") == "t"],
    }


def without_numbers(code: str) -> str:
    """TorchScript without the numbers by which one process tells equal classes apart."""
    return re.sub(r"\.?___torch_mangle_\d+", "", code)
