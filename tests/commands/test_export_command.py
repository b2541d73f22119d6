"""`raynas export`: what a run found, all of it, or the architecture of a file; what it says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from command_runs import DIGITS, TINY, assert_refused, command, done, tiny_supernet
from small_search import contents

from raynas.costs import flops_table, params_table
from raynas.export.folder import FILES
from raynas.export.onnx_file import ONNX
from raynas.export.source import SOURCE
from raynas.score import members_of
from raynas.space import encode
from raynas.supernets import save

FEW = ("--calibration", 32, "--validation", 64, "--test", 32)
WRITTEN = {name for name in FILES if name != ONNX}


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> tuple[object, ...]:
    """The options that name a supernet that nobody trained, and few digits."""
    weights = tmp_path_factory.mktemp("weights") / "supernet.st"
    torch.manual_seed(0)
    save(tiny_supernet(), weights)
    return (*DIGITS, *FEW, *TINY, "--weights", weights)


@pytest.fixture(scope="module")
def run(own: tuple[object, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a search for one winner."""
    folder = tmp_path_factory.mktemp("home") / "run"
    brief = ("--workers", 0, "--generations", 1, "--population", 3, "--run-dir", folder)
    done("search", *own, *brief)
    return folder


def described(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "architecture.json").read_text())
    return content


def test_all_finalists_of_a_run_go_beside_its_winner(own: tuple[object, ...], run: Path) -> None:
    result = json.loads((run / "result.json").read_text())
    assert len(result["front"]) == 1
    told = done("export", run, *own, "--all")
    folders = sorted((run / "members").iterdir())
    assert told == f"Exported {len(folders)} subnets to {run / 'members'}\n"
    members = members_of(result)
    assert len(members) == len({tuple(each["architecture"]) for each in result["finalists"]}) > 1
    assert [folder.name for folder in folders] == [f"{i:02d}" for i in range(len(members))]
    assert [described(folder)["architecture"] for folder in folders] == [
        each["architecture"] for each in members
    ]
    assert members[0]["architecture"] == result["architecture"]
    values = [each["top1"] for each in members]
    assert values == sorted(values, reverse=True)
    for folder in folders:
        assert set(contents(folder)) == WRITTEN
    best = contents(run / "best")
    assert contents(folders[0])[SOURCE] == best[SOURCE]
    assert contents(folders[0])["weights.safetensors"] == best["weights.safetensors"]


@pytest.mark.slow
def test_the_architecture_of_a_file_is_retrained(
    own: tuple[object, ...], run: Path, tmp_path: Path
) -> None:
    (tmp_path / "nni.json").write_text(json.dumps({"model_0": 0, "model_1": 2, "model_2": 1}))
    brief = ("--epochs", 1, "--batch-size", 64)
    done("retrain", run, *own, *brief, "--architecture", tmp_path / "nni.json")
    assert described(run / "retrained-0-2-1")["architecture"] == [0, 2, 1]


@pytest.mark.slow
def test_onnx_on_request_beside_the_winner(own: tuple[object, ...], run: Path) -> None:
    result = json.loads((run / "result.json").read_text())
    before = contents(run / "best")
    text = encode(tuple(result["architecture"]))
    assert done("export", run, *own, "--onnx") == f"Exported {text} to {run / 'best'}\n"
    after = contents(run / "best")
    assert after.keys() - before.keys() == {ONNX}
    samples = np.arange(3 * 64, dtype=np.uint8).reshape(3, 1, 8, 8)
    session = onnxruntime.InferenceSession(after[ONNX], providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"samples": samples})
    program = torch.export.load(run / "best" / "model.pt2").module()
    torch.testing.assert_close(torch.from_numpy(found), program(torch.from_numpy(samples)))
    # An export without it removes what may be of other weights.
    done("export", run, *own)
    assert contents(run / "best").keys() == before.keys()


def test_without_the_extra_onnx_is_refused_before_anything_is_read(
    own: tuple[object, ...], run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(run / "best")
    monkeypatch.setattr("raynas.export.onnx_file.PACKAGES", ("no_such_package",))
    text = "onnx: expected the packages no_such_package, got no no_such_package. Install the extra"
    assert_refused(("export", run, *own, "--onnx"), text)
    assert_refused(("export", *own, "--architecture", "0,0,0", "--out", run, "--onnx"), text)
    assert contents(run / "best") == before


def test_the_file_of_an_architecture_stands_for_its_names(
    own: tuple[object, ...], tmp_path: Path
) -> None:
    nni = tmp_path / "nni.json"
    nni.write_text(json.dumps({"model_2": 1, "model_0": 0, "model_1": 2}))
    told = done("export", *own, "--architecture", nni, "--out", tmp_path / "best")
    assert told == f"Exported 0,2,1 to {tmp_path / 'best'}\n"
    told_of = described(tmp_path / "best")
    assert told_of["names"] == ["identity", "sequential_1", "sequential_0"]
    tables = (flops_table(tiny_supernet()), params_table(tiny_supernet()))
    costs = {table.name: table.of((0, 2, 1)) for table in tables}
    assert (told_of["costs"], told_of["flops"]) == (costs, costs["flops"])
    mmrazor = tmp_path / "subnet.yaml"
    lines = ("stage_0_block_0: identity", "stage_0_block_1: {chosen: [sequential_1]}",
             "stage_1_block_0: sequential_0")  # fmt: skip
    mmrazor.write_text("\n".join(lines))
    told = done("evaluate", *own, "--architectures", "0,2,1", nni, mmrazor, tmp_path / "best" /
                "architecture.json")  # fmt: skip
    one, *others = told.splitlines()
    assert one.startswith("0,2,1  top1 ")
    assert others == [one] * 3


@pytest.mark.parametrize("name", ["evaluate", "export", "retrain"])
def test_files_that_are_no_architecture_are_refused(
    name: str, own: tuple[object, ...], run: Path, tmp_path: Path
) -> None:
    short, absent = tmp_path / "short.json", tmp_path / "absent.yaml"
    short.write_text('{"model_0": 0}')
    base: dict[str, tuple[object, ...]] = {
        "evaluate": ("evaluate", *own, "--architectures"),
        "export": ("export", *own, "--out", tmp_path / "out", "--architecture"),
        "retrain": ("retrain", run, *own, "--out", tmp_path / "out", "--architecture"),
    }
    text = f"architecture {short}: expected the choices of 3 blocks, got 1, of NNI's architecture."
    assert_refused((*base[name], short), text)
    text = f"architecture: expected a file that is there, got {absent}."
    assert_refused((*base[name], absent), text)
    assert not (tmp_path / "out").exists()


def test_an_architecture_needs_a_place(own: tuple[object, ...]) -> None:
    assert_refused(("export", *own, "--architecture", "0,0,0"), "out: expected a directory, got")


def test_source_that_cannot_be_written_is_a_warning(
    own: tuple[object, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing(*arguments: Any) -> None:
        arguments[-1][SOURCE] = "in the stem, Own has hooks"

    monkeypatch.setattr("raynas.export.architecture.source_bytes", refusing)
    out = tmp_path / "best"
    ended = command("export", *own, "--architecture", "0,0,0", "--out", out)
    assert (ended.code, ended.out) == (0, f"Exported 0,0,0 to {out}\n")
    assert ended.err == "warning: not written: network.py (in the stem, Own has hooks)\n"
    assert set(contents(out)) == WRITTEN - {SOURCE}
    assert described(out)["not_written"] == {SOURCE: "in the stem, Own has hooks"}
