"""`raynas report`: what it writes and says, and its exit code where a run cannot be read."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_runs import assert_refused, command
from small_search import contents
from written_runs import GENERATIONS, write_run

from raynas.commands import workflow
from raynas.commands.terminal import make_console


def brief(directory: Path) -> Path:
    """A run with little to draw."""
    return write_run(directory, generations=GENERATIONS[:1], timed=False)


def test_a_report_is_written_where_it_should_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    brief(Path("first"))
    ended = command("report", "first", "--figures", "figures")
    assert (ended.code, ended.err) == (0, "")
    files = sorted(path.name for path in Path("figures").iterdir())
    assert ended.out == f"Report: report.html\nFigures: {len(files)} files in figures\n"
    assert {"accuracy.svg", "accuracy.png"} <= set(files)
    assert "Unfinished: 1 generation of at most 4 is recorded." in Path("report.html").read_text()


def test_runs_that_cannot_be_read_are_named_and_the_others_reported(tmp_path: Path) -> None:
    write_run(tmp_path / "whole", generations=[])
    write_run(tmp_path / "damaged", generations=[])
    (tmp_path / "damaged" / "metrics.jsonl").write_text("{\n")
    paths = [tmp_path / name for name in ("whole", "missing", "damaged", "gone")]
    ended = command("report", *paths, "-o", tmp_path / "page.html")
    assert ended.code == 2
    assert ended.out == f"Report: {tmp_path / 'page.html'}\n"
    warning, error = ended.err.splitlines()
    assert warning.startswith(f"warning: {paths[2] / 'metrics.jsonl'}: expected ")
    assert error.startswith("error: run_dir: expected the directory of a search")
    assert f"{paths[1]}, which is missing; and {paths[3]}, which is missing" in error
    assert (tmp_path / "page.html").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "run"),
        (("missing",), "run_dir: expected the directory of a search"),
        (("run", "run"), "run_dir: expected each directory once"),
        (("run", "--out", "mine.html"), "out: expected a new file, or an earlier report"),
        (("run", "--out", "mine.html/page.html"), "out: "),
        (("run", "--figures", "mine.html"), "figures: expected a directory that can be created"),
    ],
)
def test_bad_arguments_write_nothing(
    arguments: tuple[str, ...], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    brief(Path("run"))
    Path("mine.html").write_text("mine")
    before = contents(tmp_path)
    assert_refused(["report", *arguments], said)
    assert contents(tmp_path) == before


@pytest.mark.reports
def test_a_search_is_fine_where_its_report_cannot_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_run(tmp_path / "run", generations=[])
    (run / "report.html").write_text("mine")
    workflow.report_runs(make_console(), [run], run / "report.html")
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("warning: out: expected a new file, or an earlier report, got ")
    assert shown.err.count("\n") == 1
    assert (run / "report.html").read_text() == "mine"
