"""Raw results as JSON, the machine that they were measured on, and spreads in words."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

import raynas
from raynas.evaluation.device.machine import machine_facts


def write_report(path: Path, report: Mapping[str, Any]) -> None:
    """Write what has been measured so far."""
    path.write_text(json.dumps(report, indent=2) + "\n")


def machine() -> dict[str, Any]:
    """The machine and the versions that the numbers were measured on."""
    return {
        **machine_facts(torch.device("cpu")),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        "ray": version("ray"),
        "raynas": raynas.__version__,
    }


def five_numbers(values: np.ndarray) -> dict[str, float]:
    """Minimum, quartiles, maximum and standard deviation."""
    names = ("minimum", "lower_quartile", "median", "upper_quartile", "maximum")
    quartiles = np.percentile(values, (0, 25, 50, 75, 100))
    found = {name: float(value) for name, value in zip(names, quartiles, strict=True)}
    return {**found, "standard_deviation": float(values.std())}
