"""The documentation as a site: built without a warning, and read without a network."""

from __future__ import annotations

import re
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


@pytest.mark.slow
def test_the_site_is_built_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    built = run(command, ROOT)
    assert built.returncode == 0, built.stderr
    pages = list(tmp_path.rglob("*.html"))
    assert len(pages) > 25
    for page in pages:
        parser = Loaded()
        parser.feed(page.read_text())
        assert not [each for each in parser.addresses if re.match(r"(https?:)?//", each)], page
    for sheet in tmp_path.rglob("*.css"):
        assert not re.findall(r"(?:url\(|@import\s)[\"']?(?:https?:)?//", sheet.read_text())
