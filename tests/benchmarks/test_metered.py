"""The functions that the breakdown of a generation times are still where it looks for them."""

from __future__ import annotations

import pytest
from metered import IN_DRIVER, IN_WORKERS, METHODS

from raynas.workers import calls


@pytest.mark.parametrize(("owner", "name", "part"), [*IN_WORKERS, *IN_DRIVER])
def test_what_is_timed_is_there(owner: object, name: str, part: str) -> None:
    assert callable(getattr(owner, name))
    assert part


def test_calls_that_are_timed_are_there() -> None:
    kinds = [getattr(calls, name) for name in calls.__dict__ if name[0].isupper()]
    assert set(METHODS) <= {getattr(kind, "name", None) for kind in kinds}
