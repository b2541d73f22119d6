"""Values of every kind have digests that tell them apart, alike in every process.

Or they say what they miss.
"""

from __future__ import annotations

import ast
import importlib
import os
import subprocess
import sys
import threading
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import value_cases
from value_cases import CASES, closed_over, digests, scaled

from raynas.supernets.value_digest import value_digest, value_identity


@pytest.mark.parametrize("name", CASES)
def test_one_number_makes_another_digest(name: str) -> None:
    make = CASES[name]
    first, again, second = (value_identity(make(by)) for by in (1.0, 1.0, 2.0))
    assert first == again
    assert first.digest != second.digest
    assert first.unread == second.unread == ()


@pytest.mark.parametrize("name", CASES)
def test_what_a_function_holds_counts(name: str) -> None:
    first, second = (value_digest(closed_over(CASES[name](by))) for by in (1.0, 2.0))
    assert first != second


def test_another_process_reads_the_same() -> None:
    path = os.pathsep.join([*sys.path, str(Path(__file__).parent)])
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", "import value_cases as v; print(v.digests())"],
        env=os.environ | {"PYTHONHASHSEED": "77", "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ast.literal_eval(done.stdout) == digests()


def test_what_travels_by_value_reads_the_same() -> None:
    cloudpickle = pytest.importorskip("ray.cloudpickle")
    cloudpickle.register_pickle_by_value(value_cases)
    try:
        for name in ("callable object", "module in a closure", "partial method", "wraps"):
            value = CASES[name](1.0)
            assert value_digest(cloudpickle.loads(cloudpickle.dumps(value))) == value_digest(value)
    finally:
        cloudpickle.unregister_pickle_by_value(value_cases)


class Unreadable:
    """Raises whenever anybody looks."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(name)


def deep() -> list[Any]:
    value: list[Any] = []
    for _ in range(500):
        value = [value]
    return value


def looking_up(x: Any) -> Any:
    return eval("x")


def reading(x: Any) -> Any:
    with open(x) as file:
        return file.read()


def asking(x: Any) -> Any:
    return os.environ[x]


TABLE: Any = None


def remembering(x: Any) -> Any:
    global TABLE
    TABLE = TABLE or x
    return TABLE


UNREAD: dict[str, Callable[[], Any]] = {
    "raises": Unreadable,
    "deep": deep,
    "generator": lambda: (i for i in "ab"),
    "function made a ufunc": lambda: np.frompyfunc(scaled, 1, 1),
    "code": lambda: compile("1", "<text>", "eval"),
    "file": lambda: sys.__stdout__,
    "eval": lambda: looking_up,
    "open": lambda: reading,
    "environment": lambda: asking,
    "global that it sets": lambda: remembering,
}


@pytest.mark.parametrize("name", UNREAD)
def test_what_cannot_be_read_is_said(name: str) -> None:
    value = UNREAD[name]()
    assert value_identity(closed_over(value)).unread
    assert value_digest(value) == value_digest(value)


def test_locks_and_generators_of_random_numbers_hold_no_constants() -> None:
    for value in (threading.Lock(), np.random.default_rng(), torch.Generator()):
        assert value_identity(value).unread == ()


METRICS = "def scale(x):\n    return x * {by}\n"
USES = {
    "dotted": "import {package}.metrics\ndef call(x):\n    return {package}.metrics.scale(x)\n",
    "from": "from {package} import metrics\ndef call(x):\n    return metrics.scale(x)\n",
    "inside": "def call(x):\n    from {package}.metrics import scale\n    return scale(x)\n",
    "inside, dotted": (
        "def call(x):\n    import {package}.metrics\n    return {package}.metrics.scale(x)\n"
    ),
    "inside, a module": "def call(x):\n    from {package} import metrics\n"
    "    return metrics.scale(x)\n",
    "inside, relative": "def call(x):\n    from . import metrics\n    return metrics.scale(x)\n",
    "under another name": (
        "import {package}.metrics as m\ndef call(x):\n    mine = m\n    return mine.scale(x)\n"
    ),
    "handed on": "from {package} import metrics\ndef use(m, x):\n    return m.scale(x)\n"
    "def call(x):\n    return use(metrics, x)\n",
    "in a table": "import {package}.metrics\nTABLE = {{'a': [{package}.metrics.scale]}}\n"
    "def call(x):\n    return TABLE['a'][0](x)\n",
    "of an object": "import {package}.metrics\nclass Ops:\n    def scale(self, x):\n"
    "        return {package}.metrics.scale(x)\nOPS = Ops()\ndef call(x):\n"
    "    return OPS.scale(x)\n",
}
"""Ways to another file of a package."""


def imported(folder: Path, package: str, use: str, by: float) -> Callable[..., Any]:
    """The function `call` of a package that is written to a folder."""
    home = folder / str(by) / package
    home.mkdir(parents=True)
    (home / "__init__.py").touch()
    (home / "metrics.py").write_text(METRICS.format(by=by))
    (home / "calls.py").write_text(use.format(package=package))
    for name in [each for each in sys.modules if each.split(".")[0] == package]:
        del sys.modules[name]
    importlib.invalidate_caches()
    sys.path.insert(0, str(home.parent))
    try:
        module = importlib.import_module(f"{package}.calls")
        function: Callable[..., Any] = module.call
        # A digest, and any call, may import more.
        vars(module)["digest"] = value_identity(function)
        assert function(1) == by
        assert value_identity(function) == module.digest
        return function
    finally:
        sys.path.remove(str(home.parent))


@pytest.mark.parametrize("package", ["raynas_test_metrics", "code"])
@pytest.mark.parametrize("use", USES)
def test_other_files_of_a_package_count(
    use: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of one that has the name of a module of Python, whose code is not read."""
    kept = dict(sys.modules)
    try:
        found = [imported(tmp_path, package, USES[use], by) for by in (1, 2)]
        identities = [function.__globals__["digest"] for function in found]
        assert identities[0].digest != identities[1].digest
        assert identities[0].unread == ()
    finally:
        for name in [each for each in sys.modules if each not in kept]:
            del sys.modules[name]
        sys.modules.update(kept)


def test_functions_that_others_put_into_torch_count(monkeypatch: pytest.MonkeyPatch) -> None:
    def call(x: Any) -> Any:
        return torch.nn.functional.relu(x).soft()

    seen = {value_digest(call)}
    monkeypatch.setattr(torch.nn.functional, "relu", lambda x: x * 2)
    seen.add(value_digest(call))
    monkeypatch.setattr(torch.Tensor, "soft", lambda x: x * 3, raising=False)
    seen.add(value_digest(call))
    monkeypatch.setattr(torch.Tensor, "soft", lambda x: x * 4)
    seen.add(value_digest(call))
    assert len(seen) == 4


def test_equal_functions_of_two_modules_are_two() -> None:
    def pair(first: float, second: float) -> list[Any]:
        made = [types.ModuleType(name) for name in ("one", "other")]
        for module, by in zip(made, (first, second), strict=True):
            exec(f"BY = {by}\ndef scale(x):\n    return x * BY", vars(module))
        return [module.scale for module in made]

    assert value_digest(pair(1.0, 2.0)) != value_digest(pair(2.0, 1.0))
