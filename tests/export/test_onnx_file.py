"""`model.onnx`: what onnxruntime computes is what the supernet computes, for any batch."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

import raynas
from raynas.errors import InputError
from raynas.export import export_architecture, export_subnet, onnx_file, plain_subnet
from raynas.export.folder import DESCRIPTION, FILES
from raynas.export.onnx_file import ONNX
from raynas.export.program import PROGRAM, WEIGHTS
from raynas.export.source import SOURCE
from raynas.inputs import Inputs
from raynas.supernets import ChainSupernet, greedynas_28x28, resnet_mixed_8x8, spos_8x8
from raynas.testing.supernets import small_data, small_supernet


def logits(file: Path, samples: np.ndarray) -> Tensor:
    """What onnxruntime computes, in a session of its own."""
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    (found,) = session.run(["outputs"], {"samples": samples})
    return torch.from_numpy(found)


SMALL = {"image_size": 8, "stem_stride": 1, "stages": ((16, 2, 1), (24, 1, 2))}

FAMILIES: dict[str, Callable[[], ChainSupernet]] = {
    "spos": lambda: spos_8x8(stages=((32, 1, 1), (64, 2, 2))),
    "channels": lambda: spos_8x8(channels=True, stages=((32, 1, 1), (64, 1, 2))),
    "se": lambda: greedynas_28x28(se=True, **SMALL),  # type: ignore[arg-type]
    "bits": resnet_mixed_8x8,
}


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_onnxruntime_gives_the_logits_of_the_supernet(family: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    supernet = FAMILIES[family]().eval()
    architecture = tuple(choices - 1 for choices in supernet.space.choices)
    subnet = plain_subnet(supernet, architecture, None)
    made = export_subnet(
        tmp_path, subnet, supernet.inputs, {"architecture": architecture}, onnx=True
    )
    assert (made.files, made.refused, made.batch) == (FILES, {}, None)
    for count in (1, 2, 5):
        samples = supernet.inputs.examples(count, seed=9)
        with torch.no_grad():
            wanted = supernet(torch.from_numpy(samples), architecture)
        torch.testing.assert_close(logits(tmp_path / ONNX, samples), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_calibrated_architecture_runs_in_onnxruntime_for_any_batch(tmp_path: Path) -> None:
    supernet, data = small_supernet(blocks=2).eval(), small_data()
    architecture = (0,) * supernet.space.blocks
    made = export_architecture(
        tmp_path, supernet, data, architecture, raynas.Evaluation(), {}, onnx=True
    )
    assert made.files == FILES
    samples = np.asarray(data.validation[0].features)
    program = torch.export.load(tmp_path / PROGRAM).module()
    for count in (1, 3, len(samples)):
        found = logits(tmp_path / ONNX, samples[:count])
        torch.testing.assert_close(found, program(torch.tensor(samples[:count])))
    model = onnx.load(tmp_path / ONNX)
    onnx.checker.check_model(model, full_check=True)
    (given,) = model.graph.input
    assert (given.name, given.type.tensor_type.shape.dim[0].dim_param) == ("samples", "batch")
    assert model.graph.output[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    # Without it asked for, that of the earlier weights is gone.
    export_architecture(tmp_path, supernet, data, architecture, raynas.Evaluation(), {})
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == sorted((DESCRIPTION, WEIGHTS, PROGRAM, SOURCE))


class Unknown(nn.Module):
    """Has an operation that ONNX knows nothing of."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.special.bessel_j0(x)


class Guarded(nn.Module):
    """Decides by values, which no program can."""

    def forward(self, x: Tensor) -> Tensor:
        return x if float(x.sum()) > 0 else -x


@pytest.mark.parametrize(
    ("kind", "missing", "reason"),
    [
        pytest.param(Unknown, {ONNX}, "bessel_j0", marks=pytest.mark.slow),
        (Guarded, {ONNX, PROGRAM}, "it is made from model.pt2"),
    ],
)
def test_what_onnx_refuses_is_told_and_all_else_is_written(
    kind: type[nn.Module], missing: set[str], reason: str, tmp_path: Path
) -> None:
    described = json.dumps({"architecture": [0]})
    (tmp_path / DESCRIPTION).write_text(described)
    (tmp_path / ONNX).write_text("of an earlier export")
    made = export_subnet(
        tmp_path, kind().eval(), Inputs((3,), "float32"), {"architecture": (0,)}, onnx=True
    )
    assert set(FILES) - set(made.files) == missing
    assert not (tmp_path / ONNX).exists()
    assert reason in made.refused[ONNX]
    told = json.loads((tmp_path / DESCRIPTION).read_text())["not_written"]
    assert told == dict(made.refused)
    with pytest.raises(InputError, match=r"but .*model\.onnx was not \("):
        made.require_complete()


def test_without_the_extra_nothing_is_calibrated_or_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_file, "PACKAGES", ("onnx", "no_such_package"))
    target = tmp_path / "best"
    with pytest.raises(InputError, match=r"^onnx: .*got no no_such_package\. Install the extra"):
        export_architecture(
            target,
            small_supernet(blocks=2),
            small_data(),
            (0, 0),
            raynas.Evaluation(),
            {},
            onnx=True,
        )
    assert not target.exists()
