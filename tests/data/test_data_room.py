"""Importing the room: light, without Ray, and names that stay functions."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import sys
import raynas.data.handwritten, raynas.data.fashion, raynas.data.cifar
import raynas.data.imagenet_folder

for name in ("digits", "fashion_mnist", "cifar10", "cifar100", "imagenet"):
    print(name, type(getattr(raynas.data, name)).__name__)
print([name for name in ("ray", "sklearn", "torchvision", "matplotlib") if name in sys.modules])
"""


def test_a_fresh_import_is_light_and_gives_functions():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    *functions, heavy = done.stdout.splitlines()
    assert [line.split()[1] for line in functions] == ["function"] * 5
    assert heavy == "[]"
