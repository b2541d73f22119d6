"""Figures: drawn once, then written as SVG and PNG files, and inlined in a page."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, final
from xml.sax.saxutils import quoteattr

import matplotlib
import numpy as np
from matplotlib import style
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.markers import MarkerStyle
from matplotlib.patches import Patch

from raynas.report.palette import ROLES, Style, light

DOTS = 160
"""Dots per inch of PNG files."""

LABEL = 30
"""Characters of a run's name in a figure; the page has all of them."""

ENTRIES = 24
"""Entries of a legend, at most."""

ENTRY, LETTER, ROW = 0.6, 0.085, 0.23
"""Inches: of an entry of a legend without its text, of a letter, and of a row."""

RULES: dict[str, Any] = {
    "svg.fonttype": "none",
    # Names of choices and runs are a user's: a dollar sign in them is one.
    "text.parse_math": False,
    "font.size": 11,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 11,
    "legend.fontsize": 10,
    "legend.frameon": False,
    "xtick.labelsize": 10,
    "ytick.labelsize": 10,
    "text.color": light("ink"),
    "axes.labelcolor": light("ink"),
    "axes.titlecolor": light("ink"),
    "axes.edgecolor": light("muted"),
    "xtick.color": light("muted"),
    "ytick.color": light("muted"),
    "xtick.labelcolor": light("ink"),
    "ytick.labelcolor": light("ink"),
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": light("grid"),
    "grid.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.facecolor": "none",
    "hatch.linewidth": 0.5,
    "lines.linewidth": 1.7,
    "lines.markersize": 5,
}


@final
@dataclass(frozen=True)
class Marks:
    """Points or areas of a figure that belong to one run.

    Args:
        run: its key; empty for what belongs to none.
        tips: what each of them says when it is pointed at, in the order in which they are drawn.
    """

    run: str
    tips: Sequence[str] = ()


@final
@dataclass(frozen=True)
class Sheet:
    """A figure that is being drawn.

    Args:
        name: of its files, and the start of its ids; letters, digits and hyphens.
        title: for those who do not see it.
        figure: of matplotlib, with a canvas of its own.
        marks: by their ids.
        run: the key of the run that all of it is of; empty for several.
    """

    name: str
    title: str
    figure: Figure
    marks: dict[str, Marks] = field(default_factory=dict)
    run: str = ""

    def mark(self, artist: Artist, run: str, tips: Sequence[str] = ()) -> None:
        """Say which run an artist belongs to, and what its points or areas say."""
        name = f"m{len(self.marks)}"
        artist.set_gid(name)
        self.marks[name] = Marks(run, tips)

    def tips(self) -> dict[str, Sequence[str]]:
        """The texts of the marks, by their ids on a page."""
        return {
            f"{self.name}-{name}": marks.tips for name, marks in self.marks.items() if marks.tips
        }


def new_sheet(
    name: str,
    title: str,
    size: tuple[float, float] = (5.0, 3.3),
    run: str = "",
    *,
    fitted: bool = True,
) -> Sheet:
    """An empty figure.

    Args:
        name, title, run: as those of `Sheet`.
        size: in inches.
        fitted: whether axes are laid out by what is around them, which takes as long as all else.
    """  # fmt: skip
    figure = Figure(figsize=size, layout="constrained" if fitted else None)
    return Sheet(name, title, figure, run=run)


@contextmanager
def drawing() -> Iterator[None]:
    """Draw and write figures in here: alike on every machine, whatever its user has configured."""
    with style.context(["default", RULES]), warnings.catch_warnings():
        # Browsers have fonts for the letters that the font of the PNG files lacks.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        yield


def svg(sheet: Sheet) -> str:
    """The figure as an SVG file; equal figures give equal bytes."""
    with matplotlib.rc_context({"svg.hashsalt": sheet.name}):
        buffer = io.StringIO()
        metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        sheet.figure.savefig(buffer, format="svg", facecolor="white", metadata=metadata)
    # What has been laid out once stays so.
    sheet.figure.set_layout_engine("none")
    return buffer.getvalue()


def png(sheet: Sheet) -> bytes:
    """The figure as a PNG file; equal figures give equal bytes."""
    buffer = io.BytesIO()
    metadata = {"Software": None}
    sheet.figure.savefig(buffer, format="png", dpi=DOTS, facecolor="white", metadata=metadata)
    return buffer.getvalue()


def inline(sheet: Sheet) -> str:
    """The figure as an element of an HTML page.

    Its colours are the page's variables, its ids start with its name, and what belongs to a run
    says so in `data-run`.
    """
    text = svg(sheet)
    text = text[text.index("<svg") :]
    for unwanted in (r"<metadata>.*?</metadata>", r"<style.*?</style>", r"<!--.*?-->"):
        text = re.sub(unwanted, "", text, flags=re.DOTALL)
    tags = re.sub(r"<[^>]+>", lambda tag: restyled(tag[0], sheet), text)
    return re.sub(r"\n\s*", "\n", tags).strip()


def restyled(tag: str, sheet: Sheet) -> str:
    """One tag of a figure, for a page that holds other figures."""
    if tag.startswith("<svg"):
        box = re.search(r'viewBox="[^"]*"', tag)
        assert box is not None
        return f'<svg class="plot" role="img" aria-label={quoteattr(sheet.title)} {box[0]}>'
    found = re.search(r' id="([^"]*)"', tag)
    marks = sheet.marks.get(found[1]) if found else None
    tag = re.sub(r' id="', f' id="{sheet.name}-', tag)
    tag = re.sub(r'href="#', f'href="#{sheet.name}-', tag)
    tag = re.sub(r"url\(#", f"url(#{sheet.name}-", tag)
    # Hatches have their colour in an attribute, where not all browsers know variables.
    tag = re.sub(r' fill="(#[0-9a-f]{6})"', r' style="fill: \1"', tag)
    tag = re.sub(r"(fill|stroke|stop-color): (#[0-9a-f]{6})", themed, tag)
    if marks is not None and marks.run:
        tag = tag.replace("<g ", f'<g data-run="{marks.run}" ', 1)
    return tag


ROLE_OF = {colours[0]: name for name, colours in ROLES.items()}


def themed(found: re.Match[str]) -> str:
    """A colour as the variable of its role; white, the page's own, as that of the surface."""
    role = "surface" if found[2] == "#ffffff" else ROLE_OF.get(found[2])
    return found[0] if role is None else f"{found[1]}: var(--{role})"


def short(label: str) -> str:
    """The name of a run, short enough for a legend; its end tells runs apart."""
    return label if len(label) <= LABEL else f"…{label[-LABEL + 1 :]}"


def named(artist: Artist) -> bool:
    """Whether an artist has a label for a legend; matplotlib's own start with an underscore."""
    return not str(artist.get_label()).startswith("_")


def legend_below(sheet: Sheet, handles: Sequence[Artist]) -> None:
    """A legend below the axes, in as many rows as its texts need; the figure grows by them.

    Args:
        sheet: the figure.
        handles: artists with labels. Those that belong to a run are hidden with it.
    """
    shown = [*handles[:ENTRIES]]
    if len(handles) > ENTRIES:
        shown.append(Patch(alpha=0.0, label=f"and {len(handles) - ENTRIES} more"))
    width, height = sheet.figure.get_size_inches()
    longest = max(len(str(handle.get_label())) for handle in shown)
    columns = max(1, min(len(shown), int(width / (ENTRY + LETTER * longest))))
    rows = -(-len(shown) // columns)
    sheet.figure.set_size_inches(width, height + ROW * (rows - 1))
    legend = sheet.figure.legend(handles=shown, loc="outside lower center", ncols=columns)
    for drawn, entry, text in zip(shown, legend.legend_handles, legend.get_texts(), strict=True):
        marks = sheet.marks.get(drawn.get_gid() or "")
        if marks is not None and entry is not None:
            sheet.mark(entry, marks.run)
            sheet.mark(text, marks.run)


def swatch(look: Style) -> str:
    """The line and the marker of a series, as a small element of a page."""
    marker = MarkerStyle(look.marker)
    outline = np.asarray(marker.get_path().transformed(marker.get_transform()).to_polygons()[0])
    points = " ".join(f"{17 + 8 * x:.1f},{7 - 8 * y:.1f}" for x, y in outline)
    dashes = " ".join(f"{2 * each:g}" for each in look.line[1]) or "none"
    stroke = f"fill:none;stroke:{colour(look)};stroke-width:2.4;stroke-dasharray:{dashes}"
    return (
        f'<svg class="swatch" viewBox="0 0 34 14" aria-hidden="true">'
        f'<path d="M0 7H34" style="{stroke}"/>'
        f'<polygon points="{points}" style="fill:{colour(look)}"/></svg>'
    )


def colour(look: Style) -> str:
    """The colour of a series as the page's variable."""
    return f"var(--{ROLE_OF[look.colour]})"
