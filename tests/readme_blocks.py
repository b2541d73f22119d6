"""The code blocks of the README and the docs, and running them as a user would."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language: str, text: str = README) -> list[str]:
    """The code blocks of one language, of the README or another text."""
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def run(command: list[str], cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command with this environment's executables."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path}
    if command[0] == "torchrun":
        # Its processes want a GPU each, if there are any, and this machine may have a single one.
        environment["CUDA_VISIBLE_DEVICES"] = ""
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)


def raynas_commands(text: str = README) -> list[str]:
    """Every command of a text that runs `raynas`, continued lines joined."""
    lines = [
        line for block in blocks("bash", text) for line in block.replace("\\\n", " ").splitlines()
    ]
    return [line for line in lines if line.startswith(("raynas ", "torchrun "))]
