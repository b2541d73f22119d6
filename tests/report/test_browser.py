"""A report in a real headless Chromium: what a reader sees, points at and clicks."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from written_runs import result, score, write_run

from raynas.report.page import write_report

api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium")

LIGHT, DARK = "rgb(244, 246, 248)", "rgb(17, 22, 27)"
"""Backgrounds of the page."""


@dataclass
class Opened:
    """A report in a tab, and what the browser complained of or asked for since it was opened."""

    page: Any
    told: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def background(self) -> str:
        return self.page.evaluate("getComputedStyle(document.documentElement).backgroundColor")

    def shown(self, selector: str) -> int:
        """The number of elements that are there and take room."""
        return self.page.evaluate(
            "s => [...document.querySelectorAll(s)].filter(e => e.getClientRects().length).length",
            selector,
        )


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report on two runs, one of which found a front."""
    folder = tmp_path_factory.mktemp("report")
    front = [
        {**score((0, 1, 1), 0.75), "names": ["c3", "c5", "x"]},
        {**score((0, 0, 0), 0.5), "names": ["c3", "c3", "c3"]},
    ]
    write_run(folder / "pcf", ended=result())
    write_run(folder / "front", ended=result(front=front), strategy="NSGA2")
    return write_report([folder / "pcf", folder / "front"], folder / "report.html").page


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with api.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def open_report(browser: Any, written: Path) -> Iterator[Any]:
    """Opens the report in windows; none may complain, nor ask for anything else."""
    opened: list[Opened] = []

    def open_at(width: int = 1200, height: int = 900, scheme: str = "light") -> Opened:
        size = {"width": width, "height": height}
        page = browser.new_context(viewport=size, color_scheme=scheme).new_page()
        tab = Opened(page)
        page.on("console", lambda message: tab.told.append(message.text))
        page.on("pageerror", lambda error: tab.told.append(str(error)))
        page.on("request", lambda request: tab.asked.append(request.url))
        page.goto(written.as_uri())
        opened.append(tab)
        return tab

    yield open_at
    for tab in opened:
        assert tab.told == []
        outside = [url for url in tab.asked if url != written.as_uri() and url != "data:,"]
        assert outside == []
        tab.page.context.close()


def test_every_figure_is_drawn(open_report: Any) -> None:
    tab = open_report()
    for summary in tab.page.query_selector_all("details:not([open]) > summary"):
        summary.click()
    figures = tab.page.query_selector_all("figure")
    assert len(figures) == 1 + 2 + 2 + 2 + 2 + 6, "accuracy, costs, and those of each run"
    for figure in figures:
        plot = figure.query_selector("svg.plot")
        box = plot.bounding_box()
        assert box["width"] > 100
        assert box["height"] > 60
        texts = plot.query_selector_all("text")
        assert texts
        inside = tab.page.evaluate(
            """plot => {
                const frame = plot.getBoundingClientRect();
                return [...plot.querySelectorAll("text")].every(text => {
                    const box = text.getBoundingClientRect();
                    return box.left >= frame.left - 1 && box.right <= frame.right + 1;
                });
            }""",
            plot,
        )
        assert inside, "no label is cut off"
    assert tab.page.evaluate("document.querySelectorAll('svg.plot use').length") > 40


def point_at(tab: Opened, selector: str, place: int = 0) -> str:
    """What is said when the pointer is over a mark."""
    mark = tab.page.query_selector_all(selector)[place]
    mark.scroll_into_view_if_needed()
    box = mark.bounding_box()
    tab.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    tab.page.wait_for_selector("#tip", state="visible")
    return str(tab.page.inner_text("#tip"))


def test_pointing_at_marks_tells_their_values(open_report: Any) -> None:
    tab = open_report()
    said = point_at(tab, "#accuracy g[data-run=r0] use", 1)
    both = "{}\ngeneration 2\nbest 70.00%\nmedian 60.00%\n0 of 3 blocks frozen"
    assert said == "\n\n".join(both.format(name) for name in ("pcf", "front")), "on each other"
    assert tab.shown(".near") == 2
    said = point_at(tab, "#majority-r0 g[data-run=r0] path", 6)
    assert said == "block 1, generation 3\nc3: 100 %, frozen since generation 3"
    said = point_at(tab, "#time-r0 g[data-run=r0] path", 5)
    assert said == "generation 2: 4.00 s\nscoring: 2.50 s (62%)"
    tab.page.mouse.move(5, 5)
    tab.page.wait_for_selector("#tip", state="hidden")
    assert tab.shown(".near") == 0


def test_runs_can_be_hidden_and_shown(open_report: Any) -> None:
    tab = open_report()
    box = tab.page.query_selector("#runs input[value=r1]")
    marks = "#accuracy [data-run=r1], #time-r1, article[data-run=r1], tr[data-run=r1]"
    before = [tab.shown(each) for each in marks.split(", ")]
    assert min(before) >= 1
    others = tab.shown("[data-run=r0]")
    box.uncheck()
    assert tab.shown("[data-run=r1]") == 0
    assert tab.shown("[data-run=r0]") == others
    box.check()
    assert [tab.shown(each) for each in marks.split(", ")] == before


def test_what_is_hidden_says_nothing(open_report: Any) -> None:
    tab = open_report()
    for name in ("r0", "r1"):
        tab.page.query_selector(f"#runs input[value={name}]").uncheck()
    plot = tab.page.query_selector("#accuracy svg")
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    for step in range(1, 10):
        tab.page.mouse.move(
            box["x"] + box["width"] * step / 10, box["y"] + box["height"] * step / 10
        )
        tab.page.evaluate("new Promise(done => requestAnimationFrame(() => done()))")
        assert tab.shown("#tip") == 0


def test_members_of_a_front_are_chosen(open_report: Any) -> None:
    tab = open_report()
    assert tab.page.inner_text("[data-member=r1-0] .encoded") == "--architecture 0,1,1"
    assert (tab.shown("[data-member=r1-0]"), tab.shown("[data-member=r1-1]")) == (1, 0)
    tab.page.select_option("[data-members=r1]", "1")
    assert (tab.shown("[data-member=r1-0]"), tab.shown("[data-member=r1-1]")) == (0, 1)


@pytest.mark.parametrize(
    ("scheme", "first", "then"), [("light", LIGHT, DARK), ("dark", DARK, LIGHT)]
)
def test_dark_and_light(scheme: str, first: str, then: str, open_report: Any) -> None:
    tab = open_report(scheme=scheme)
    line = "getComputedStyle(document.querySelector('#accuracy g[data-run=r0] path')).stroke"
    before = tab.page.evaluate(line)
    assert tab.background() == first
    tab.page.click("#theme")
    assert tab.background() == then
    assert tab.page.evaluate(line) != before
    tab.page.emulate_media(media="print")
    assert tab.background() in (LIGHT, "rgba(0, 0, 0, 0)")
    assert tab.page.evaluate(line) == "rgb(0, 114, 178)", "print is light"


def test_a_phone_does_not_scroll_sideways(open_report: Any) -> None:
    width = 320
    tab = open_report(width=width, height=800)
    for summary in tab.page.query_selector_all("details:not([open]) > summary"):
        summary.click()
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= width
    panels = tab.page.query_selector_all(".panel svg")
    assert min(panel.bounding_box()["width"] for panel in panels) > 110
