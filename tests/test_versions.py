"""Versions for records: of what is installed, and of nothing else."""

from __future__ import annotations

import subprocess
import sys

import raynas
from raynas.versions import installed, versions


def test_versions_are_those_that_the_packages_say() -> None:
    import numpy

    found = versions()
    assert list(found) == ["raynas", "python", "torch", "ray", "numpy"]
    assert found["raynas"] == raynas.__version__
    assert found["python"] == sys.version.split()[0]
    assert found["numpy"] == numpy.__version__
    found["raynas"] = "another"
    assert versions()["raynas"] == raynas.__version__
    assert installed("no-such-package-anywhere") == "not installed"


def test_no_package_is_imported_for_its_version() -> None:
    code = (
        "import sys; from raynas.versions import versions; versions(); "
        "print([name for name in ('torch', 'ray') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
