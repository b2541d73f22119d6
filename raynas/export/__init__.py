"""Networks to take away: one architecture on its own, and its files.

`architecture`: a plain torch module with calibrated batch norm, from a supernet or a finished
search; `folder`: the directory of its files, replaced together; `program`: its weights, and a
program that runs without its code; `onnx_file`: a program that other runtimes take; `source`: a
readable module that needs torch alone; `conversion`: an export that is there already, as ONNX.
"""

from raynas.export.architecture import (
    Exported,
    PartialExportError,
    export_architecture,
    export_searched,
    export_subnet,
    plain_subnet,
    require_asked,
)

__all__ = [
    "Exported",
    "PartialExportError",
    "export_architecture",
    "export_searched",
    "export_subnet",
    "plain_subnet",
    "require_asked",
]
