"""The view of a search: rows and bars in a terminal of any width, plain lines elsewhere."""

from __future__ import annotations

import io
import re

import pytest
from generation_records import record, score, timing
from rich.console import Console

from raynas.commands.generation_rows import COLUMNS, fitting, row_width
from raynas.commands.live import SearchView, clock_time, search_view
from raynas.commands.terminal import make_console
from raynas.workers.call_progress import CallProgress

CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Screen:
    """A terminal of a width, or what is none, and all that was written to it."""

    def __init__(self, width: int = 120, *, terminal: bool = True, encoding: str = "utf-8") -> None:
        self._bytes = io.BytesIO()
        self._file = io.TextIOWrapper(self._bytes, encoding=encoding, newline="")
        self.console = Console(
            file=self._file,
            force_terminal=terminal,
            width=width,
            markup=False,
            highlight=False,
            emoji=False,
            _environ={"TERM": "xterm-256color"},
        )

    @property
    def raw(self) -> str:
        """The output with its control sequences."""
        self._file.flush()
        return self._bytes.getvalue().decode(self._file.encoding)

    @property
    def lines(self) -> list[str]:
        """The lines without control sequences."""
        return CONTROL.sub("", self.raw).replace("\r", "").splitlines()


def view_on(screen: Screen, generations: int | None = 20) -> SearchView:
    """A view whose clock stands still."""
    return SearchView(screen.console, generations, clock=lambda: 0.0)


def shown_bars(screen: Screen, view: SearchView) -> list[str]:
    """The bars as they are drawn."""
    before = len(screen.lines)
    screen.console.print(view.bars())
    return screen.lines[before:]


def test_a_generation_is_a_row_below_its_headings() -> None:
    screen = Screen()
    found = [score(0.5), score(0.25)]
    view_on(screen).generation(record(rescored=[], population=found), timing())
    head, row = screen.lines
    assert head.split() == ["gen", "best", "median", "frozen", "evals", "shared", "seconds"]
    assert row.split() == ["3", "91.25%", "37.50%", "█████░░░░░", "1/2", "2", "75%", "1.23"]
    assert head.index("best") + len("best") == row.index("91.25%") + len("91.25%"), "aligned"


@pytest.mark.parametrize(
    ("frozen", "blocks", "bar"),
    [(0, 20, "░░░░░░░░░░"), (7, 20, "████░░░░░░"), (20, 20, "██████████"), (1, 200, "░░░░░░░░░░")],
)
def test_the_bar_of_frozen_blocks_fills(frozen: int, blocks: int, bar: str) -> None:
    best = {"architecture": [0] * blocks, "top1": 0.5}
    screen = Screen()
    generation = record(frozen=frozen, best=best, rescored=[], population=[])
    view_on(screen).generation(generation, timing())
    assert f"{bar} {frozen:2d}/{blocks}" in screen.lines[1]


def test_columns_appear_when_something_is_known_of_them_and_stay() -> None:
    screen = Screen()
    view = view_on(screen)
    view.generation(record(), timing(block_forwards_alone=0))
    view.generation(record(), timing(known=2, energy_j=1234.5, energy_source="estimated"))
    view.generation(record(), timing(energy_j=20.4, energy_source="measured"))
    view.generation(record(), {})
    heads = [line.split() for line in screen.lines if "gen" in line]
    assert heads == [
        ["gen", "best", "median", "frozen", "evals", "seconds"],
        ["gen", "best", "median", "frozen", "evals", "known", "shared", "seconds", "joules"],
    ]
    rows = [line.split()[5:] for line in screen.lines if "91.25%" in line]
    assert rows[1:] == [
        ["3", "67%", "75%", "1.23", "~1,234"],
        ["3", "-", "75%", "1.23", "20"],
        ["3", "-", "-", "-", "-"],
    ]


def test_an_empty_generation_of_another_task_and_notes() -> None:
    screen = Screen()
    view = view_on(screen)
    broken = [score(None, finite=False), {"architecture": [0, 1], "mae": -0.5, "finite": True}]
    best = {"architecture": [0, 1], "mae": -0.25}
    view.generation(record(best=best, population=broken, rescored=[], refused="no suffix"), {})
    view.generation(record(best=None, population=[], rescored=[], finished="exhausted"), {})
    text = "\n".join(screen.lines)
    assert "-0.2500   -0.5000" in text
    assert "      1 with outputs that are not finite" in screen.lines
    assert "      freeze refused: no suffix" in screen.lines
    assert screen.lines[-1] == "      exhausted"
    assert screen.lines[-2].split() == ["3", "-", "-", "██████████", "1/1", "0", "-"]


@pytest.mark.parametrize("width", [16, 20, 30, 40, 47, 64, 72, 80, 100, 200])
def test_rows_fit_every_width(width: int) -> None:
    screen = Screen(width)
    view = view_on(screen)
    view.generation(record(), timing(known=1, energy_j=123_456.0, seconds=12_345.67))
    view._calls(CallProgress("calibrate", 3, 24))
    screen.console.print(view.bars())
    assert all(len(line) <= width for line in screen.lines)
    names = fitting(COLUMNS, width)
    assert {"generation", "best"} <= set(names)
    assert row_width(names) <= max(width, 14)
    assert len(screen.lines) == 4, "a heading, a row, and two bars: nothing is broken"
    assert screen.lines[2][2:14].startswith("generation 4"[: width - 4])
    assert ("calibrate 3/24" in screen.lines[2]) == (width >= 64)


@pytest.mark.parametrize("width", [40, 60, 80, 118])
def test_what_a_terminal_shows_of_ctrl_c_breaks_no_line(width: int) -> None:
    screen = Screen(width)
    view = view_on(screen)
    view.doing("something that takes longer than the width of any terminal " * 3)
    assert all(len(line) <= width - 3 for line in shown_bars(screen, view))


def test_a_terminal_that_becomes_wider_gets_new_headings() -> None:
    screen = Screen(40)
    view = view_on(screen)
    view.generation(record(), timing())
    screen.console.width = 120
    view.generation(record(), timing())
    view.generation(record(), timing())
    assert ["gen" in line for line in screen.lines] == [True, False, True, False, False]


def test_the_bars_tell_the_calls_and_the_time_left() -> None:
    now = 100.0
    screen = Screen(100)
    view = SearchView(screen.console, 20, clock=lambda: now)
    observe = view.call_observer
    assert observe is not None
    first, search = shown_bars(screen, view)
    assert first.split()[1:3] == ["generation", "1"]
    assert first.rstrip().endswith("starting workers")
    assert "left" not in first + search, "nothing is known yet"
    assert search.rstrip().endswith("0 of 20 generations")
    observe(CallProgress("score", 0, 4))
    now = 106.0
    observe(CallProgress("score", 3, 4))
    first, search = shown_bars(screen, view)
    assert re.search(r"generation 1 .* 0:02 left +score 3/4", first)
    now = 108.0
    view.generation(record(generation=0), timing(seconds=8.0))
    first, search = shown_bars(screen, view)
    assert re.search(r"generation 2 .* 0:08 left +proposing", first)
    assert re.search(r"search .* at most 2:32 left +1 of 20 generations", search)
    view.generation(record(generation=1, finished="all blocks frozen"), timing(seconds=8.0))
    observe(CallProgress("score", 1, 4))
    (only,) = shown_bars(screen, view)
    assert re.search(r"final scores .*score 1/4", only)


def test_a_search_without_a_known_limit_has_one_bar() -> None:
    screen = Screen()
    assert len(shown_bars(screen, view_on(screen, None))) == 1


def test_the_live_view_draws_and_cleans_up() -> None:
    screen = Screen(100)
    with search_view(screen.console, 3) as view:
        view.generation(record(generation=0), timing())
        observe = view.call_observer
        assert observe is not None
        observe(CallProgress("score", 1, 2))
        view.say("a sentence [red] :smile:")
    assert "generation" in screen.raw
    assert "a sentence [red] :smile:" in screen.raw
    assert screen.raw.count("\x1b[?25l") == screen.raw.count("\x1b[?25h") == 1, "the cursor is back"
    assert screen.raw.endswith("\x1b[2K"), "the bars are gone"


def test_a_terminal_that_knows_ascii_alone() -> None:
    screen = Screen(100, encoding="ascii")
    with search_view(screen.console, 3) as view:
        view.generation(record(), timing())
        screen.console.print(view.bars())
    assert "#####-----  1/2" in "\n".join(screen.lines)


@pytest.mark.parametrize("dumb", [False, True])
def test_plain_lines_where_there_is_no_terminal(dumb: bool) -> None:
    screen = Screen(60, terminal=dumb)
    screen.console._environ = {"TERM": "dumb"}
    with search_view(screen.console, 3) as view:
        assert view.call_observer is None, "nobody counts calls that are not shown"
        view.generation(record(generation=0), {"seconds": 0.5})
        view.generation(record(generation=1, refused="x" * 200), {})
        view.generation(record(generation=2, finished="generation limit"), timing())
        view.say("y" * 100)
    lines = screen.raw.splitlines()
    assert [line[:14] for line in lines[:3]] == [f"generation   {n}" for n in (1, 2, 3)]
    assert lines[1].endswith("x" * 200 + ")"), "a line is never broken"
    assert lines[3:] == ["y" * 100]
    assert "\x1b" not in screen.raw


def test_output_that_is_captured_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with search_view(make_console(), 3) as view:
        view.generation(record(), timing())
    line = "generation   3  best  91.25%  frozen  1    3 candidates on 300 samples    1.23 s\n"
    assert capsys.readouterr().out == line


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0:00"), (7, "0:07"), (59.6, "1:00"), (3723.0, "1:02:03")]
)
def test_times(seconds: float, text: str) -> None:
    assert clock_time(seconds) == text
