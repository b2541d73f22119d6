"""The numbers behind figures, against counting by hand, and figures as files."""

from __future__ import annotations

import itertools
import xml.etree.ElementTree as ET
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from written_runs import GENERATIONS, IMPORTANCE, generation, metrics, result, score, write_run

from raynas.report.drawing import drawing, inline, new_sheet, png, short, svg
from raynas.report.figures.accuracy import draw_accuracies
from raynas.report.figures.choices import draw_overview, frozen_since, held_since, percentages_of
from raynas.report.figures.costs import POINTS, draw_costs, scored_by
from raynas.report.figures.energy import draw_energies
from raynas.report.figures.importance import selections_of
from raynas.report.figures.thinning import spread
from raynas.report.figures.timing import EVALUATING, FREEZING, WAITING, bars_of, parts_of
from raynas.report.palette import LINES, MARKERS, PAGE, ROLES, SERIES, style_of, stylesheet
from raynas.report.runs import ReportedRun, read_runs


def read(directory: Path) -> ReportedRun:
    (run,), _ = read_runs([directory])
    return run


def test_percentages_are_those_of_each_generations_new_architectures(tmp_path: Path) -> None:
    shown = percentages_of(read(write_run(tmp_path)))
    assert shown.generations == (0, 1, 2), "the last one brought in none"
    third = 100.0 / 3
    np.testing.assert_allclose(shown.blocks[0], [[third] * 3, [100, 0, 0], [100, 0, 0]])
    np.testing.assert_allclose(
        shown.blocks[1], [[2 * third, third, 0], [0, 2 * third, third], [0, 50, 50]]
    )
    np.testing.assert_allclose(shown.blocks[2], [[third, 2 * third], [2 * third, third], [0, 100]])


def test_freezes_are_marked_where_they_took_hold(tmp_path: Path) -> None:
    run = read(write_run(tmp_path))
    assert [frozen_since(run, block) for block in range(3)] == [2, 3, None]
    with drawing():
        sheet = draw_overview(percentages_of(run))
    cells = next(marks.tips for marks in sheet.marks.values() if marks.tips)
    assert len(cells) == 9
    assert cells[0] == "block 1, generation 1\nc3: 33 %"
    assert cells[6] == "block 1, generation 3\nc3: 100 %, frozen since generation 3"
    assert cells[7] == "block 2, generation 3\nc5: 50 %"


def test_a_choice_is_held_behind_the_whole_prefix_alone(tmp_path: Path) -> None:
    run = read(write_run(tmp_path))
    assert [held_since(run, (0, 1, 1), block) for block in range(3)] == [2, 3, None]
    assert [held_since(run, (0, 2, 1), block) for block in range(3)] == [2, None, None]
    assert [held_since(run, (1, 1, 1), block) for block in range(3)] == [None, None, None]


def test_many_long_names_have_room(tmp_path: Path) -> None:
    names = [[f"choice of kernel {own} and width {own}" for own in range(40)] for _ in range(3)]
    supernet = {"choices": [40] * 3, "names": names}
    directory = write_run(tmp_path / ("r" * 60), supernet=supernet, generations=GENERATIONS)
    run = read(directory)
    with drawing():
        for sheet in (draw_overview(percentages_of(run)), *draw_accuracies([run])):
            png(sheet)
            box = sheet.figure.get_tightbbox()
            width, height = sheet.figure.get_size_inches()
            assert min(box.x0, box.y0) > -0.02
            assert max(box.x1 - width, box.y1 - height) < 0.02
    words = [text.get_text() for text in draw_overview(percentages_of(run)).figure.legends[0].texts]
    assert len(words) == 25
    assert words[-1] == "and 17 more"


def test_equal_choices_look_the_same_in_all_blocks(tmp_path: Path) -> None:
    assert set(percentages_of(read(write_run(tmp_path))).styles) == {"c3", "c5", "x"}


def test_parts_add_up_to_the_wall_time() -> None:
    busy = {"calibrate": 1.0, "score": 2.5, WAITING: 0.5}
    assert parts_of(metrics(0)) == busy, "seven busy seconds of two workers in four"
    assert parts_of(metrics(0, busy=None)) == {FREEZING: 1.0, EVALUATING: 3.0}
    assert parts_of({"seconds": 2.0}) == {EVALUATING: 2.0}
    alone = parts_of(metrics(0, workers=0, busy={"score": 3.0}))
    assert alone == {"score": 3.0, WAITING: 1.0}
    assert parts_of(metrics(0, seconds=3.0))[WAITING] == 0.0, "clocks differ a little"


def test_everything_scored_and_its_front_against_trying_all(tmp_path: Path) -> None:
    run = read(write_run(tmp_path, ended=result()))
    scored = scored_by(run, "top1", "flops")
    every = [
        (100 * each["top1"], each["costs"]["flops"], whole)
        for scores, whole in [
            (GENERATIONS[0]["population"], True),
            (GENERATIONS[1]["population"], True),
            (GENERATIONS[2]["rescored"] + GENERATIONS[2]["population"][:1], False),
            (result()["finalists"], True),
        ]
        for each in scores
    ]
    rows = zip(scored.values, scored.costs, scored.whole, strict=True)
    assert sorted(rows) == sorted(every)
    points = [(value, cost) for value, cost, whole in every if whole]
    best = {
        (value, cost)
        for value, cost in points
        if not any(v >= value and c <= cost and (v, c) != (value, cost) for v, c in points)
    }
    front = scored.front
    assert set(zip(scored.values[front], scored.costs[front], strict=True)) == best
    assert list(scored.costs[front]) == sorted(scored.costs[front])


def test_many_scores_are_thinned_and_their_front_is_not(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    many = [
        generation(number, [
            score(tuple(map(int, rng.integers(0, (3, 3, 2)))), round(float(rng.random()), 4))
            for _ in range(1000)
        ])
        for number in range(4)
    ]  # fmt: skip
    run = read(write_run(tmp_path, generations=many))
    with drawing():
        (sheet, count, shown), _ = draw_costs([run])
        text = inline(sheet)
    assert (count, shown) == (4000, POINTS)
    front = scored_by(run, "top1", "flops").front
    tips = [tip for marks in sheet.marks.values() for tip in marks.tips]
    assert len(tips) == POINTS + len(front)
    assert sum(tip.endswith("on the front") for tip in tips) == len(front)
    assert text.count("<use") >= len(tips)


def test_seconds_are_drawn_in_milliseconds_with_room_between_their_labels(tmp_path: Path) -> None:
    """Of the costs of two architectures of 0.4 and 0.6 ms."""
    two = [score((0, 0, 0), 0.5), score((1, 1, 1), 0.6)]
    for each, seconds in zip(two, (0.00041, 0.00063), strict=True):
        each["costs"] = {"latency": seconds, "mine": seconds}
    run = read(write_run(tmp_path, generations=[generation(0, two)]))
    with drawing():
        for sheet, _, _ in draw_costs([run]):
            axes = sheet.figure.axes[0]
            sheet.figure.canvas.draw()
            low, high = axes.get_xlim()
            labels = [
                label.get_window_extent()
                for label in axes.get_xticklabels()
                if low <= label.get_position()[0] <= high and label.get_text()
            ]
            assert len(labels) >= 2
            pairs = itertools.pairwise(labels)
            assert all(left.x1 + 4 < right.x0 for left, right in pairs)
            if "latency" in axes.get_xlabel():
                assert axes.get_xlabel() == "latency (ms)"
                assert 0.3 < low < 0.41
                tips = [tip for marks in sheet.marks.values() for tip in marks.tips]
                assert any("60.00%, 0.63 ms latency" in tip for tip in tips)


@settings(max_examples=40)
@given(count=st.integers(0, 5000), most=st.integers(1, 300))
def test_places_are_spread_from_the_first_to_the_last(count: int, most: int) -> None:
    places = spread(count, most)
    assert len(places) == min(count, most)
    assert places == sorted(set(places))
    assert all(0 <= place < count for place in places)
    if most > 1 and count:
        assert (places[0], places[-1]) == (0, count - 1)
        gaps = np.diff(places)
        assert len(gaps) == 0 or gaps.max() - gaps.min() <= 1


def test_long_runs_keep_their_first_and_last_generations(tmp_path: Path) -> None:
    long = [generation(number, [score((0, 0, 0), 0.5)]) for number in range(300)]
    run = read(write_run(tmp_path, generations=long))
    shown, bars = percentages_of(run), bars_of(run)
    assert (shown.generations[0], shown.generations[-1], len(shown.generations)) == (0, 299, 80)
    assert (bars[0].number, bars[-1].number, len(bars)) == (1, 300, 120)
    assert shown.note == " (80 of 300 generations, evenly spread)"
    assert percentages_of(read(write_run(tmp_path / "short"))).note == ""


def test_energies_are_drawn_where_they_are_known(tmp_path: Path) -> None:
    dark, measured = read(write_run(tmp_path / "a")), read(write_run(tmp_path / "b"))
    assert list(draw_energies([dark])) == []
    for number, joules in ((0, 2500.0), (2, 1250.0)):
        measured.timings[number].update(energy_j=joules, energy_source="measured")
    measured.timings[2]["energy_missing"] = "no counter on node-2"
    with drawing():
        (sheet,) = draw_energies([dark, measured])
        assert "energy (kJ)" in svg(sheet)
    (tips,) = [marks.tips for marks in sheet.marks.values() if marks.tips]
    assert tips == [
        "b\ngeneration 1\n2.5 kJ (measured) in 4.00 s",
        "b\ngeneration 3\n1.25 kJ (measured) in 4.00 s\nnot in it: no counter on node-2",
    ]


def test_selections_that_were_recorded_whole_are_found(tmp_path: Path) -> None:
    run = read(write_run(tmp_path))
    assert [number for number, _ in selections_of(run)] == [2]
    for broken in ({"ranks": []}, {"losses": []}, {"losses": [[1.0]]}, {"kept_shares": [None] * 4}):
        run.timings[2]["importance"] = {**IMPORTANCE, **broken}
        assert list(selections_of(run)) == []


def test_figures_are_files_that_others_can_read(tmp_path: Path) -> None:
    run = read(write_run(tmp_path))
    before = dict(matplotlib.rcParams)
    with drawing():
        sheet = draw_overview(percentages_of(run))
        text, picture = svg(sheet), png(sheet)
        again = draw_overview(percentages_of(run))
        assert (svg(again), png(again)) == (text, picture), "equal bytes for equal records"
    assert dict(matplotlib.rcParams) == before
    root = ET.fromstring(text)
    words = ["".join(each.itertext()) for each in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"generation", "block", "c3", "c5", "x"} <= set(words), "letters stay letters"
    assert "Date" not in text
    assert picture.startswith(b"\x89PNG")


def test_a_figure_in_a_page_has_ids_and_colours_of_its_own() -> None:
    with drawing():
        sheet = new_sheet("some-figure", 'A "quoted" <title>')
        axes = sheet.figure.add_subplot()
        look = style_of(1)
        (line,) = axes.plot([1, 2], [3, 4], color=look.colour, marker="o")
        axes.set_title('$a$ <b> id="x" & $c$ \u4e2d')
        sheet.mark(line, "r3", ["first", "second"])
        text = inline(sheet)
    root = ET.fromstring(text.replace("xlink:", ""))
    ids = [each.get("id") for each in root.iter() if each.get("id")]
    assert len(set(ids)) == len(ids) > 5
    assert all(str(each).startswith("some-figure-") for each in ids)
    links = [each.get("href") for each in root.iter("use")]
    assert {str(link)[1:] for link in links} <= set(ids)
    assert root.get("aria-label") == 'A "quoted" <title>'
    (group,) = [each for each in root.iter() if each.get("data-run")]
    assert (group.get("data-run"), group.get("id")) == ("r3", "some-figure-m0")
    assert "var(--c1)" in text
    assert "#" not in text.replace('href="#', "").replace("url(#", "").replace("&#", "")
    assert '$a$ <b> id="x" & $c$ \u4e2d' in ["".join(each.itertext()) for each in root.iter("text")]
    assert sheet.tips() == {"some-figure-m0": ["first", "second"]}


def test_names_of_runs_are_cut_where_they_do_not_differ() -> None:
    assert short("pcf-seed0") == "pcf-seed0"
    assert short("x" * 40 + "-seed1") == "…" + "x" * 23 + "-seed1"


def luminance(colour: str) -> float:
    """The relative luminance of a colour (WCAG 2)."""
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("dark", [False, True])
def test_text_can_be_read_and_series_can_be_seen(dark: bool) -> None:
    for page in (ROLES["surface"][dark], PAGE["page"][dark]):
        assert contrast(ROLES["ink"][dark], page) > 7
        assert contrast(ROLES["muted"][dark], page) > 4.5
        for index in range(SERIES):
            assert contrast(ROLES[f"c{index}"][dark], page) > (4.5 if dark else 2)
    assert contrast(PAGE["warning"][dark], PAGE["warning-page"][dark]) > 4.5


def test_series_differ_without_their_colours() -> None:
    looks = [style_of(index) for index in range(24)]
    assert len({(look.marker, look.line) for look in looks}) == 24
    assert len(set(MARKERS)) == len(MARKERS)
    assert len(set(LINES)) == len(LINES)
    assert len({light for light, _ in ROLES.values()}) == len(ROLES), "a colour has one role"
    assert "print" not in stylesheet(), "what is not for the screen is light"
