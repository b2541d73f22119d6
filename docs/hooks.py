"""Pages that lie elsewhere in the repository, shown in the documentation, and links to them.

Files are read where they are: on a code host, `CONTRIBUTING.md` and the READMEs of the benchmarks
have their usual places, and links between them and `docs/` work there as they stand.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path, PurePosixPath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
OUTSIDE = ("CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/*/README.md", "benchmarks/*/*.py")
"""Files of the repository that are pages, or that pages link to."""

LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)\s]+)(?=\))")
"""The target of a link that is no address."""

STANDS_FOR = {"README.md": "index.md"}
"""Pages that show others instead: the README is the front page of a code host."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the files that lie outside `docs/`, under their paths in the repository."""
    for pattern in OUTSIDE:
        for path in sorted(ROOT.glob(pattern)):
            name = path.relative_to(ROOT).as_posix()
            files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links, which hold in the repository, into those between the pages."""
    name = PurePosixPath(page.file.src_uri)
    outside = page.file.generated_by is not None
    folder = name.parent if outside else PurePosixPath("docs") / name.parent

    def mended(found: re.Match[str]) -> str:
        target, mark, anchor = found[1].partition("#")
        path = posixpath.normpath((folder / target).as_posix())
        path = STANDS_FOR.get(path, path).removeprefix("docs/")
        return posixpath.relpath(path, name.parent.as_posix()) + mark + anchor

    return LINK.sub(mended, markdown)
