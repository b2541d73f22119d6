"""The package behind `experiments/reproduce.py` lies beside the script; tests import it as such."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "experiments"))
