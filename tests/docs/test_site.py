"""The documentation as a site: built without a warning, and read without a network."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from readme_blocks import ROOT, run

pytest.importorskip("mkdocs")


class Loaded(HTMLParser):
    """Collects what a browser loads with a page."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag in ("script", "img", "iframe", "source"):
            self.addresses.append(values.get("src") or "")
        if tag == "link" and values.get("rel") not in ("canonical", "next", "prev"):
            self.addresses.append(values.get("href") or "")


def build(sources: Path, site: Path) -> subprocess.CompletedProcess[str]:
    """Build the documentation of a checkout as `make docs` does, to another place."""
    (line,) = re.findall(r"^docs: .*\n\t(.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    words = [word for word in shlex.split(line) if "=" not in word]
    assert words[0] == "$(BIN)/mkdocs"
    return run([sys.executable, "-m", "mkdocs", *words[1:], "--site-dir", str(site)], sources)


@pytest.mark.slow
def test_the_site_is_built_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    built = build(ROOT, tmp_path)
    assert built.returncode == 0, built.stderr
    pages = list(tmp_path.rglob("*.html"))
    assert len(pages) > 25
    for page in pages:
        parser = Loaded()
        parser.feed(page.read_text())
        assert not [each for each in parser.addresses if re.match(r"(https?:)?//", each)], page
    for sheet in tmp_path.rglob("*.css"):
        assert not re.findall(r"(?:url\(|@import\s)[\"']?(?:https?:)?//", sheet.read_text())


@pytest.mark.slow
def test_a_broken_link_fails_the_build(tmp_path: Path) -> None:
    for name in ("docs", "benchmarks", "raynas"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored)
    for name in ("mkdocs.yml", "CONTRIBUTING.md", "CHANGELOG.md"):
        shutil.copy(ROOT / name, tmp_path)
    page = tmp_path / "docs" / "benchmarks.md"
    page.write_text(page.read_text() + "\n[gone](../benchmarks/speed/README.md#gone)\n")
    built = build(tmp_path, tmp_path / "site")
    assert built.returncode != 0
    assert "does not contain an anchor '#gone'" in built.stderr
