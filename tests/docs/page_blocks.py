"""The pages of the documentation as a reader follows them: files, code, commands and outputs.

A page is followed in a folder of its own, from top to bottom, in one session of Python:

- a block of `python` is run; with a `title`, it is written to the file of that name instead, and so
  are blocks of `json` and `yaml`;
- a block of `bash` is a list of commands, each of which is run and must succeed;
- a block of `text` with the title `output` is what the block before it prints, to the letter;
- one with the title `one run` is what it once printed: the numbers may differ, the words not.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import re
import runpy
import shlex
import sys
import textwrap
import types
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

import torch
from command_runs import Output, command
from readme_blocks import ROOT, run

DOCS = ROOT / "docs"

ELSEWHERE = {
    "make": "its target is looked up",
    "pip": "`test_wheel.py` installs the package",
    "ray": "`tests/cluster` runs a real cluster",
    "aws": "needs an account",
    "ssh-keygen": "`tests/cluster` makes keys",
    "ssh-copy-id": "`tests/cluster` installs them",
    "source": "changes the shell alone",
    "mkdocs": "`make docs` runs it",
    "pytest": "runs these tests",
    ".venv/bin/python": "runs these tests",
}
"""Commands that a page may show and that are not run here, and why."""

FENCE = re.compile(
    r'^( *)```(?P<language>\w+)(?: title="(?P<title>[^"\n]*)")?\n(?P<text>.*?)^\1```$',
    re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True)
class Block:
    """A block of code of a page.

    Args:
        language: `python`, `bash`, `text`, ….
        title: the name of a file, `output` or `one run`; empty if there is none.
        text: the code.
        line: of the page, where it begins.
    """

    language: str
    title: str
    text: str
    line: int


def blocks_of(page: Path) -> list[Block]:
    """The blocks of a page, from top to bottom."""
    text = page.read_text()
    return [
        Block(
            found["language"],
            found["title"] or "",
            textwrap.dedent(found["text"]),
            text[: found.start()].count("\n") + 1,
        )
        for found in FENCE.finditer(text)
    ]


def commands_in(block: Block) -> list[list[str]]:
    """The commands of a block of `bash` in words, continued lines joined, without comments."""
    lines = block.text.replace("\\\n", " ").splitlines()
    return [words for words in (shlex.split(line, comments=True) for line in lines) if words]


def is_run(words: list[str]) -> bool:
    """Whether a command is run here; others have a reason in `ELSEWHERE` or name a script."""
    script = len(words) > 1 and words[1].startswith(("experiments/", "benchmarks/"))
    return words[0] not in ELSEWHERE and not (words[0] == "python" and script)


@dataclass
class Reader:
    """A reader who follows one page.

    Args:
        page: that is followed.
        folder: where the reader sits, the current one.
    """

    page: Path
    folder: Path
    printed: str = ""
    session: types.ModuleType = field(init=False)

    def __post_init__(self) -> None:
        # Classes that a page defines are looked up in their module, as those of a script are.
        self.session = types.ModuleType(f"page_{self.page.stem.replace('-', '_')}")

    @contextlib.contextmanager
    def seated(self) -> Iterator[None]:
        """Have the files of the folder importable, and leave the process as it was."""
        sys.modules[self.session.__name__] = self.session
        with (
            mock.patch.object(sys, "path", [str(self.folder), *sys.path]),
            torch.random.fork_rng(devices=[]),
        ):
            yield
        for name, module in list(sys.modules.items()):
            # The next page may have a file of the same name.
            own = str(getattr(module, "__file__", "")).startswith(str(self.folder))
            if module is self.session or own:
                del sys.modules[name]

    def follow(self) -> None:
        """Do what the page says, block by block."""
        with self.seated():
            for block in blocks_of(self.page):
                try:
                    self.do(block)
                except Exception as error:
                    place = f"{self.page.relative_to(ROOT)}, line {block.line}"
                    raise AssertionError(f"{place}: {error!r}") from error

    def do(self, block: Block) -> None:
        """Do what one block says."""
        if block.language in ("python", "json", "yaml") and block.title:
            (self.folder / block.title).write_text(block.text)
        elif block.language == "python":
            self.printed = self.execute(block)
        elif block.language == "bash":
            self.printed = "".join(self.type(each) for each in commands_in(block) if is_run(each))
        elif block.title == "output":
            assert without_ends(self.printed) == without_ends(block.text), self.printed
        elif block.title == "one run":
            assert words_of(self.printed) == words_of(block.text), self.printed

    def execute(self, block: Block) -> str:
        """Run code in the session; what it prints."""
        shown = io.StringIO()
        code = compile("\n" * block.line + block.text, str(self.page), "exec")
        with contextlib.redirect_stdout(shown):
            exec(code, self.session.__dict__)
        return shown.getvalue()

    def type(self, words: list[str]) -> str:
        """Type a command; what it prints."""
        if words[0] == "raynas" or words[:3] == ["python", "-m", "raynas"]:
            ended = command(*words[words.index("raynas") + 1 :])
            assert ended.code == 0, ended
            return ended.out
        if words[0] == "python" and (self.folder / words[1]).exists():
            shown = Output("utf-8")
            with contextlib.redirect_stdout(shown), mock.patch.object(sys, "argv", words[1:]):
                runpy.run_path(words[1], run_name="__main__")
            return shown.getvalue()
        assert words[0] == "torchrun", f"{words} is neither run nor excused"
        done = run(words, self.folder)
        assert done.returncode == 0, done.stderr
        return done.stdout


def without_ends(text: str) -> str:
    """A text without spaces at the ends of its lines, and without lines around it."""
    return "\n".join(line.rstrip() for line in text.strip("\n").splitlines())


def words_of(text: str) -> list[str]:
    """The words that begin the lines of a text: what does not depend on the numbers of a run.

    Of a row of a table it is the first cell, of any other line what stands before its first number.
    Lines in a row that begin alike count once: a search may take more generations elsewhere.
    """
    found = []
    for line in text.strip("\n").splitlines():
        first = line.split("│")[1] if "│" in line else line
        found.append(re.sub(r"[─━\s]+", " ", re.split(r"[\d(]", first)[0]).strip())
    return [words for words, _ in itertools.groupby(found)]
