"""`write_report`: one self-contained page on one or several runs, made from their records alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, final

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from raynas._version import __version__
from raynas.errors import InputError, require
from raynas.files import file_beside, require_writable
from raynas.report import facts, spending
from raynas.report.drawing import Sheet, colour, drawing, inline, png, svg, swatch
from raynas.report.figures.accuracy import draw_accuracies
from raynas.report.figures.chain import draw_chain
from raynas.report.figures.choices import (
    Percentages,
    draw_blocks,
    draw_overview,
    draw_panels,
    percentages_of,
    styles_of,
)
from raynas.report.figures.costs import draw_costs
from raynas.report.figures.energy import draw_energies
from raynas.report.figures.importance import draw_importances
from raynas.report.figures.timing import draw_timings
from raynas.report.palette import style_of, stylesheet
from raynas.report.runs import ReportedRun, read_runs
from raynas.report.settings import settings_of

GENERATOR = "raynas report"
"""Marks a page as a report, which a later one may replace."""

TEMPLATES = files("raynas.report") / "templates"


@final
@dataclass(frozen=True)
class Report:
    """A report that was written.

    Args:
        page: its file.
        figures: files of single figures, SVG and PNG, if they were asked for.
        refused: why runs that were asked for are not in it, by their directories.
        problems: what could not be read of those that are, in sentences.
    """

    page: Path
    figures: tuple[Path, ...]
    refused: tuple[tuple[Path, InputError], ...]
    problems: tuple[str, ...]


def write_report(
    run_dirs: Sequence[Path | str], out: Path | str, figures: Path | str | None = None
) -> Report:
    """Write a report on runs: finished or not, of one supernet or of several.

    Nothing is written to the run directories, unless `out` or `figures` lie there.

    Args:
        run_dirs: of the runs.
        out: the HTML file; an earlier report is replaced.
        figures: a folder that receives each figure as SVG and PNG, too.

    Raises:
        InputError: none of the directories holds a run that can be read, one is given twice, or the
            report cannot be written where it should be.
    """
    paths, page = [Path(each) for each in run_dirs], Path(out)
    require(bool(paths), "run_dir", "at least one directory of a search", "none", "Name one.")
    twice = len({path.absolute() for path in paths}) < len(paths)
    require(not twice, "run_dir", "each directory once", " ".join(map(str, paths)), "Name it once.")
    require_replaceable(page)
    require_writable("out", page)
    if figures is not None:
        require_writable("figures", Path(figures) / "accuracy.svg")
    runs, refused = read_runs(paths)
    if not runs:
        raise refused[0][1]
    with drawing():
        drawn = draw(runs)
        written = [] if figures is None else write_figures(drawn, Path(figures))
        text = render(runs, refused, drawn)
    with file_beside(page, "out") as part:
        part.write_text(text, encoding="utf-8")
    problems = tuple(problem for run in runs for problem in run.problems)
    return Report(page, tuple(written), tuple(refused), problems)


def require_replaceable(page: Path) -> None:
    """Raise `InputError` unless a file is not there, or is an earlier report."""
    if not page.exists():
        return
    try:
        with page.open("rb") as file:
            earlier = GENERATOR.encode() in file.read(2000)
    except OSError:
        earlier = False
    remedy = "Write the report to another file, with --out."
    require(earlier, "out", "a new file, or an earlier report", page, remedy)


@final
@dataclass(frozen=True, eq=False)
class Drawn:
    """The figures of a report.

    Args:
        accuracies: over generations.
        costs: with the number of scores that each is of, and of those that it shows.
        timings: one for each run that has timings, and one of all energies, if there are any.
        overviews: of choices, one for each run.
        panels: of choices, one for each block of a run, by its key.
        importances: of samples, where they were selected, by the key of the run.
        others: that are files only: the page has them in another form.
    """

    accuracies: tuple[Sheet, ...]
    costs: tuple[tuple[Sheet, int, int], ...]
    timings: tuple[Sheet, ...]
    overviews: Mapping[str, Sheet]
    panels: Mapping[str, tuple[Sheet, ...]]
    importances: Mapping[str, tuple[Sheet, ...]]
    others: tuple[Sheet, ...]

    def on_page(self) -> Iterator[Sheet]:
        """All figures that the page shows."""
        yield from (*self.accuracies, *(sheet for sheet, _, _ in self.costs), *self.timings)
        yield from self.overviews.values()
        for each in (*self.panels.values(), *self.importances.values()):
            yield from each

    def in_files(self) -> Iterator[Sheet]:
        """All figures that are written to files; panels are parts of one figure there."""
        panels = {sheet.name for each in self.panels.values() for sheet in each}
        yield from (sheet for sheet in self.on_page() if sheet.name not in panels)
        yield from self.others


def draw(runs: Sequence[ReportedRun]) -> Drawn:
    """Draw every figure that the records of runs have something for."""
    shown: dict[str, Percentages] = {run.key: percentages_of(run) for run in runs}
    curves = {key: each for key, each in shown.items() if each.generations}
    chains = [
        draw_chain(run, found, shown[run.key])
        for run in runs
        if (found := architecture_of(run)) is not None
    ]
    return Drawn(
        tuple(draw_accuracies(runs)),
        tuple(draw_costs(runs)),
        (*draw_timings(runs), *draw_energies(runs)),
        {key: draw_overview(each) for key, each in curves.items()},
        {key: tuple(draw_panels(each)) for key, each in curves.items()},
        {run.key: tuple(draw_importances(run)) for run in runs},
        (*chains, *(draw_blocks(each) for each in curves.values())),
    )


def architecture_of(run: ReportedRun) -> list[int] | None:
    """The architecture that a run found, or its best so far; `None` if nothing was scored."""
    found = facts.members(run)
    return [int(choice) for choice in found[0].encoded.split(",")] if found else None


def write_figures(drawn: Drawn, folder: Path) -> list[Path]:
    """Write figures to a folder, each as SVG and as PNG.

    Raises:
        InputError: they cannot be written there.
    """
    written = []
    for sheet in drawn.in_files():
        for suffix, content in (("svg", svg(sheet).encode()), ("png", png(sheet))):
            path = folder / f"{sheet.name}.{suffix}"
            with file_beside(path, "figures") as part:
                part.write_bytes(content)
            written.append(path)
    return written


def render(
    runs: Sequence[ReportedRun], refused: Sequence[tuple[Path, InputError]], drawn: Drawn
) -> str:
    """The page."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string((TEMPLATES / "report.html").read_text(encoding="utf-8"))
    tips: dict[str, Any] = {}
    for sheet in drawn.on_page():
        tips.update(sheet.tips())
    return template.render(
        generator=f"{GENERATOR} {__version__}",
        css=Markup(stylesheet() + (TEMPLATES / "report.css").read_text(encoding="utf-8")),
        script=Markup((TEMPLATES / "report.js").read_text(encoding="utf-8")),
        runs=runs,
        refused=refused,
        drawn=drawn,
        facts=facts,
        spending=spending,
        settings_of=settings_of,
        figure=lambda sheet: Markup(inline(sheet)),
        swatch=lambda index: Markup(swatch(style_of(index))),
        swatch_of=lambda look: Markup(swatch(look)),
        styles=styles_of,
        colour=colour,
        tips=tips,
    )
