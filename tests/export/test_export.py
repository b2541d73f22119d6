"""One architecture on its own: the same logits as in the supernet, and all that torch can write."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from plain_scoring import calibrated_copy
from random_chains import CLASSES, Scene, build_scene, scenes
from safetensors.torch import load_file
from torch import Tensor, nn

from raynas.errors import InputError
from raynas.evaluation import Evaluation
from raynas.evaluation.batch_norm import statistics as batch_stats
from raynas.evaluation.evaluator import Evaluator
from raynas.export import export_subnet, plain_subnet
from raynas.export.folder import DESCRIPTION
from raynas.export.program import PROGRAM, WEIGHTS
from raynas.export.source import SOURCE
from raynas.inputs import Inputs
from raynas.space import Architecture
from raynas.supernets import ChainSupernet, Normalize, digest

IMAGES = Inputs((1, 8, 8))


def evaluator_of(scene: Scene) -> Evaluator:
    return Evaluator(copy.deepcopy(scene.supernet), Evaluation(device="cpu"))


def merged_statistics(scene: Scene, architecture: Architecture) -> dict:
    evaluator = evaluator_of(scene)
    found = [evaluator.calibrate(shard, [architecture]) for shard in scene.calibration]
    return batch_stats.merge([result.statistics for result in found])


@torch.no_grad()
def logits(subnet: nn.Module, scene: Scene) -> Tensor:
    return torch.cat([subnet(torch.tensor(shard.features)) for shard in scene.validation])


@settings(max_examples=20)
@given(scenes)
def test_a_plain_subnet_gives_the_scores_of_the_evaluator(scene: Scene):
    architecture = scene.candidates(1)[0]
    statistics = merged_statistics(scene, architecture)
    for given_statistics in (statistics, None):
        subnet = plain_subnet(scene.supernet, architecture, given_statistics)
        evaluator = evaluator_of(scene)
        found = [
            evaluator.score(shard, [architecture], given_statistics or "inherited")
            for shard in scene.validation
        ]
        labels = torch.cat([torch.tensor(shard.labels) for shard in scene.validation])
        own = logits(subnet, scene)
        losses = nn.functional.cross_entropy(own, labels, reduction="none").numpy()
        correct = np.concatenate([outcome.first[0] for outcome in found])
        assert (own.argmax(1) == labels).numpy().tolist() == correct.tolist()
        expected = np.concatenate([outcome.losses[0] for outcome in found])
        np.testing.assert_allclose(losses, expected, rtol=1e-4, atol=1e-5)


def test_a_subnet_shares_nothing_with_its_supernet():
    scene = build_scene(5)
    before = digest(scene.supernet)
    architecture = scene.candidates(1)[0]
    subnet = plain_subnet(scene.supernet, architecture, merged_statistics(scene, architecture))
    theirs = {tensor.data_ptr() for tensor in scene.supernet.state_dict().values()}
    assert all(tensor.data_ptr() not in theirs for tensor in subnet.state_dict().values())
    assert not subnet.training
    with torch.no_grad():
        for tensor in subnet.state_dict().values():
            tensor.zero_()
    assert digest(build_scene(5).supernet) == before


def test_blocks_that_share_a_module_keep_statistics_of_their_own():
    shared = nn.Sequential(nn.Conv2d(2, 2, 3, padding=1), nn.BatchNorm2d(2))
    stem = nn.Sequential(Normalize((0.5,), (0.3,)), nn.Conv2d(1, 2, 1))
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, CLASSES))
    supernet = ChainSupernet(
        stem, [[shared], [shared]], head, image_shape=(1, 6, 6), num_classes=CLASSES
    )
    made = build_scene(0)
    shards = [
        type(s).build(s.features[:, :1], s.labels, s.samples, split=s.split)
        for s in (*made.calibration, *made.validation)
    ]
    scene = Scene(supernet.eval(), shards[:1], shards[1:], 0)
    statistics = merged_statistics(scene, (0, 0))
    assert not np.allclose(statistics[(0,)], statistics[(0, 0)])
    own = logits(plain_subnet(supernet, (0, 0), statistics), scene)
    plain = logits(calibrated_copy(supernet, (0, 0), scene.calibration), scene)
    torch.testing.assert_close(own, plain)


def test_an_architecture_that_does_not_exist_is_refused():
    scene = build_scene(1)
    with pytest.raises(InputError, match="architecture"):
        plain_subnet(scene.supernet, (99,) * scene.supernet.space.blocks, None)


class Tied(nn.Module):
    """One convolution under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 1, 3, padding=1)
        self.second = nn.Conv2d(1, 1, 3, padding=1)
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x.float())).mean((2, 3))


class SharedNorm(nn.Module):
    """One batch norm under two names, statistics and all."""

    def __init__(self) -> None:
        super().__init__()
        norm = nn.BatchNorm2d(1)
        norm.running_mean.fill_(3.0)
        self.one, self.two = nn.Sequential(norm), nn.Sequential(nn.Conv2d(1, 1, 1), norm)

    def forward(self, x: Tensor) -> Tensor:
        return self.two(self.one(x.float())).mean((2, 3))


class Views(nn.Module):
    """Buffers that are rows of one tensor, one value seen eight times, and a transposed weight."""

    def __init__(self) -> None:
        super().__init__()
        rows = torch.arange(16.0).view(2, 8)
        self.register_buffer("up", rows[0])
        self.register_buffer("down", rows[1])
        self.register_buffer("wide", torch.tensor([3.0]).expand(8))
        self.encode = nn.Linear(8, 8, bias=False)
        self.decode = nn.Linear(8, 8, bias=False)
        self.decode.weight = nn.Parameter(self.encode.weight.t())

    def forward(self, x: Tensor) -> Tensor:
        y = x.float().mean((1, 2)) * self.up + self.down
        return self.decode(self.encode(y)) * self.wide


@pytest.mark.parametrize("kind", [Tied, SharedNorm, Views])
def test_tensors_that_share_memory_are_written_for_each_name(
    kind: type[nn.Module], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    subnet = kind().eval()
    made = export_subnet(tmp_path, subnet, IMAGES, {"architecture": (0,)})
    # Built anew, each name would have a tensor of its own.
    assert made.refused.keys() == {SOURCE}
    assert made.refused[SOURCE].endswith("share their memory")
    samples = torch.from_numpy(IMAGES.examples(5, seed=3))
    with torch.no_grad():
        wanted = subnet(samples)
        program = torch.export.load(tmp_path / PROGRAM).module()
        torch.testing.assert_close(program(samples), wanted)
        weights = load_file(tmp_path / WEIGHTS)
        assert weights.keys() == subnet.state_dict().keys()
        again = kind().eval()
        if kind is Views:
            # PyTorch itself does not load into a value that is seen several times.
            again.register_buffer("wide", torch.zeros(8))
        again.load_state_dict(weights)
        torch.testing.assert_close(again(samples), wanted, rtol=0, atol=0)


class Looped(nn.Module):
    """Takes batches apart in Python, so that a program fits one size."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([one.float().mean((1, 2)) for one in x])


class SqueezedLoop(nn.Module):
    """As `Looped`, but of one sample it makes no batch."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([one.float().mean((0, 1, 2)) for one in x]).squeeze()


class Alone(nn.Module):
    """Computes something else for one sample, which tracing for any number of them never sees."""

    def forward(self, x: Tensor) -> Tensor:
        y = x.float().mean((2, 3))
        return -y if x.shape[0] == 1 else y


class Guarded(nn.Module):
    """Decides by values, which no program can."""

    def forward(self, x: Tensor) -> Tensor:
        y = x.float().mean((2, 3))
        return y if float(y.sum()) > 0 else -y


class Noisy(nn.Module):
    """Gives other outputs with every call, so that no program can be seen to be right."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.dropout(x.float(), 0.5, training=True)


@pytest.mark.parametrize(
    ("kind", "batch", "text"),
    [(Looped, 1, "dynamic"), (SqueezedLoop, 2, "dynamic"), (Alone, 1, "other outputs")],
)
def test_a_program_for_one_batch_size_is_said_to_be_one(
    kind: type[nn.Module], batch: int, text: str, tmp_path: Path
) -> None:
    subnet = kind().eval()
    made = export_subnet(tmp_path, subnet, IMAGES, {"architecture": (0,)})
    assert (made.files, made.batch) == ((DESCRIPTION, WEIGHTS, PROGRAM, SOURCE), batch)
    (reason,) = made.refused.values()
    assert text in reason
    described = json.loads((tmp_path / DESCRIPTION).read_text())
    assert described["batch"] == batch
    assert described["not_written"] == {"model.pt2 for any batch size": reason}
    program = torch.export.load(tmp_path / PROGRAM).module()
    samples = torch.from_numpy(IMAGES.examples(batch, seed=3))
    torch.testing.assert_close(program(samples), subnet(samples))
    with pytest.raises(InputError, match=r"export: .*network\.py in .*for any batch size was not"):
        made.require_complete()


@pytest.mark.parametrize(("kind", "text"), [(Guarded, "guard"), (Noisy, "other outputs")])
def test_what_torch_refuses_is_told_and_the_rest_is_written(
    kind: type[nn.Module], text: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / DESCRIPTION).write_text('{"architecture": [0]}')
    (tmp_path / PROGRAM).write_text("of an earlier export, with other weights")
    made = export_subnet(tmp_path, kind().eval(), IMAGES, {"architecture": (0,)})
    assert made.files == (DESCRIPTION, WEIGHTS, SOURCE)
    assert sorted(path.name for path in tmp_path.iterdir()) == [DESCRIPTION, SOURCE, WEIGHTS]
    assert text in made.refused[PROGRAM]
    described = json.loads((tmp_path / DESCRIPTION).read_text())
    assert described["not_written"] == dict(made.refused)
    assert capfd.readouterr() == ("", "")
    with pytest.raises(InputError) as caught:
        made.require_complete()
    assert "\n" not in str(caught.value)
    assert f"{DESCRIPTION}, {WEIGHTS}, {SOURCE} in {tmp_path}, but {PROGRAM} was not" in str(
        caught.value
    )


class Extra(nn.Linear):
    """A layer whose state is more than tensors."""

    def get_extra_state(self) -> dict[str, int]:
        return {"version": 2}

    def set_extra_state(self, state: dict[str, int]) -> None: ...


def test_state_that_is_no_tensor_is_told(tmp_path: Path) -> None:
    made = export_subnet(
        tmp_path, Extra(8, 2).eval(), Inputs((8,), "float32"), {"architecture": (0,)}
    )
    assert made.refused == {
        "_extra_state": "a dict, and no tensor",
        SOURCE: "in the network, Extra extends torch's Linear",
    }
    assert load_file(tmp_path / WEIGHTS).keys() == {"weight", "bias"}
    assert (tmp_path / PROGRAM).exists()


@pytest.mark.parametrize(
    ("inputs", "subnet"),
    [
        (Inputs((8,), "float32"), nn.Linear(8, 3)),
        (Inputs((8,), "float16"), nn.Linear(8, 3).half()),
        (Inputs((6,), "int64", vocabulary=9), nn.Sequential(nn.Embedding(9, 4), nn.Flatten())),
        (Inputs((6,), "int32", vocabulary=9), nn.Sequential(nn.Embedding(9, 4), nn.Flatten())),
    ],
    ids=["float32", "float16", "int64", "int32"],
)
def test_inputs_of_any_shape_and_type(inputs: Inputs, subnet: nn.Module, tmp_path: Path) -> None:
    made = export_subnet(tmp_path, subnet.eval(), inputs, {"architecture": (0,)})
    assert (made.refused, made.batch) == ({}, None)
    described = json.loads((tmp_path / DESCRIPTION).read_text())
    assert Inputs(**described["inputs"]) == inputs
    program = torch.export.load(tmp_path / PROGRAM).module()
    samples = torch.from_numpy(inputs.examples(7, seed=2))
    with torch.no_grad():
        torch.testing.assert_close(program(samples), subnet(samples))


def test_modules_that_cannot_be_copied_are_named() -> None:
    supernet = build_scene(5).supernet
    supernet.stem.kept = torch.ones(2, requires_grad=True) * 2
    with pytest.raises(InputError, match="supernet: expected modules that can be copied"):
        plain_subnet(supernet, (0,) * supernet.space.blocks, None)
