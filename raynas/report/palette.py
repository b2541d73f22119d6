"""Colours, markers and line styles: told apart by the colour blind, in print, and in the dark.

The colours are those of Okabe and Ito (2008) without yellow and black, which are lost on a white or
a dark page. Whatever has a colour of its own has a marker or a line style of its own, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

ROLES: Mapping[str, tuple[str, str]] = {
    "ink": ("#1d2733", "#e8ecf1"),
    "muted": ("#5a6775", "#a3afbc"),
    "grid": ("#dbe1e7", "#343d48"),
    "surface": ("#fefefe", "#1a2027"),
    "c0": ("#0072b2", "#5db4f0"),
    "c1": ("#d55e00", "#ff9350"),
    "c2": ("#009e73", "#2fcf9f"),
    "c3": ("#cc79a7", "#eda6cb"),
    "c4": ("#e69f00", "#f7c04a"),
    "c5": ("#56b4e9", "#a5dbfb"),
    "c6": ("#7a7f87", "#c3c9d1"),
}
"""Colours by their name, on a light and on a dark page."""

PAGE: Mapping[str, tuple[str, str]] = {
    "page": ("#f4f6f8", "#11161b"),
    "line": ("#d3dae1", "#36404b"),
    "accent": ("#005a8d", "#7cc4f5"),
    "warning": ("#8a4b00", "#ffbf69"),
    "warning-page": ("#fff4e2", "#33260f"),
}
"""Further colours of the page, which no figure uses."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p")

LINES: tuple[tuple[float, tuple[float, ...]], ...] = (
    (0, ()),
    (0, (5, 1.6)),
    (0, (1.2, 1.4)),
    (0, (5, 1.4, 1.2, 1.4)),
    (0, (8, 2)),
    (0, (3, 1.2, 1.2, 1.2, 1.2, 1.2)),
)

HATCHES = ("", "///", "\\\\\\", "xxx", "---", "|||", "+++")

SERIES = sum(name[0] == "c" for name in ROLES)


@final
@dataclass(frozen=True)
class Style:
    """The look of a series.

    Args:
        colour: on a light page, as `#rrggbb`.
        marker: of matplotlib.
        line: a line style of matplotlib: lengths of dashes and gaps behind an offset.
        hatch: of areas.
    """

    colour: str
    marker: str
    line: tuple[float, tuple[float, ...]]
    hatch: str


def light(role: str) -> str:
    """The colour of a role on a light page."""
    return ROLES[role][0]


def style_of(index: int) -> Style:
    """The look of a series by its number; beyond the colours, markers and lines go on alone."""
    return Style(
        light(f"c{index % SERIES}"),
        MARKERS[index % len(MARKERS)],
        LINES[index % len(LINES)],
        HATCHES[index % len(HATCHES)],
    )


def stylesheet() -> str:
    """The colours as CSS variables: by what the reader prefers or has chosen; light in print."""

    def declared(dark: bool) -> str:
        every = {**ROLES, **PAGE}
        return "".join(f"--{name}:{colours[dark]};" for name, colours in every.items())

    return (
        f":root{{color-scheme:light;{declared(dark=False)}}}\n"
        "@media screen and (prefers-color-scheme:dark){"
        f":root:not([data-theme=light]){{color-scheme:dark;{declared(dark=True)}}}}}\n"
        f"@media screen{{:root[data-theme=dark]{{color-scheme:dark;{declared(dark=True)}}}}}\n"
    )
