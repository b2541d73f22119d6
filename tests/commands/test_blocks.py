"""`--blocks`: the channels of given blocks are searched, on weights of all blocks or their own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from command_runs import BRIEF_SEARCH, DIGITS, TINY, assert_refused, done
from small_search import strict_json

from raynas.commands.blocks import read_blocks
from raynas.commands.families import from_recipe
from raynas.errors import InputError
from raynas.supernets import recipe_of, save, spos_8x8

KINDS = ["c3", "x"]
SMALL = {"stages": ((12, 1, 1), (16, 1, 2)), "head_channels": 16}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the weights of plain and of joint supernets, and architectures."""
    folder = tmp_path_factory.mktemp("channels")
    torch.manual_seed(0)
    save(spos_8x8(**SMALL), folder / "plain.st")
    save(spos_8x8(**SMALL, channels=True), folder / "joint.st")
    save(spos_8x8(**SMALL, channels=True, blocks=KINDS), folder / "fixed.st")
    (folder / "architecture.json").write_text(json.dumps({"names": KINDS, "architecture": [0, 0]}))
    (folder / "pairs.json").write_text(json.dumps({"names": [f"{kind}@0.6" for kind in KINDS]}))
    (folder / "indices.json").write_text(json.dumps({"architecture": [0, 3]}))
    (folder / "nothing.json").write_text("{}")
    (folder / "text.json").write_text("no JSON")
    return folder


def kinds_of_result(run_dir: Path) -> list[str]:
    names = strict_json(run_dir / "result.json")["names"]
    assert all("@" in name for name in names)
    return [name.partition("@")[0] for name in names]


def test_channels_of_a_found_architecture_are_searched_and_exported(
    home: Path, tmp_path: Path
) -> None:
    found = tmp_path / "found"
    pairs = ",".join(f"{kind}@1.0" for kind in KINDS)
    of_joint = (*DIGITS, "--supernet", home / "joint.st")
    done("export", *of_joint, "--architecture", pairs, "--out", found)
    fixed = (*of_joint, "--blocks", found / "architecture.json")
    run = tmp_path / "run"
    done("search", *fixed, *BRIEF_SEARCH[3:], "--run-dir", run)
    assert kinds_of_result(run) == KINDS
    done("export", *fixed, run, "--out", tmp_path / "again")
    described = strict_json(tmp_path / "again" / "architecture.json")
    assert described["names"] == strict_json(run / "result.json")["names"]
    widths = ",".join(described["names"])
    joint = done("evaluate", *of_joint, "--architectures", widths)
    alone = done("evaluate", *of_joint, "--blocks", ",".join(KINDS), "--architectures", widths)
    assert joint.split("  ")[1:] == alone.split("  ")[1:]


@pytest.mark.slow
def test_a_supernet_of_given_blocks_is_trained_alone(tmp_path: Path) -> None:
    out, kinds = tmp_path / "supernet.st", ["c3", "x", "c7", "c5", "c3", "c3", "x", "c5"]
    options = ("--supernet", "spos-channels", "--blocks", ",".join(kinds))
    done("train", *DIGITS, *options, "--epochs", 1, "--batch-size", 256, "--out", out)
    assert (recipe_of(out) or {})["blocks"] == kinds
    done(*BRIEF_SEARCH, "--supernet", out, "--run-dir", tmp_path / "run")
    assert kinds_of_result(tmp_path / "run") == kinds


def test_what_a_command_line_gives(home: Path) -> None:
    assert read_blocks(None) is None
    assert read_blocks("c3, c5 x") == ["c3", "c5", "x"]
    assert read_blocks(",".join(["c3@0.6"] * 99)) == ["c3@0.6"] * 99
    assert read_blocks(str(home / "architecture.json")) == KINDS
    assert read_blocks(str(home / "indices.json")) == [0, 3]
    pairs = read_blocks(str(home / "pairs.json"))
    with torch.device("meta"):
        supernet = spos_8x8(**SMALL, channels=True, blocks=pairs)
    assert (supernet.recipe or {})["blocks"] == KINDS


@pytest.mark.parametrize(
    ("supernet", "blocks", "text"),
    [
        ("joint.st", "c3,c3,c3", "blocks: expected 2 choices, one per block, got 3"),
        ("joint.st", "c3,e3k5", "blocks: expected for block 1 one of c3, c5"),
        ("joint.st", "missing.json", "blocks: expected a file that is there"),
        (
            "joint.st",
            "nothing.json",
            "blocks: expected the architecture.json of an export",
        ),
        (
            "joint.st",
            "text.json",
            "blocks: expected the architecture.json of an export",
        ),
        ("plain.st", "architecture.json", "whose channels are not searched"),
        ("fixed.st", "c3,c3", "of one built with blocks ['c3', 'x']"),
    ],
)
def test_blocks_that_cannot_be_fixed(
    supernet: str, blocks: str, text: str, home: Path, tmp_path: Path
) -> None:
    given = home / blocks if blocks.endswith(".json") else blocks
    options = ("--supernet", home / supernet, "--blocks", given, "--run-dir", tmp_path / "run")
    expected = f"error: {text}" if text.startswith("blocks: ") else text
    assert_refused((*BRIEF_SEARCH, *options), expected)
    assert not (tmp_path / "run").exists()


def test_blocks_of_a_damaged_recipe_are_the_files_own_fault(tmp_path: Path) -> None:
    recipe = {**(spos_8x8(**SMALL, channels=True).recipe or {}), "blocks": ["c3"]}
    with pytest.raises(InputError, match=r"^supernet .*: expected a recipe .*blocks: expected 2"):
        from_recipe(tmp_path / "joint.st", recipe)
    with pytest.raises(InputError, match=r"^supernet .*: expected a recipe .*head_channels"):
        from_recipe(tmp_path / "joint.st", {**recipe, "head_channels": 0}, KINDS)


@pytest.mark.slow
def test_a_retraining_names_the_blocks_that_the_search_fixed(home: Path, tmp_path: Path) -> None:
    of_joint = (*DIGITS, "--supernet", home / "joint.st")
    for run, more in (("widths", ("--blocks", "c3,x")), ("both", ())):
        done("search", *of_joint, *more, *BRIEF_SEARCH[3:], "--run-dir", tmp_path / run)
    cases: tuple[tuple[str, tuple[str, ...], str], ...] = (
        ("widths", (), "searched, c3,x, got none. Give --blocks c3,x, as to the search."),
        ("widths", ("--blocks", "c3,c5"), "searched, c3,x, got c3,c5. Give --blocks c3,x"),
        ("both", ("--blocks", "c3,x"), "expected none: the search fixed no blocks"),
    )
    for run, more, text in cases:
        assert_refused(("retrain", tmp_path / run, *of_joint, *more), "error: blocks: ", text)
    brief = ("--epochs", 1, "--batch-size", 256, "--device", "cpu")
    done("retrain", tmp_path / "widths", *of_joint, "--blocks", "c3,x", *brief)
    told = strict_json(tmp_path / "widths" / "retrained" / "architecture.json")
    assert told["names"] == strict_json(tmp_path / "widths" / "result.json")["names"]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ((*TINY,), "blocks: expected none beside --supernet command_runs:tiny_supernet"),
        (("--supernet", "spos"), "blocks: expected none beside --supernet spos, got ['c3']"),
        ((), "blocks: expected none beside no --supernet"),
        (("--supernet", "spos-channels"), "blocks: expected 8 choices"),
    ],
)
def test_blocks_are_for_channels(options: tuple[object, ...], text: str, tmp_path: Path) -> None:
    out = tmp_path / "net.st"
    assert_refused(("train", *DIGITS, *options, "--blocks", "c3", "--out", out), text)
    assert list(tmp_path.iterdir()) == []


def test_preset_thresholds_are_those_of_spos(home: Path) -> None:
    from raynas.commands.families import freezing_of
    from raynas.evolution.presets import SPOS

    with torch.device("meta"):
        assert freezing_of(spos_8x8(**SMALL, channels=True, blocks=KINDS)) == SPOS
