"""Checkpoints that do not fit, or are none: refused by the command line, and never run."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from command_runs import BRIEF_SEARCH, assert_refused
from safetensors.torch import save_file
from small_search import contents

import raynas
from raynas.supernets import save


def make_missing(path: Path) -> None:
    pass


def make_text(path: Path) -> None:
    path.write_text("no checkpoint")


def make_truncated(path: Path) -> None:
    save(raynas.supernets.spos_8x8(10), path)
    path.write_bytes(path.read_bytes()[:-100])


class Payload:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("raise SystemExit('this ran')",)


def make_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps({"state_dict": Payload()}))


def make_torch_pickle(path: Path) -> None:
    torch.save({"state_dict": Payload()}, path)


def make_other_space(path: Path) -> None:
    supernet = raynas.supernets.spos_8x8(10, stages=((32, 3, 1), (64, 4, 2)), head_channels=64)
    torch.save(supernet.state_dict(), path)


def make_other_classes(path: Path) -> None:
    save(raynas.supernets.spos_8x8(7), path)


def make_other_images(path: Path) -> None:
    save(raynas.supernets.spos_28x28(10), path)


def make_foreign_builder(path: Path) -> None:
    save_file({"a": torch.zeros(1)}, path, {"recipe": '{"builder": "os.system"}'})


def make_foreign_recipe(path: Path) -> None:
    save_file({"a": torch.zeros(1)}, path, {"recipe": '{"builder": "spos", "colour": 1}'})


def make_recipe_of_no_supernet(path: Path) -> None:
    save_file({"a": torch.zeros(1)}, path, {"recipe": '{"builder": "spos", "stages": 1}'})


UNREADABLE = "supernet: expected a readable safetensors or torch file"
CHECKPOINTS: list[tuple[Callable[[Path], None], tuple[str, ...]]] = [
    (make_missing, (UNREADABLE, "No such file")),
    (make_text, (UNREADABLE,)),
    (make_truncated, (UNREADABLE,)),
    (make_pickle, ("supernet: expected",)),
    (make_torch_pickle, ("supernet: expected tensors and plain values only", "exec to be")),
    (
        make_other_space,
        (
            "missing (blocks.4.0.branch_proj.0",
            "unexpected (blocks.3.0.branch_proj.0",
            "instead of (16,)",
        ),
    ),
    (make_foreign_builder, ("a recipe for one of ['fairnas', ", "'spos'], got os.system.")),
    (make_foreign_recipe, ("a recipe that spos can be built from, got ", "'colour'")),
    (make_recipe_of_no_supernet, ("supernet.pt: expected a recipe that spos", "got stages: ")),
    (make_other_images, ("calibration images: expected shape (1, 28, 28)", "got (1, 8, 8).")),
    (make_other_classes, ("supernet: expected 10 classes, as digits has, got 7.",)),
]


@pytest.mark.parametrize(("make", "texts"), CHECKPOINTS)
def test_checkpoints_that_cannot_be_searched(
    make: Callable[[Path], None], texts: tuple[str, ...], tmp_path: Path
) -> None:
    path = tmp_path / "supernet.pt"
    make(path)
    before = contents(tmp_path)
    assert_refused((*BRIEF_SEARCH, "--supernet", path, "--run-dir", tmp_path / "run"), *texts)
    assert contents(tmp_path) == before


@pytest.mark.parametrize(("make", "texts"), CHECKPOINTS[:-1])
def test_checkpoints_that_cannot_be_exported(
    make: Callable[[Path], None], texts: tuple[str, ...], tmp_path: Path
) -> None:
    path, blocks = tmp_path / "supernet.pt", 12 if make is make_other_images else 8
    make(path)
    before = contents(tmp_path)
    base = ("export", "--data", "digits", "--out", tmp_path / "best", "--supernet", path)
    assert_refused((*base, "--architecture", ",".join("0" * blocks)), *texts)
    assert contents(tmp_path) == before
