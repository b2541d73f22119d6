"""Every page of the documentation is followed as it stands: its code, its commands, its output."""

from __future__ import annotations

from pathlib import Path

import pytest
from page_blocks import DOCS, Reader
from readme_blocks import ROOT

PAGES = [ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_can_be_followed(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Reader(page, tmp_path).follow()
