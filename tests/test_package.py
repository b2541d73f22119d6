"""Importing raynas does nothing but define names, and the names stay what they are."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

import raynas

HEAVY = (
    "torch",
    "torchvision",
    "ray",
    "pyarrow",
    "jinja2",
    "matplotlib",
    "sklearn",
    "pynvml",
    "mlflow",
    "rich",
    "tyro",
)


PACKAGE = Path(raynas.__file__).parent

ABSTRACT = {"ABC", "Protocol", "NamedTuple", "Enum"}
"""Bases of classes that are abstract, or that Python makes final by itself."""

LEANING = re.compile("(What|Of|Those|That|Which|How) ")
"""Openings of sentences that need something before them to be understood."""


def syntax_trees() -> Iterator[tuple[str, ast.Module]]:
    """Every file of the package, and its syntax tree."""
    for path in sorted(PACKAGE.rglob("*.py")):
        yield str(path.relative_to(PACKAGE)), ast.parse(path.read_text())


def last_name(expression: ast.expr) -> str:
    """The name of a decorator or a base, without its module and parameters."""
    return ast.unparse(expression).partition("[")[0].partition("(")[0].split(".")[-1]


def in_fresh_process(code: str, *options: str, cwd: Path | None = None) -> str:
    """What the code prints to stdout; warnings are errors, and stderr stays empty."""
    command = [sys.executable, "-B", "-W", "error", *options, "-c", textwrap.dedent(code)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


def test_importing_loads_opens_and_starts_nothing() -> None:
    out = in_fresh_process(
        f"""
        import logging, os, random, sys, threading, warnings
        import numpy as np

        events = []
        kept = "open", "socket", "subprocess", "os.mkdir", "os.remove", "os.rename", "os.putenv"
        sys.addaudithook(lambda event, given: events.append((event, given))
                         if event.startswith(kept) else None)
        state = random.getstate(), np.random.get_state()[1].tobytes(), dict(os.environ)
        filters, handlers = list(warnings.filters), list(logging.root.handlers)
        threads = threading.active_count()
        import raynas
        seen = list(events)
        assert state == (
            random.getstate(), np.random.get_state()[1].tobytes(), dict(os.environ)
        ), "randomness or environment"
        assert (filters, handlers) == (list(warnings.filters), list(logging.root.handlers))
        assert threads == threading.active_count()
        code = (".py", ".pyc", ".so")
        print([e for e in seen if e[0] != "open" or not str(e[1][0]).endswith(code)])
        print([name for name in {HEAVY} if name in sys.modules])
        """
    )
    assert out.split("\n") == ["[]", "[]", ""]


def test_the_rooms_leave_global_randomness_alone() -> None:
    out = in_fresh_process(
        """
        import random
        import numpy as np, torch

        def state():
            return (random.getstate(), np.random.get_state()[1].tobytes(),
                    torch.get_rng_state().numpy().tobytes(), torch.get_num_threads(),
                    torch.is_grad_enabled(), torch.are_deterministic_algorithms_enabled())

        before = state()
        import raynas
        raynas.supernets, raynas.data, raynas.training, raynas.ChainSupernet
        import raynas.result
        assert state() == before
        import sys
        print("ray" in sys.modules, "matplotlib" in sys.modules)
        """
    )
    assert out == "False False\n"


@pytest.mark.parametrize(
    "code",
    [
        "from raynas.search import search",
        "import raynas.search",
        "import raynas.runlog, raynas.generation, raynas.evolution.strategy",
        "import importlib; importlib.import_module('raynas.search')",
        "import raynas, raynas.search as other; assert callable(other)",
        "import raynas.commands.workflow, raynas.commands.main, raynas.result",
        "import pickle, raynas; assert pickle.loads(pickle.dumps(raynas.search)) is raynas.search",
    ],
)
def test_search_is_the_function_whoever_imports_its_module(code: str) -> None:
    out = in_fresh_process(
        f"""
        {code}
        import raynas
        from raynas import search
        print(callable(raynas.search), raynas.search is search, raynas.search.__name__)
        """
    )
    assert out == "True True search\n"


def test_every_public_name_is_there() -> None:
    assert len(set(raynas.__all__)) == len(raynas.__all__)
    for name in raynas.__all__:
        assert getattr(raynas, name) is not None
    assert raynas.__version__[0].isdigit()
    with pytest.raises(AttributeError, match="has no attribute 'supernet'"):
        raynas.supernet  # noqa: B018
    assert raynas.ChainSupernet is raynas.supernets.ChainSupernet
    assert raynas.TrainingSettings is raynas.training.TrainingSettings


def test_the_command_and_the_package_agree_on_the_version() -> None:
    from importlib.metadata import entry_points, version

    assert version("raynas") == raynas.__version__
    (script,) = entry_points(group="console_scripts", name="raynas")
    assert script.value == "raynas.commands.main:main"


def test_every_class_is_abstract_or_final() -> None:
    found = [
        (file, node)
        for file, tree in syntax_trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    ]
    extended = {last_name(base) for _, node in found for base in node.bases}
    open_to_all = [
        f"{file}: {node.name}"
        for file, node in found
        if "final" not in map(last_name, node.decorator_list)
        and not ABSTRACT & set(map(last_name, node.bases))
        and node.name not in extended
    ]
    assert open_to_all == []
    assert len(found) > 100


def test_every_docstring_stands_alone() -> None:
    leaning = []
    for file, tree in syntax_trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                text = node.value.value
                if isinstance(text, str) and LEANING.match(text):
                    leaning.append(f"{file}:{node.lineno}: {text.splitlines()[0]}")
    assert leaning == []


def test_every_room_lists_its_files() -> None:
    for room in sorted(path.parent for path in PACKAGE.rglob("__init__.py")):
        told = ast.get_docstring(ast.parse((room / "__init__.py").read_text())) or ""
        files = {path.stem for path in room.glob("*.py") if not path.stem.startswith("_")}
        folders = {path.parent.name for path in room.glob("*/__init__.py")}
        missing = {name for name in files | folders if f"`{name}`" not in told}
        assert not missing, room


def test_the_readme_of_the_tests_lists_every_file() -> None:
    tests = Path(__file__).parent
    listed = re.findall(r"^##.*|`\w+\.py`", (tests / "README.md").read_text(), re.MULTILINE)
    folder, told = "", []
    for each in listed:
        if each.startswith("##"):
            folder = "" if "`" not in each else each.split("`")[1]
        else:
            told.append(folder + each.strip("`"))
    there = {str(path.relative_to(tests)) for path in tests.rglob("*.py")}
    assert sorted(told) == sorted(there)


def example() -> str:
    """The code of the package's docstring."""
    assert raynas.__doc__ is not None
    lines = raynas.__doc__.splitlines()
    code = [line for line in lines if line.startswith("    ") or not line]
    return textwrap.dedent("\n".join(code)).strip()


def test_the_example_is_short() -> None:
    code = example()
    compile(code, "example", "exec")
    assert code.startswith("import raynas")
    assert len(code.splitlines()) <= 14


@pytest.mark.ray
@pytest.mark.slow
def test_the_example_runs(tmp_path: Path) -> None:
    command = [sys.executable, "-c", example()]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "runs" / "example" / "best" / "model.pt2").exists()
    assert done.stdout.startswith("(")
