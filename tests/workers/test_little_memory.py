"""Workers that run out of memory: the search goes on, and its user hears of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from narrow_supernets import ROOM, history, narrow_scene
from random_chains import Scene, random_shards

from raynas.errors import InputError


def scored(records: list[Any]) -> list[tuple[Any, int]]:
    return [(score.architecture, score.correct) for score in records]


def test_the_search_goes_on_and_says_so_once(tmp_path: Path):
    found, halvings, said = history(narrow_scene(tmp_path, ROOM), workers=0)
    whole, none, nothing = history(narrow_scene(tmp_path / "other", 6), workers=0)
    assert scored(found) == scored(whole)
    assert [s.loss for s in found] == pytest.approx([s.loss for s in whole], rel=1e-3)
    # Five validation shards: scored, advanced, and held out.
    assert (halvings, none) == (15, 0)
    assert nothing == []
    assert len(said) == 1
    assert "out of memory" in said[0]
    assert "smaller shard_size" in said[0]


def test_calibration_shards_that_do_not_fit_are_refused(tmp_path: Path):
    scene = narrow_scene(tmp_path, ROOM)
    larger = random_shards(scene.supernet, "calibration", 20, 5, seed=1)
    with pytest.raises(InputError, match="out of memory with 5 images") as caught:
        history(Scene(scene.supernet, larger, scene.validation, 0), workers=0)
    assert caught.value.argument == "shard_size"
