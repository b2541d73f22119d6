"""One architecture on its own: the same logits as in the supernet, in files without raynas."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
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
from raynas.space import Architecture
from raynas.supernets import ChainSupernet, Normalize, digest, spos

ALONE = """
import sys
sys.modules["raynas"] = None
import torch
module = torch.export.load(sys.argv[1]).module()
for batch in torch.load(sys.argv[2], weights_only=True):
    print(module(batch).tolist())
"""


def evaluator_of(scene: Scene) -> Evaluator:
    return Evaluator(copy.deepcopy(scene.supernet), Evaluation(device="cpu"))


def merged_statistics(scene: Scene, architecture: Architecture) -> dict:
    evaluator = evaluator_of(scene)
    found = [evaluator.calibrate(shard, [architecture]) for shard in scene.calibration]
    return batch_stats.merge([result.statistics for result in found])


@torch.no_grad()
def logits(subnet: nn.Module, scene: Scene) -> Tensor:
    return torch.cat([subnet(torch.tensor(shard.features)) for shard in scene.validation])


@settings(max_examples=20, deadline=None, derandomize=True)
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
        correct = np.concatenate([outcome.correct[0] for outcome in found])
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


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> tuple[Path, nn.Module, ChainSupernet]:
    directory = tmp_path_factory.mktemp("export") / "deep" / "best"
    torch.manual_seed(0)
    supernet = spos(
        5, image_size=8, image_channels=1, stem_channels=4, stages=((8, 1, 1), (16, 2, 2)),
        head_channels=16, mean=(0.3,), std=(0.4,),
    ).eval()  # fmt: skip
    subnet = plain_subnet(supernet, (3, 0, 1), None)
    export_subnet(directory, subnet, (1, 8, 8), {"architecture": (3, 0, 1), "top1": 0.5})
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
    assert described == {"architecture": [3, 0, 1], "top1": 0.5}
    assert sorted(path.name for path in directory.iterdir()) == [
        "architecture.json",
        "model.pt2",
        "weights.safetensors",
    ]


def test_another_architecture_does_not_overwrite_an_export(exported):
    directory, _, supernet = exported
    before = {path.name: path.read_bytes() for path in directory.iterdir()}
    other = plain_subnet(supernet, (0, 0, 0), None)
    with pytest.raises(InputError, match=r"\[3, 0, 1\]") as caught:
        export_subnet(directory, other, (1, 8, 8), {"architecture": (0, 0, 0)})
    assert caught.value.argument == "export directory"
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == before


@pytest.mark.parametrize("content", ["{", "[]", '{"other": 1}'])
def test_a_directory_with_something_unreadable_is_left_alone(tmp_path, content, exported):
    (tmp_path / "architecture.json").write_text(content)
    with pytest.raises(InputError, match="unreadable"):
        export_subnet(tmp_path, exported[1], (1, 8, 8), {"architecture": (3, 0, 1)})
    assert [path.name for path in tmp_path.iterdir()] == ["architecture.json"]


def test_a_file_in_the_place_of_the_directory_is_refused(tmp_path, exported):
    (tmp_path / "best").write_text("")
    for target in (tmp_path / "best", tmp_path / "best" / "deeper"):
        with pytest.raises(InputError) as caught:
            export_subnet(target, exported[1], (1, 8, 8), {"architecture": (3, 0, 1)})
        assert caught.value.argument == "export directory"
