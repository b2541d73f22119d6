"""Fixed batch norm folded into convolutions, against the same modules unfolded."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from random_chains import Scene, build_scene, scenes
from torch import Tensor, nn

from raynas.evaluation import Evaluation, batchnorm
from raynas.evaluation.evaluator import Evaluator
from raynas.evaluation.folding import FoldedConv2d, FoldedModule
from raynas.supernets.chain import batch_norms


class Reordered(nn.Sequential):
    """A Sequential that runs something between its convolution and its batch norm."""

    def forward(self, x: Tensor) -> Tensor:
        return self[1](self[0](x).relu())


def folds(module: nn.Module) -> int:
    return sum(isinstance(layer, FoldedConv2d) for layer in FoldedModule(module).module.modules())


def evaluator_of(scene: Scene, **options) -> Evaluator:
    return Evaluator(copy.deepcopy(scene.supernet), Evaluation(device="cpu", **options))


@settings(max_examples=25, deadline=None)
@given(scenes)
def test_a_folded_module_computes_what_it_computed_before(scene: Scene):
    supernet = scene.supernet
    x = torch.tensor(scene.validation[0].features)
    path = ()
    for depth in range(supernet.space.blocks + 2):
        module = supernet.node(path)
        folded = FoldedModule(module)
        folded.assign(batchnorm.gather(batch_norms(module), torch.device("cpu")))
        with torch.no_grad():
            expected = module(x)
            torch.testing.assert_close(folded(x), expected, rtol=1e-4, atol=1e-4)
        x = expected
        path = (*path, 0) if depth <= supernet.space.blocks else path


@settings(max_examples=15, deadline=None)
@given(scenes)
def test_folded_scores_are_those_of_unfolded_ones(scene: Scene):
    candidates = scene.candidates(3)
    plain, folded = evaluator_of(scene), evaluator_of(scene, fold_batch_norm=True)
    statistics = plain.calibrate(scene.calibration[0], candidates).statistics
    shard = scene.validation[0]
    expected = plain.score(shard, candidates, statistics)
    near = folded.score(shard, candidates, statistics)
    assert np.allclose(near.losses, expected.losses, rtol=1e-3, atol=1e-3)
    exact = folded.score(shard, candidates, statistics, exact=True)
    assert np.array_equal(exact.losses, expected.losses)
    inherited = folded.score(shard, candidates, "inherited", exact=True)
    assert np.array_equal(inherited.losses, plain.score(shard, candidates, "inherited").losses)


def test_only_what_surely_runs_in_order_is_folded():
    def conv() -> nn.Conv2d:
        return nn.Conv2d(3, 4, 1)

    assert folds(nn.Sequential(conv(), nn.BatchNorm2d(4))) == 1
    assert folds(nn.Sequential(nn.ReLU(), nn.Sequential(conv(), nn.BatchNorm2d(4)))) == 1
    assert folds(Reordered(conv(), nn.BatchNorm2d(4))) == 0
    assert folds(nn.Sequential(conv(), nn.ReLU(), nn.BatchNorm2d(4))) == 0
    circular = nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular")
    assert folds(nn.Sequential(circular, nn.BatchNorm2d(4))) == 0
    assert folds(nn.Sequential(conv(), nn.BatchNorm2d(4, track_running_stats=False))) == 0
    watched = nn.Sequential(conv(), nn.BatchNorm2d(4))
    watched[0].register_forward_hook(lambda module, inputs, output: output + 1)
    assert folds(watched) == 0


def test_a_batch_norm_after_two_convolutions_is_folded_into_both():
    norm = nn.BatchNorm2d(3)
    module = nn.Sequential(nn.Conv2d(3, 3, 1), norm, nn.Conv2d(3, 3, 1), norm).eval()
    folded = FoldedModule(module)
    folded.assign(torch.tensor([0.5, -1.0, 2.0, 0.3, 1.5, 4.0]))
    norm.running_mean, norm.running_var = torch.tensor([[0.5, -1.0, 2.0], [0.3, 1.5, 4.0]])
    x = torch.randn(2, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(folded(x), module(x))


def test_weights_are_shared():
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    shared = {id(parameter) for parameter in module.parameters()}
    assert {id(parameter) for parameter in FoldedModule(module).module.parameters()} == shared


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_low_precision_moves_scores_a_little_and_the_exact_ones_not(precision):
    scene = build_scene(15)
    candidates = scene.candidates(4)
    plain, fast = evaluator_of(scene), evaluator_of(scene, precision=precision)
    shard, calibration = scene.validation[0], scene.calibration[0]
    statistics = plain.calibrate(calibration, candidates).statistics
    expected = plain.score(shard, candidates, statistics)
    rough = fast.score(shard, candidates, fast.calibrate(calibration, candidates).statistics)
    assert not np.array_equal(rough.losses, expected.losses)
    assert np.allclose(rough.losses, expected.losses, rtol=0.2, atol=0.2)
    again = fast.calibrate(calibration, candidates, exact=True).statistics
    assert all(np.array_equal(again[path], statistics[path]) for path in statistics)
    exact = fast.score(shard, candidates, statistics, exact=True)
    assert np.array_equal(exact.losses, expected.losses)


@settings(max_examples=15, deadline=None)
@given(scenes)
def test_in_low_precision_too_a_shard_scores_as_the_images_do(scene: Scene):
    candidates = scene.candidates(1)
    prefix = candidates[0][:1]
    fast = evaluator_of(scene, precision="bfloat16", fold_batch_norm=True)
    calibration, shard = scene.calibration[0], scene.validation[0]
    whole = fast.calibrate(calibration, candidates).statistics
    deeper, recorded = fast.advance(calibration, prefix, "batch")
    suffix = fast.calibrate(deeper, candidates).statistics
    joined = {**recorded.statistics, **suffix}
    assert all(np.array_equal(joined[path], whole[path]) for path in whole)
    behind, _ = fast.advance(shard, prefix, whole)
    expected = fast.score(shard, candidates, whole)
    assert np.array_equal(fast.score(behind, candidates, whole).losses, expected.losses)
