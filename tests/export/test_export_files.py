"""The files of an export: run without raynas, written together, and never over something else."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from small_search import contents
from torch import nn

from raynas.errors import InputError
from raynas.export import Exported, export_subnet, folder, plain_subnet
from raynas.export.folder import DESCRIPTION, replace_files
from raynas.export.program import PROGRAM, WEIGHTS
from raynas.export.source import SOURCE
from raynas.inputs import Inputs
from raynas.supernets import ChainSupernet, spos

IMAGES = Inputs((1, 8, 8))

ALONE = """
import sys
sys.modules["raynas"] = None
import torch
module = torch.export.load(sys.argv[1]).module()
for batch in torch.load(sys.argv[2], weights_only=True):
    print(module(batch).tolist())
"""


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> tuple[Path, nn.Module, ChainSupernet]:
    directory = tmp_path_factory.mktemp("export") / "deep" / "best"
    torch.manual_seed(0)
    supernet = spos(
        5, image_size=8, image_channels=1, stem_channels=4, stages=((8, 1, 1), (16, 2, 2)),
        head_channels=16, mean=(0.3,), std=(0.4,),
    ).eval()  # fmt: skip
    subnet = plain_subnet(supernet, (3, 0, 1), None)
    made = export_subnet(directory, subnet, IMAGES, {"architecture": (3, 0, 1), "top1": 0.5})
    assert made == Exported(directory, (DESCRIPTION, WEIGHTS, PROGRAM, SOURCE), {}, None)
    assert made.require_complete() is made
    return directory, subnet, supernet


def test_the_program_runs_without_raynas_for_any_batch(exported, tmp_path):
    directory, subnet, _ = exported
    generator = torch.Generator().manual_seed(0)
    batches = [
        torch.randint(0, 256, (size, 1, 8, 8), generator=generator, dtype=torch.uint8)
        for size in (1, 2, 7)
    ]
    torch.save(batches, tmp_path / "batches.pt")
    command = [sys.executable, "-c", ALONE, directory / "model.pt2", tmp_path / "batches.pt"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    for batch, line in zip(batches, done.stdout.splitlines(), strict=True):
        with torch.no_grad():
            torch.testing.assert_close(torch.tensor(json.loads(line)), subnet(batch))


def test_weights_and_description_are_what_was_exported(exported):
    directory, subnet, _ = exported
    weights = load_file(directory / "weights.safetensors")
    assert weights.keys() == subnet.state_dict().keys()
    assert all(torch.equal(weights[name], t) for name, t in subnet.state_dict().items())
    described = json.loads((directory / "architecture.json").read_text())
    assert described == {
        "architecture": [3, 0, 1],
        "top1": 0.5,
        "inputs": {"shape": [1, 8, 8], "dtype": "uint8", "vocabulary": None},
        "batch": "any",
        "not_written": {},
    }
    assert sorted(path.name for path in directory.iterdir()) == [
        "architecture.json",
        "model.pt2",
        "network.py",
        "weights.safetensors",
    ]


def test_another_architecture_does_not_overwrite_an_export(exported):
    directory, _, supernet = exported
    before = {path.name: path.read_bytes() for path in directory.iterdir()}
    other = plain_subnet(supernet, (0, 0, 0), None)
    with pytest.raises(InputError, match=r"\[3, 0, 1\]") as caught:
        export_subnet(directory, other, IMAGES, {"architecture": (0, 0, 0)})
    assert caught.value.argument == "export directory"
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == before


@pytest.mark.parametrize("content", ["{", "[]", '{"other": 1}'])
def test_a_directory_with_something_unreadable_is_left_alone(tmp_path, content, exported):
    (tmp_path / "architecture.json").write_text(content)
    with pytest.raises(InputError, match="unreadable"):
        export_subnet(tmp_path, exported[1], IMAGES, {"architecture": (3, 0, 1)})
    assert [path.name for path in tmp_path.iterdir()] == ["architecture.json"]


def test_a_file_in_the_place_of_the_directory_is_refused(tmp_path, exported):
    (tmp_path / "best").write_text("")
    for target in (tmp_path / "best", tmp_path / "best" / "deeper"):
        with pytest.raises(InputError) as caught:
            export_subnet(target, exported[1], IMAGES, {"architecture": (3, 0, 1)})
        assert caught.value.argument == "export directory"


@pytest.mark.parametrize("name", ["weights.safetensors", "model.pt2", "network.py", "model.onnx"])
def test_files_that_are_not_those_of_an_export_are_left_alone(
    name: str, tmp_path: Path, exported: tuple[Path, nn.Module, ChainSupernet]
) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(InputError, match=f"export directory: .*{name} without architecture.json"):
        export_subnet(tmp_path, exported[1], IMAGES, {"architecture": (3, 0, 1)})
    assert contents(tmp_path) == {name: b"mine"}


@pytest.mark.parametrize("mask", [0o022, 0o002, 0o077])
def test_files_have_the_permissions_that_the_user_gives_new_files(
    mask: int, tmp_path: Path
) -> None:
    before = os.umask(mask)
    try:
        export_subnet(tmp_path / "best", nn.Flatten(), IMAGES, {"architecture": (0,)})
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "best").iterdir()}
    assert modes == dict.fromkeys((DESCRIPTION, WEIGHTS, PROGRAM, SOURCE), 0o666 & ~mask)


def test_a_full_disk_leaves_the_earlier_export_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export_subnet(tmp_path, nn.Linear(8, 3), Inputs((8,), "float32"), {"architecture": (0,)})
    before = contents(tmp_path)
    write = folder.write_through

    def fill(path: Path, content: bytes) -> None:
        write(path, content[:9])
        if path.name == PROGRAM:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(folder, "write_through", fill)
    with pytest.raises(InputError, match=r"export directory: expected room on the disk.*No space"):
        export_subnet(tmp_path, nn.Linear(8, 3), Inputs((8,), "float32"), {"architecture": (0,)})
    assert contents(tmp_path) == before
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


def test_no_file_is_replaced_before_all_are_written(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    with pytest.raises(FileNotFoundError):
        replace_files(tmp_path, {"a": b"new", "missing/b": b"new"})
    assert contents(tmp_path) == {"a": b"old"}
