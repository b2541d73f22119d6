"""What the documentation names exists, and what is public is named there."""

from __future__ import annotations

import configparser
import importlib
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from command_runs import command
from page_blocks import DOCS
from readme_blocks import README, ROOT

import raynas
from raynas.commands.main import COMMANDS

REFERENCE = "\n".join(page.read_text() for page in sorted((DOCS / "api").glob("*.md")))
ROOMS = ("raynas", *(f"raynas.{room}" for room in ("costs", "data", "evolution", "supernets")))
PUBLIC = (*ROOMS, "raynas.testing", "raynas.training")


def found(path: str) -> Any:
    """What a dotted name stands for: a module, or something in one.

    Raises:
        LookupError: there is no such thing.
    """
    parts = path.split(".")
    for split in range(len(parts), 0, -1):
        try:
            value: Any = importlib.import_module(".".join(parts[:split]))
        except ModuleNotFoundError:
            continue
        try:
            for part in parts[split:]:
                value = getattr(value, part)
        except AttributeError:
            continue
        return value
    raise LookupError(path)


def test_every_public_name_is_in_the_reference() -> None:
    told = [found(path) for path in re.findall(r"^::: (\S+)$", REFERENCE, re.MULTILINE)]
    for room in PUBLIC:
        module = importlib.import_module(room)
        for name in module.__all__:
            value = getattr(module, name)
            is_room = value in (raynas.data, raynas.supernets, raynas.training)
            known = is_room or name == "__version__" or any(value is each for each in told)
            assert known, f"{room}.{name} is not in docs/api"


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda page: page.stem)
def test_names_on_a_page_exist(page: Path) -> None:
    """Those in quotes that begin with `raynas.`, calls without their arguments."""
    for name in re.findall(r"`(raynas(?:\.\w+)+)(?!\w|…)", page.read_text()):
        found(name)


@pytest.mark.slow
def test_options_on_the_pages_exist() -> None:
    """Options in quotes are those of some subcommand, but on the pages of other commands."""
    helped = "".join(command(name, "--help").out for name in COMMANDS)
    known = set(re.findall(r"--[a-z][a-z-]+", helped)) | {"--help", "--shm-size"}
    for page in DOCS.glob("*.md"):
        others = page.stem in ("cluster", "benchmarks", "reproduction")
        quoted = [] if others else re.findall(r"`[^`\n]*`", page.read_text())
        for option in {each for text in quoted for each in re.findall(r"--[a-z][a-z-]+", text)}:
            assert option in known, f"{page.name}: {option}"


def test_settings_in_the_terms_exist() -> None:
    """Names of settings alone, in the column of what is called so here."""
    fields = {
        name
        for kind in (
            raynas.PCFES,
            raynas.Evaluation,
            raynas.ChainSupernet,
            raynas.training.GreedySettings,
        )
        for name in (*getattr(kind, "__dataclass_fields__", ()), *dir(kind))
    }
    columns = [
        line.split("|")[2]
        for line in (DOCS / "terms.md").read_text().splitlines()
        if line.startswith("| ") and line.count("|") == 3
    ]
    named = {name for cell in columns for name in re.findall(r"`([a-z]\w+)`", cell)}
    functions = {"initial_freeze", "progressive_freeze"}
    # Choices of a supernet, and places in records.
    others = {"c3", "c5", "c7", "x", "blocks", "prefix"}
    assert len(named) > 10
    assert not named - fields - functions - others


def test_no_number_of_the_guide_is_invented() -> None:
    """Decimals in the advice on settings are those of the benchmarks, or of settings."""
    measured = "".join(path.read_text() for path in (ROOT / "benchmarks").glob("*/README.md"))
    prose = re.sub(r"^```.*?^```$", "", (DOCS / "choosing.md").read_text(), flags=re.S | re.M)
    told = set(re.findall(r"\d+\.\d+", prose))
    assert len(told) > 60
    assert not told - set(re.findall(r"\d+\.\d+", measured + README))


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0"
    assert citation["version"] == raynas.__version__
    assert citation["license"] == "Apache-2.0"
    assert {"message", "title", "authors", "references"} <= citation.keys()
    for reference in citation["references"]:
        assert reference["title"].lower()[:40] in README.lower().replace("\n", " ")


def test_the_package_brings_all_its_files() -> None:
    """Files beside the code are matched by `package_data`, so that a wheel has them."""
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    taken = {
        file
        for package, patterns in settings["options.package_data"].items()
        for pattern in patterns.replace(",", " ").split()
        for file in (ROOT / package.replace(".", "/")).glob(pattern)
    }
    files = [each for each in (ROOT / "raynas").rglob("*") if each.is_file()]
    there = {each for each in files if each.suffix not in (".py", ".pyc")}
    assert ROOT / "raynas" / "py.typed" in there
    assert there <= taken
