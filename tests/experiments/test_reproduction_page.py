"""The page of a reproduction, from a hand-written report: every number can be checked by eye."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from reproduction.page import SECTIONS, page
from reproduction.plan import Variant, Wanted
from reproduction.rows import named
from reproduction.tables import markdown, percent, points, share

Record = dict[str, Any]
DATA = {"name": "digits", "label": "digits", "epochs": 3, "calibration": 100, "validation": 200,
        "test": 1_000}  # fmt: skip


def generation(best: float, plain: int, frozen: int = 0, cpu: float | None = None) -> Record:
    """One generation of a row."""
    return {"frozen": frozen, "samples": 200, "candidates": 4, "best": best, "refused": None,
            "seconds": 9.0, "freeze_seconds": 0.0, "energy_j": None, "known": 0, "plain": plain,
            "trie": plain // 2, "cpu_seconds": cpu}  # fmt: skip


def row(variant: Variant, seed: int, generations: list[Record], **found: Any) -> Record:
    """A finished search of two blocks."""
    counts = [[[2, 2], [1, 3]], [[4, 0], [1, 3]]]
    return {
        **named(Wanted("spos", "digits", variant, seed)),
        "top1": 0.9, "top5": 0.99, "test_top1": 0.8, "flops": 2_000_000, "costs": {},
        "evaluations": 8, "legal_architectures": 4, "finished": "generation limit", "seconds": 18.0,
        "final_seconds": 1.0, "energy_j": None, "architecture": [0, 1], "names": ["a", "b"],
        "choices": [2, 2], "generations": generations, "counts": counts,
        "first_population": [0.5, 0.6, 0.7], "first_best": [1, 1], "last_best": [0, 1], **found,
    }  # fmt: skip


EA, CF, PCF = Variant("ea"), Variant("cf", 0.7), Variant("pcf", 0.7, 3)
EVEN = [generation(0.7, 4_000, cpu=2.0), generation(0.9, 4_000, cpu=2.0)]
FROZEN = [generation(0.7, 4_000, cpu=2.0), generation(0.8, 1_000, frozen=1, cpu=0.5)]
WANTED = (
    (EA, 0), (EA, 1), (CF, 0), (CF, 1), (PCF, 0), (PCF, 1), (Variant("pcf", 0.5, 3), 0),
    (Variant("ea", timed=True), 0), (Variant("cf", 0.7, timed=True), 0),
    (Variant("pcf", 0.7, 3, "top", 0.5), 0), (Variant("pcf", 0.7, 3, "random", 0.5), 0),
    (Variant("pcf", 0.7, 3, "top", 0.5, 8), 0),
)  # fmt: skip


@pytest.fixture
def report() -> Record:
    """Two seeds of EA, both of CF-ES and one of PCF-ES, the other of which has not been run."""
    found: Record = {
        "quick": False,
        "command": "python experiments/reproduce.py",
        "machine": {"processor": "A processor", "torch": "2", "raynas": "1"},
        "data": [DATA],
        "sizes": {"population": 4, "generations": 2, "seeds": [0, 1]},
        "epochs": 3,
        "families": [{
            "name": "spos", "label": "SPOS", "in_paper": True, "choices": [2, 2],
            "limit": "FLOPs ≤ 3.1 M", "paths": "uniform", "sampled": 0.7,
            "freezing": {"cf": 0.7, "pcf": 0.7, "monitor": 3},
        }],
        "wanted": [named(Wanted("spos", "digits", variant, seed)) for variant, seed in WANTED],
        "rows": [
            row(EA, 0, EVEN, top1=0.90),
            row(EA, 1, EVEN, top1=0.92),
            row(CF, 0, FROZEN, top1=0.89),
            row(CF, 1, EVEN, top1=0.92),
            row(PCF, 0, FROZEN, top1=0.91, finished="all blocks frozen"),
            row(Variant("ea", timed=True), 0, EVEN),
            row(Variant("cf", 0.7, timed=True), 0, FROZEN),
            row(Variant("pcf", 0.7, 3, "top", 0.5), 0, EVEN, top1=0.905),
        ],
        "importance": {"spos": {"generation": 2, "frozen": 1, "candidates": 4, "samples": 200,
                                "loss_correlation": 0.812, "largest_shared": 0.75}},
    }  # fmt: skip
    return json.loads(json.dumps(found))


def section(text: str, title: str) -> list[str]:
    """The lines of one section."""
    (found,) = [part for part in text.split("\n## ") if part.startswith(title)]
    return found.splitlines()


def cells(lines: list[str], label: str) -> list[str]:
    """The cells of the row with a label."""
    (found,) = [line for line in lines if line.startswith(f"| {label} |")]
    return [cell.strip() for cell in found.strip("|").split("|")][1:]


def test_table_1_has_our_numbers_beside_the_papers(report: Record) -> None:
    lines = section(page(report), "Table 1")
    ea = cells(lines, "SPOS, EA")
    assert ea[:5] == ["—", "—", "2", "91.00 ± 1.41 %", "99.00 ± 0.00 %"]
    cf = cells(lines, "SPOS, CF-ES")
    assert cf[:4] == ["0.7", "—", "2", "90.50 ± 2.12 %"]
    assert cf[5:9] == ["-0.50 (-1.00 to +0.00)", "80.00 ± 0.00 %", "2.000", "8"]
    # One of two searches saved 3,000 of 8,000 blocks; the timed one 1.5 of 4 seconds.
    assert cf[9:] == ["19 % (0 to 38)", "19 % (0 to 38)", "38 %", "not measurable"]
    pcf = cells(lines, "SPOS, PCF-ES")
    assert pcf[1:4] == ["3", "1 of 2", "91.00 %"]
    assert pcf[9:12] == ["38 %", "38 %", "—"]
    # 13.9 of 16.7 hours are 17 % less.
    paper = cells(lines, "paper: SPOS, CF-ES")
    assert paper[:6] == ["0.7", "—", "—", "73.5 %", "90.1 %", "+0.0"]
    assert paper[7:] == ["324", "—", "—", "—", "17 % (13.9 h)", "3.8 MJ (16 % saved)"]
    told = "\n".join(lines)
    assert "saves a median of 38 % of EA's block executions at +1.00 points" in told
    assert "1 of 1 froze, first in generation 2.0 (mean) and 1.0 blocks; 0 froze more later" in told
    assert "; 1 ended before the generation limit." in told


def test_energy_is_that_of_timed_searches_where_they_measured_it(report: Record) -> None:
    # Others have scores from the ledger, and cost less than a search by itself.
    for each in report["rows"]:
        each["energy_j"] = 1_500.0 if each["variant"]["timed"] else 2.0
    assert cells(section(page(report), "Table 1"), "SPOS, EA")[-1] == "1,500 J"
    for each in report["rows"]:
        each["energy_source"] = "estimated"
    assert cells(section(page(report), "Table 1"), "SPOS, EA")[-1] == "1,500 J (estimated)"
    for each in report["rows"]:
        if each["variant"]["timed"]:
            each["energy_j"] = None
    assert cells(section(page(report), "Table 1"), "SPOS, EA")[-1] == "not measurable"
    assert cells(section(page(report), "Table 1"), "SPOS, PCF-ES")[-1] == "—"


def test_seconds_are_those_of_timed_searches_alone(report: Record) -> None:
    text = "\n".join(section(page(report), "Figure 7"))
    assert "| generation | EA: blocks | CF-ES: blocks | PCF-ES: blocks | EA: CPU s | CF-ES" in text
    assert "| 2 | 4 | 2 | 1 | 2.00 | 0.50 |" in text
    assert "By processor time, without a ledger" in text
    assert "CF-ES 1.60× as fast as EA (blocks with shared prefixes: 1.60×)" in text
    for each in report["rows"]:
        for one in each["generations"]:
            one["cpu_seconds"] = None
    text = "\n".join(section(page(report), "Figure 7"))
    assert "CF-ES 1.00× as fast as EA" in text
    assert "By seconds, without a ledger" in text


def test_settings_that_have_not_been_run_are_shown_as_missing(report: Record) -> None:
    lines = section(page(report), "Figure 9")
    assert cells(lines, "SPOS, 0.5")[:3] == ["0 of 1", "—", "—"]
    assert cells(lines, "SPOS, 0.7")[:3] == ["1 of 2", "91.00 %", "+1.00"]
    assert "Not run yet." in section(page(report), "Figure 10")
    report["rows"].append(row(Variant("pcf", 0.5, 3), 0, FROZEN, top1=0.85))
    text = "\n".join(section(page(report), "Figure 9"))
    assert "best at T = 0.7 (+1.00 points against EA), worst at T = 0.5 (-5.00)" in text


def test_choices_samples_and_accuracy_over_generations(report: Record) -> None:
    text = page(report)
    second = section(text, "Figures 2")
    assert cells(second, "1")[:3] == ["2", "50", "100"]
    assert cells(second, "1")[-1] == "2 (2 of 2)"
    assert cells(second, "2")[-1] == "1 (2 of 2)"
    # From generation 2 on, blocks 1 and 2 have 7/8 on average: of the first, members of the first
    # generation take either choice, of the second three in four take the last one's.
    distances = cells(section(text, "Figure 3"), "SPOS")
    assert distances == ["0.7", "2 of 2", "2.0", "2.0", "0.38", "0.38", "0.50", "0.00"]
    assert cells(section(text, "Figures 5"), "SPOS, 0")[:4] == ["1", "2", "CF-ES", "75"]
    assert cells(section(text, "Figure 6"), "SPOS") == ["1", "4", "200", "0.81", "75 %"]
    assert cells(section(text, "Figure 8"), "SPOS, PCF-ES")[:3] == ["1 of 2", "70.00", "80.00"]
    eleven = section(text, "Figure 11")
    assert cells(eleven, "SPOS, 0.7, 50 %") == ["1", "0", "90.50 %", "-0.50", "80.00 %"]
    assert "- **SPOS:** 0 of 1 of these searches froze blocks; the others ranked" in "\n".join(
        eleven
    )
    assert cells(section(text, "Table 3"), "SPOS, random") == ["—"]
    assert cells(section(text, "Table 4"), "50 %") == ["90.50 %", "—"]
    assert cells(section(text, "Table 4"), "paper: 50 %") == ["73.4 %", "73.1 %"]
    assert cells(section(text, "Table 2"), "paper: CIFAR-10, PCF-ES")[-2:] == ["-0.1", "44 %"]


def test_the_head_says_what_was_run_and_what_was_not(report: Record) -> None:
    text = page(report)
    assert (
        "| SPOS | 2 | 2 | FLOPs ≤ 3.1 M | 50.0 / 60.0 / 70.0 % | uniform | 0.7, 0.7 | 3 | " in text
    )
    assert "| 8 of 12 |" in text
    assert "A quick run" not in text
    assert "A quick run" in page({**report, "quick": True})
    assert "for 3 epochs of single paths" in text
    assert "One validation image is 0.50 points." in text


def test_the_page_is_a_function_of_the_report(report: Record) -> None:
    before = copy.deepcopy(report)
    assert page(report) == page(report)
    assert report == before
    empty = page({**report, "rows": [], "importance": {}})
    assert empty.count("## ") == len(SECTIONS)
    assert empty.count("Not run yet.") >= len(SECTIONS) - 4
    assert "\n\n\n" not in page(report)
    for line in page(report).splitlines():
        assert line == line.rstrip()


def test_a_page_without_spos_lacks_the_tables_that_are_of_it(report: Record) -> None:
    for each in (*report["wanted"], *report["rows"]):
        each["family"] = "ponas"
    report["families"][0].update(name="ponas", label="PONAS", in_paper=False)
    report["importance"] = {}
    text = page(report)
    for title in ("Table 4", "Table 2", "Figure 6"):
        assert "Not run yet." in section(text, title)
    assert cells(section(text, "Table 1"), "PONAS, EA")[2] == "2"
    assert "| paper:" not in text


def test_values_in_words() -> None:
    assert percent([]) == points([]) == share([]) == "—"
    assert percent([0.5]) == "50.00 %"
    assert points([0.01]) == "+1.00"
    assert points([0.01, -0.03]) == "-1.00 (-3.00 to +1.00)"
    assert share([0.1, 0.2, 0.6]) == "20 % (10 to 60)"
    assert markdown(("a", "b"), []) == []
    assert markdown(("a", "b"), [("1", "2")]) == ["| a | b |", "| --- | ---: |", "| 1 | 2 |", ""]
