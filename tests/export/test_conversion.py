"""`raynas onnx`: an export that is there gets its `model.onnx` from its program alone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import onnxruntime
import pytest
import torch
from command_runs import assert_refused, done
from small_search import contents
from torch import Tensor, nn

from raynas.errors import InputError
from raynas.export import export_subnet
from raynas.export.conversion import add_onnx
from raynas.export.folder import DESCRIPTION
from raynas.export.onnx_file import ONNX
from raynas.export.program import PROGRAM
from raynas.inputs import Inputs

FLOATS = Inputs((4,), "float32")


class Unknown(nn.Module):
    """Has an operation that ONNX knows nothing of."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.special.bessel_j0(x)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export without `model.onnx`."""
    folder = tmp_path_factory.mktemp("export")
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.Linear(3, 2))
    export_subnet(folder, network.eval(), FLOATS, {"architecture": (0, 0), "top1": 0.5})
    return folder


def test_a_program_gets_an_onnx_file_beside_it(exported: Path, tmp_path: Path) -> None:
    folder = tmp_path / "best"
    shutil.copytree(exported, folder)
    before = contents(folder)
    assert done("onnx", folder) == f"Wrote {folder / ONNX}\n"
    after = contents(folder)
    assert after.keys() - before.keys() == {ONNX}
    assert {name: after[name] for name in before} == before
    session = onnxruntime.InferenceSession(after[ONNX], providers=["CPUExecutionProvider"])
    program = torch.export.load(folder / PROGRAM).module()
    for count in (1, 6):
        samples = FLOATS.examples(count, seed=4)
        (found,) = session.run(["outputs"], {"samples": samples})
        torch.testing.assert_close(torch.from_numpy(found), program(torch.from_numpy(samples)))
    # An export of what may be other weights removes it.
    export_subnet(folder, nn.Linear(4, 2), FLOATS, {"architecture": (0, 0)})
    assert contents(folder).keys() == before.keys()


def cut(folder: Path) -> None:
    (folder / PROGRAM).write_bytes((folder / PROGRAM).read_bytes()[:200])


def without_inputs(folder: Path) -> None:
    (folder / DESCRIPTION).write_text(json.dumps({"architecture": [0]}))


DAMAGE: dict[str, tuple[Callable[[Path], None], str]] = {
    "absent": (lambda folder: shutil.rmtree(folder), "directory: expected the directory of an"),
    "program": (lambda folder: (folder / PROGRAM).unlink(), "with its model.pt2, got"),
    "description": (lambda folder: (folder / DESCRIPTION).write_text("{"), "a JSON object, got"),
    "version": (without_inputs, "got one without inputs, batch, not_written. Export again."),
    "cut": (cut, "expected a program of torch.export, got"),
}  # fmt: skip


@pytest.mark.parametrize("case", DAMAGE)
def test_what_is_no_export_is_refused_and_left_alone(
    case: str, exported: Path, tmp_path: Path
) -> None:
    damage, text = DAMAGE[case]
    folder = tmp_path / "best"
    shutil.copytree(exported, folder)
    damage(folder)
    before = contents(folder) if folder.exists() else None
    assert_refused(("onnx", folder), text)
    assert (contents(folder) if folder.exists() else None) == before


@pytest.mark.slow
def test_a_program_that_cannot_be_converted_is_left_alone(tmp_path: Path) -> None:
    export_subnet(tmp_path, Unknown().eval(), FLOATS, {"architecture": (0,)})
    before = contents(tmp_path)
    with pytest.raises(InputError, match=r"^onnx: .*bessel_j0"):
        add_onnx(tmp_path)
    assert contents(tmp_path) == before


def test_onnx_needs_a_directory_and_its_packages(
    exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert_refused(("onnx",), "directories")
    monkeypatch.setattr("raynas.export.onnx_file.PACKAGES", ("no_such_package",))
    assert_refused(("onnx", exported), "Install the extra: pip install 'raynas[onnx]'.")
