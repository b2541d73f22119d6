"""Every page of the documentation is followed as it stands: its code, its commands, its output."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from page_blocks import DOCS, ELSEWHERE, Reader, blocks_of, commands_in, is_run, words_of
from readme_blocks import ROOT

PAGES = [ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]

SLOW = ("quickstart", "other-networks", "results", "systems")
"""Pages that take many seconds; the README's examples do much of what they do."""


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=pytest.mark.slow if page.stem in SLOW else (), id=page.stem)
        for page in PAGES
        if any(block.language in ("python", "bash") for block in blocks_of(page))
    ],
)
def test_a_page_can_be_followed(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Reader(page, tmp_path).follow()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_is_not_run_is_there(page: Path) -> None:
    """Commands that are run elsewhere name targets and scripts that exist."""
    makefile = (ROOT / "Makefile").read_text()
    for block in blocks_of(page):
        for words in commands_in(block) if block.language == "bash" else []:
            if words[0] == "make":
                assert f"\n{words[1]}:" in makefile
            if not is_run(words) and words[0] not in ELSEWHERE:
                assert (ROOT / words[1]).exists(), words
    named = re.findall(r"(?:experiments|benchmarks)/(?:[a-z_]+/)?[a-z_]+\.py", page.read_text())
    assert not [name for name in named if not (ROOT / name).exists()]


def page_with(text: str, tmp_path: Path) -> Reader:
    """A reader of a page of one's own."""
    page = tmp_path / "docs" / "page.md"
    page.parent.mkdir(exist_ok=True)
    page.write_text(text)
    return Reader(page, tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        '```python\nprint(1)\n```\n\n```text title="output"\n2\n```\n',
        "```python\nprint('best', 1)\n```\n\n```text title=\"one run\"\nworst 1\n```\n",
        "```python\nraise RuntimeError\n```\n",
        "```bash\nraynas nonsense\n```\n",
        "```bash\ncurl example\n```\n",
    ],
)
def test_a_page_that_does_not_hold_is_found(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("page_blocks.ROOT", tmp_path)
    with pytest.raises(AssertionError, match=r"docs/page\.md, line"):
        page_with(text, tmp_path).follow()


def test_a_page_is_one_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files, names and output go from block to block; the numbers of a run may differ."""
    monkeypatch.chdir(tmp_path)
    text = (
        '```python title="mine.py"\nNUMBER = 3\n```\n\n'
        "- In a list:\n\n    ```python\n    from mine import NUMBER\n"
        "    print('is', NUMBER)\n    ```\n\n"
        '    ```text title="output"\n    is 3\n    ```\n\n'
        "```python\nfor _ in range(NUMBER):\n    print('generation', NUMBER)\n```\n\n"
        '```text title="one run"\ngeneration 1\ngeneration 2\n```\n'
    )
    reader = page_with(text, tmp_path)
    reader.follow()
    assert reader.printed == "generation 3\n" * 3
    assert words_of("│ best  │ 3 │\nfound 7 (b)\n━━┓\n") == ["best", "found", "┓"]
