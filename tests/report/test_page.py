"""The page of a report: complete, self-contained, escaped, and honest about what is missing."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path

import pytest
from small_search import contents
from test_search_with import SPACE, Table
from written_runs import (
    EVALUATION,
    GENERATIONS,
    NAMES,
    config,
    generation,
    result,
    rewrite,
    score,
    write_run,
)

import raynas
from raynas.costs import Limits
from raynas.errors import InputError
from raynas.report.drawing import drawing
from raynas.report.page import Drawn, draw, render, write_figures, write_report
from raynas.report.runs import read_runs

VOID = {"meta", "link", "input", "br"}


class Page(HTMLParser):
    """Ids, texts and links of a page, whose tags must be closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if given.get("id"):
            self.ids.append(str(given["id"]))
        self.links += [
            str(given[name]) for name in ("href", "src", "xlink:href", "action") if name in given
        ]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] not in (["script"], ["style"]):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def report(tmp_path: Path, *run_dirs: Path) -> Page:
    write_report(run_dirs, tmp_path / "report.html")
    return Page((tmp_path / "report.html").read_text())


def without_figures(*run_dirs: Path) -> str:
    """The page of a report, rendered without its figures."""
    runs, refused = read_runs(run_dirs)
    return render(runs, refused, Drawn((), (), (), {}, {}, {run.key: () for run in runs}, ()))


def words(*run_dirs: Path) -> str:
    """The texts of a report, rendered without its figures."""
    return Page(without_figures(*run_dirs)).text


def test_a_page_has_every_section_and_figure_and_needs_nothing_else(tmp_path: Path) -> None:
    first = write_run(tmp_path / "first", ended=result())
    second = write_run(tmp_path / "second", strategy="EA")
    before = contents(tmp_path)
    page = report(tmp_path, first, second)
    assert {
        name: content for name, content in contents(tmp_path).items() if name in before
    } == before
    assert len(set(page.ids)) == len(page.ids)
    sections = ("found", "compared", "progress", "choices", "time", "importance", "reproduce")
    figures = ("accuracy", "cost-0", "cost-1", "majority-r0", "majority-r1", "time-r0", "time-r1",
               "importance-r0-3", *(f"block-r1-{block + 1}" for block in range(3)))  # fmt: skip
    assert {*sections, *figures} <= set(page.ids)
    assert all(link.startswith("#") or link == "data:," for link in page.links)
    text = (tmp_path / "report.html").read_text()
    assert re.findall(r"url\((?!#)", text) == []
    plots = "".join(re.findall(r'<svg class="plot".*?</svg>', text, re.DOTALL))
    assert re.findall(r"[:\"] ?#[0-9a-f]{6}\b", plots) == [], "every colour is the page's"
    assert "http" not in re.sub(r"<svg.*?</svg>", "", text, flags=re.DOTALL)
    assert "@import" not in text


def test_what_a_run_found_and_took_is_told(tmp_path: Path) -> None:
    text = words(write_run(tmp_path / "run", ended=result()))
    for said in (
        "Finished after 4 generations: legal architectures exhausted.",
        "stem 1 c3 frozen at 3 2 c5 frozen at 4 3 x head",
        "top-1 accuracy 75.00%",
        "test top-1 accuracy 72.50%",
        "multiply-adds 300",
        "--architecture 0,1,1",
        "supernet and data strategy threshold monitor size seed objective validation test "
        "multiply-adds parameters generations evaluations not finite frozen blocks time energy CO₂ "
        "run 3 blocks on noise, supernet a1b2c3d4 PCF-ES 0.6 2 5 top-1 accuracy 75.00% 72.50% "
        "300 30 4 9 1 2 of 3 18.0 s 5.4 kJ 0.6 g",
        "calibrating batch norm 4.00 s 22% scoring 10.0 s 56% waiting and driver 2.00 s 11%",
        "finalists in full, and the test 2.00 s 11%",
        "energy 5.4 kJ (measured) CO₂ 0.6 g at 400 g/kWh",
        "limit on multiply-adds at most 900, by the table 0a",
        "versions raynas 0.1.0 python 3.11.7 torch 2.14.1",
    ):
        assert said in text, said


def test_a_winner_from_before_the_freeze_is_told(tmp_path: Path) -> None:
    winner = {"architecture": [1, 1, 1], "names": ["c5", "c5", "x"]}
    text = words(write_run(tmp_path / "run", ended=result(**winner)))
    assert "exhausted. The winner was found before the blocks were frozen;" in text
    assert "stem 1 c5 2 c5 3 x head" in text
    assert "before the blocks" not in words(write_run(tmp_path / "other", ended=result()))


def test_members_of_a_front_can_be_chosen(tmp_path: Path) -> None:
    front = [
        {**score((0, 1, 1), 0.75), "names": ["c3", "c5", "x"]},
        {**score((0, 0, 0), 0.5), "names": ["c3", "c3", "c3"]},
    ]
    write_run(tmp_path / "run", ended=result(front=front), strategy="NSGA2")
    text = without_figures(tmp_path / "run")
    assert "Member of the front, of 2 1. 75.00%, 300 multiply-adds" in Page(text).text
    assert "2. 50.00%, 100 multiply-adds" in Page(text).text
    assert Page(text).text.count("test top-1 accuracy 72.50%") == 1, "the winner's alone"
    assert re.findall(r'data-member="(r0-\d)"( hidden)?', text) == [
        ("r0-0", ""),
        ("r0-1", " hidden"),
    ]


def test_an_unfinished_run_is_reported_as_far_as_it_goes(tmp_path: Path) -> None:
    write_run(tmp_path / "run", generations=GENERATIONS[:2])
    text = words(tmp_path / "run")
    assert "Unfinished: 2 generations of at most 4 are recorded." in text
    assert "top-1 accuracy 70.00%" in text
    assert "multiply-adds 200" in text
    assert "top-1 accuracy 70.00% so far 2 6 0 of 3 8.00 s" in text


@pytest.mark.parametrize("count", [0, 1])
def test_a_run_that_has_hardly_begun(count: int, tmp_path: Path) -> None:
    write_run(tmp_path / "run", generations=GENERATIONS[:count])
    page = report(tmp_path, tmp_path / "run")
    assert ("Nothing has been scored." in page.text) == (count == 0)
    assert ("No timings were recorded." in page.text) == (count == 0)
    assert ("accuracy" in page.ids) == ("block-r0-1" in page.ids) == (count == 1)
    assert "no block has been frozen, so that no samples were selected" in page.text


def test_runs_without_timings_or_finite_scores(tmp_path: Path) -> None:
    broken = [generation(0, [score((0, 0, 0), None), score((1, 1, 1), None)])]
    write_run(tmp_path / "run", generations=broken, timed=False)
    page = report(tmp_path, tmp_path / "run")
    assert "Nothing has been scored." in page.text
    assert "generations evaluations not finite frozen blocks run" in page.text
    assert "1 2 2 0 of 3" in page.text
    assert not any(name.startswith(("cost-", "time-")) for name in page.ids)
    assert "versions not recorded by the version that ran it" in page.text


def test_what_is_wrong_is_told_and_the_rest_is_reported(tmp_path: Path) -> None:
    write_run(tmp_path / "whole", generations=GENERATIONS[:1])
    write_run(tmp_path / "newer")
    rewrite(tmp_path / "newer" / "config.json", format=9)
    write_run(tmp_path / "damaged", generations=[])
    (tmp_path / "damaged" / "result.json").write_text("{")
    paths = [tmp_path / name for name in ("whole", "newer", "damaged", "missing")]
    written = write_report(paths, tmp_path / "report.html")
    page = Page((tmp_path / "report.html").read_text())
    assert "problems" in page.ids
    assert f"{paths[1]} is not in this report." in page.text
    assert f"{paths[3]} is not in this report." in page.text
    assert f"damaged : {paths[2] / 'result.json'}: expected a JSON object" in page.text
    assert ("time-r0" in page.ids, "Unfinished: 0 generations" in page.text) == (True, True)
    assert [path for path, _ in written.refused] == [paths[1], paths[3]]
    assert len(written.problems) == 1


def test_a_result_without_its_generations_is_reported(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", ended=result())
    (run / "generations.jsonl").write_text("{\n")
    page = report(tmp_path, run)
    assert "top-1 accuracy 75.00%" in page.text
    assert "line 1: " in page.text
    assert {"problems", "found"} <= set(page.ids)


def test_nothing_is_written_where_nothing_can_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"run_dir: .*is missing"):
        write_report([tmp_path / "no"], tmp_path / "report.html", tmp_path / "figures")
    with pytest.raises(InputError, match="at least one directory"):
        write_report([], tmp_path / "report.html")
    run = write_run(tmp_path / "run")
    with pytest.raises(InputError, match="each directory once"):
        write_report([run, f"{run}/"], tmp_path / "report.html")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_an_earlier_report_is_replaced_and_nothing_else_is(tmp_path: Path) -> None:
    run, page = write_run(tmp_path / "run", generations=[]), tmp_path / "deep" / "report.html"
    write_report([run], page)
    before = page.read_bytes()
    write_report([run], page)
    assert page.read_bytes() == before, "equal records give equal bytes"
    page.write_text("<html>mine</html>")
    with pytest.raises(InputError, match=r"out: expected a new file, or an earlier report"):
        write_report([run], page)
    assert page.read_text() == "<html>mine</html>"
    with pytest.raises(InputError, match="out: "):
        write_report([run], tmp_path / "run")
    with pytest.raises(InputError, match="out: "):
        write_report([run], page / "inside.html")


def test_names_of_a_user_are_shown_and_not_run(tmp_path: Path) -> None:
    bad = "<script>alert(1)</script>"
    names = [[bad, "c5 & 'c7'", "x"], *(list(own) for own in NAMES[1:])]
    supernet = {**config()["supernet"], "names": names}
    place = tmp_path / '<b>"run"</b> $x$ </script>'
    run = write_run(place, generations=GENERATIONS[:1], supernet=supernet)
    page = report(tmp_path, run)
    text = (tmp_path / "report.html").read_text()
    assert text.count("<script") == text.count("</script>") == 2
    assert bad not in text
    assert bad in page.text
    assert "c5 & 'c7'" in page.text
    tips = json.loads(re.findall(r'id="tips">(.*?)</script>', text, re.DOTALL)[0])
    assert any(bad in tip for each in tips.values() for tip in each)


def test_runs_of_other_tasks_and_supernets_stand_side_by_side(tmp_path: Path) -> None:
    first = write_run(tmp_path / "first", generations=GENERATIONS[:1])
    losses = [generation(0, [{"architecture": [0, 1], "error": -2.5, "loss": 2.5, "finite": True}])]
    other = write_run(
        tmp_path / "other",
        generations=losses,
        supernet={"choices": [2, 3]},
        task={"task": "per sample"},
        constraint=None,
        evaluation={**EVALUATION, "sample_rate": 1.0},
    )
    page = report(tmp_path, first, other)
    assert {"accuracy", "accuracy-1"} <= set(page.ids)
    assert "top-1 accuracy 60.00% so far 1 3 0 of 3" in page.text
    assert "error -2.5 so far 1 1 0 of 2" in page.text
    assert "limits none" in page.text
    assert "every candidate was scored on all validation samples" in page.text


def test_a_search_with_an_evaluator_of_ones_own(tmp_path: Path) -> None:
    problem = raynas.Problem(SPACE, Limits(SPACE, ()))
    strategy = raynas.EA(population=6, generations=2, top_k=3)
    raynas.search_with(Table(), problem, strategy=strategy, run_dir=tmp_path / "run")
    page = report(tmp_path, tmp_path / "run")
    assert "Ended after 2 generations (generation limit), without a result" in page.text
    assert "No costs were recorded" in page.text
    assert "scored by an evaluator of one's own, which records no samples" in page.text
    assert "run Table EA (SPOS)" in page.text
    assert {"accuracy", "time-r0", "block-r0-4"} <= set(page.ids)


def test_figures_are_written_as_files(tmp_path: Path) -> None:
    write_run(tmp_path / "run", generations=GENERATIONS[:1])
    runs, _ = read_runs([tmp_path / "run"])
    with drawing():
        written = write_figures(draw(runs), tmp_path / "figures")
    names = {"accuracy", "cost-0", "cost-1", "time-r0", "majority-r0", "choices-r0",
             "architecture-r0"}  # fmt: skip
    files = {path.name for path in (tmp_path / "figures").iterdir()}
    assert files == {f"{name}.{suffix}" for name in names for suffix in ("svg", "png")}
    assert {path.name for path in written} == files
