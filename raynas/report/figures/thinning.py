"""Fewer points where there are more than a page can hold, or an eye can see."""

from __future__ import annotations

import numpy as np


def spread(count: int, most: int) -> list[int]:
    """At most so many of `count` places, evenly spread, the first and the last among them."""
    if count <= most:
        return list(range(count))
    return sorted({int(place) for place in np.linspace(0, count - 1, most).round()})


def thinned_note(shown: int, every: int) -> str:
    """Words behind a title where not all generations are shown; none where they are."""
    return f" ({shown} of {every} generations, evenly spread)" if shown < every else ""
