"""The code blocks of the README, and running them as a user would."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    """The README's code blocks of one language."""
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def run(command: list[str], cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command with this environment's executables."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path}
    if command[0] == "torchrun":
        # Its processes want a GPU each, if there are any, and this machine may have a single one.
        environment["CUDA_VISIBLE_DEVICES"] = ""
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)


def raynas_commands() -> list[str]:
    """Every command of the README that runs `raynas`, continued lines joined."""
    lines = [line for block in blocks("bash") for line in block.replace("\\\n", " ").splitlines()]
    return [line for line in lines if line.startswith(("raynas ", "torchrun "))]
