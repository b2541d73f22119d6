"""Convolutions joined with batch norm, and folded, against the layers apart."""

from __future__ import annotations

import copy
from collections import Counter

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import example, given, settings
from random_chains import Scene, build_scene, scenes
from torch import Tensor, nn

from raynas.evaluation import Evaluation
from raynas.evaluation.batch_norm import conv_norm
from raynas.evaluation.batch_norm import statistics as batch_stats
from raynas.evaluation.batch_norm.fixed import NodeNorms, prepare
from raynas.evaluation.batch_norm.joined import join_pairs, joined_pairs
from raynas.evaluation.evaluator import Evaluator
from raynas.supernets.chain import batch_norms

CPU = torch.device("cpu")
EXACT = Evaluation().full_arithmetic


class Reordered(nn.Sequential):
    """A Sequential that runs something between its convolution and its batch norm."""

    def forward(self, x: Tensor) -> Tensor:
        return self[1](self[0](x).relu())


def joined(module: nn.Module) -> nn.Module:
    copied = copy.deepcopy(module)
    join_pairs(copied)
    return copied


def fixed(module: nn.Module, *, fold: bool = False, vector: Tensor | None = None) -> nn.Module:
    """The module with its pairs joined, under given statistics or its own."""
    copied = joined(module)
    norms = NodeNorms(copied, CPU)
    own = batch_stats.read(norms.layers, CPU) if vector is None else vector
    norms.assign(prepare([norms], own)[0], fold=fold)
    return copied


def record(module: nn.Module) -> None:
    """Let its batch norms record the next batch in place of what they hold."""
    batch_stats.set_calibrating(batch_norms(module), True)
    batch_stats.start_averages(batch_norms(module))


def pairs(module: nn.Module) -> int:
    return len(joined_pairs(joined(module)))


def evaluator_of(scene: Scene, **options) -> Evaluator:
    return Evaluator(copy.deepcopy(scene.supernet), Evaluation(device="cpu", **options))


@settings(max_examples=25)
@given(scenes)
@example(build_scene(40))  # A batch norm of a single channel.
def test_a_joined_module_computes_what_it_computed_before(scene: Scene):
    supernet = scene.supernet.to(memory_format=torch.channels_last)
    x = torch.tensor(scene.validation[0].features)
    path = ()
    for depth in range(supernet.space.blocks + 2):
        module = supernet.node(path)
        with torch.no_grad():
            expected = module(x)
            assert torch.equal(fixed(module)(x), expected)
            folded = fixed(module, fold=True)(x)
            torch.testing.assert_close(folded, expected, rtol=1e-4, atol=1e-4)
        x = expected
        path = (*path, 0) if depth <= supernet.space.blocks else path


def pair_of(channels: int, affine: bool) -> nn.Sequential:
    torch.manual_seed(channels)
    pair = nn.Sequential(nn.Conv2d(3, channels, 1), nn.BatchNorm2d(channels, affine=affine)).eval()
    norm = pair[1]
    assert isinstance(norm, nn.BatchNorm2d)
    if affine:
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    norm.running_mean, norm.running_var = torch.randn(channels), torch.rand(channels) + 0.1
    return pair


@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize(
    ("channels", "images", "size"),
    [(1, 3, 5), (16, 3, 14), (16, 125, 14), (24, 32, 28), (80, 20, 14)],
)
def test_fixed_statistics_give_what_torch_gives_to_the_bit(channels, images, size, affine):
    pair = pair_of(channels, affine)
    x = torch.randn(images, 3, size, size).to(memory_format=torch.channels_last)
    with torch.no_grad():
        assert torch.equal(fixed(pair)(x), pair(x))


@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize(
    ("channels", "images", "size", "large"),
    [
        (16, 30, 14, False),
        (32, 125, 7, True),
        (16, 125, 14, True),
        (24, 60, 14, True),
        (80, 30, 14, True),
        (11, 50, 23, True),
        (300, 20, 7, True),
    ],
)
def test_the_statistics_of_a_batch_are_those_of_torch(channels, images, size, large, affine):
    pair = pair_of(channels, affine)
    own = joined(pair)
    x = 3 + 2 * torch.randn(images, 3, size, size).to(memory_format=torch.channels_last)
    assert (images * channels * size**2 >= conv_norm.LARGE) == large
    with torch.no_grad():
        outputs = []
        for module in (pair, own):
            record(module)
            outputs.append(module(x))
        found, expected = (batch_stats.read(batch_norms(module), CPU) for module in (own, pair))
        exact = pair[0](x).double().permute(1, 0, 2, 3).flatten(1)
    if not large:
        assert torch.equal(outputs[0], outputs[1])
        assert torch.equal(found, expected)
    torch.testing.assert_close(outputs[1], outputs[0], rtol=1e-4, atol=1e-4)
    truth = torch.cat([exact.mean(1), exact.var(1)])
    torch.testing.assert_close(found.double(), truth, rtol=1e-5, atol=1e-5)


def test_numbers_that_are_not_finite_stay_so_in_their_channel():
    pair = pair_of(16, affine=False)
    x = torch.randn(125, 3, 14, 14).to(memory_format=torch.channels_last)
    own = joined(pair)
    with torch.no_grad():
        own[0].weight[3] = float("nan")
        record(own)
        y = own(x)
    assert y[:, 3].isnan().all()
    assert y[:, :3].isfinite().all()
    assert y[:, 4:].isfinite().all()


@settings(max_examples=15)
@given(scenes)
def test_folded_scores_are_those_of_unfolded_ones(scene: Scene):
    candidates = scene.candidates(3)
    plain, folded = evaluator_of(scene), evaluator_of(scene, fold_batch_norm=True)
    statistics = plain.calibrate(scene.calibration[0], candidates).statistics
    shard = scene.validation[0]
    expected = plain.score(shard, candidates, statistics)
    near = folded.score(shard, candidates, statistics)
    assert np.allclose(near.losses, expected.losses, rtol=1e-3, atol=1e-3)
    exact = folded.score(shard, candidates, statistics, EXACT)
    assert np.array_equal(exact.losses, expected.losses)
    inherited = folded.score(shard, candidates, "inherited", EXACT)
    assert np.array_equal(inherited.losses, plain.score(shard, candidates, "inherited").losses)


def test_only_what_surely_runs_in_order_is_joined():
    def conv() -> nn.Conv2d:
        return nn.Conv2d(3, 4, 1)

    assert pairs(nn.Sequential(conv(), nn.BatchNorm2d(4))) == 1
    assert pairs(nn.Sequential(nn.ReLU(), nn.Sequential(conv(), nn.BatchNorm2d(4)))) == 1
    assert pairs(Reordered(conv(), nn.BatchNorm2d(4))) == 0
    assert pairs(nn.Sequential(conv(), nn.ReLU(), nn.BatchNorm2d(4))) == 0
    circular = nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular")
    assert pairs(nn.Sequential(circular, nn.BatchNorm2d(4))) == 0
    assert pairs(nn.Sequential(conv(), nn.BatchNorm2d(4, track_running_stats=False))) == 0
    watched = nn.Sequential(conv(), nn.BatchNorm2d(4))
    watched[0].register_forward_hook(lambda module, inputs, output: output + 1)
    assert pairs(watched) == 0


@pytest.mark.parametrize("fold", [False, True])
def test_a_batch_norm_after_two_convolutions_is_joined_with_both(fold):
    norm = nn.BatchNorm2d(3)
    module = nn.Sequential(nn.Conv2d(3, 3, 1), norm, nn.Conv2d(3, 3, 1), norm).eval()
    vector = torch.tensor([0.5, -1.0, 2.0, 0.3, 1.5, 4.0])
    own = fixed(module, fold=fold, vector=vector)
    norm.running_mean, norm.running_var = vector.view(2, 3)
    x = torch.randn(2, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(own(x), module(x))


class PieceByPiece(nn.Module):
    """Uses the layers of a Sequential one by one, and their parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        y = self.body[0](x) + F.conv2d(x, self.body[0].weight)
        return self.body[1:](y)


@pytest.mark.parametrize("fold", [False, True])
def test_layers_that_are_used_one_by_one_stay_what_they_are(fold):
    module = PieceByPiece().eval()
    names = list(module.state_dict())
    own = fixed(module, fold=fold)
    x = torch.randn(2, 3, 5, 5)
    with torch.no_grad():
        assert torch.equal(own(x), module(x))
        assert torch.equal(own.body(x), module.body(x)) != fold
    assert list(own.state_dict()) == names


def test_statistics_are_set_anew_for_each_use():
    pair = pair_of(8, affine=True)
    own = joined(pair)
    norms = NodeNorms(own, CPU)
    x = torch.randn(2, 3, 5, 5).to(memory_format=torch.channels_last)
    vectors = [torch.rand(16) + 0.5 for _ in range(2)]
    with torch.no_grad():
        for vector, fold in ((0, True), (1, False), (0, False), (1, True), (1, False)):
            norms.assign(prepare([norms], vectors[vector])[0], fold=fold)
            y = own(x)
            pair[1].running_mean, pair[1].running_var = vectors[vector].view(2, 8)
            torch.testing.assert_close(y, pair(x))
            assert torch.equal(y, pair(x)) or fold


@settings(max_examples=10)
@given(scenes)
@example(build_scene(630277))  # a block of one channel
def test_large_batches_are_shared_and_frozen_exactly_too(scene: Scene):
    candidates = scene.candidates(4)
    met = Counter()

    def noted(y: Tensor) -> tuple[Tensor, Tensor]:
        met.update([y.shape])
        return moments(y)

    moments = conv_norm.moments
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conv_norm, "LARGE", 1)
        patch.setattr(conv_norm, "WIDENED", 1)
        patch.setattr(conv_norm, "moments", noted)
        trie, apart = (evaluator_of(scene, prefix_sharing=s) for s in (True, False))
        calibration, shard = scene.calibration[0], scene.validation[0]
        statistics = trie.calibrate(calibration, candidates).statistics
        reached = [pair for path in statistics for pair in joined_pairs(trie.supernet.node(path))]
        assert sum(met.values()) > 0 or not reached
        alone = apart.calibrate(calibration, candidates).statistics
        assert all(np.array_equal(alone[path], statistics[path]) for path in alone)
        expected = apart.score(shard, candidates, alone)
        assert np.array_equal(trie.score(shard, candidates, statistics).losses, expected.losses)
        prefix = candidates[0][:1]
        behind, _ = trie.advance(shard, prefix, statistics)
        deeper, recorded = trie.advance(calibration, prefix, "batch")
        suffix = trie.calibrate(deeper, candidates[:1]).statistics
        joint = {**recorded.statistics, **suffix}
        assert all(np.array_equal(joint[path], statistics[path]) for path in joint)
        assert np.array_equal(
            trie.score(behind, candidates[:1], statistics).losses, expected.losses[:1]
        )
    plain = evaluator_of(scene).calibrate(calibration, candidates).statistics
    for path in plain:
        np.testing.assert_allclose(statistics[path], plain[path], rtol=1e-2, atol=1e-3)


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
    again = fast.calibrate(calibration, candidates, EXACT).statistics
    assert all(np.array_equal(again[path], statistics[path]) for path in statistics)
    exact = fast.score(shard, candidates, statistics, EXACT)
    assert np.array_equal(exact.losses, expected.losses)


@settings(max_examples=15)
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


class OtherParameters(nn.Module):
    """Runs a pair with another eps, and with another gain, than its layers have."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))

    def forward(self, x: Tensor) -> Tensor:
        norm = self.body[1]
        before, norm.eps = norm.eps, 2.0
        wide = self.body(x)
        norm.eps = before
        doubled = {"1.weight": 2 * norm.weight, "0.weight": 3 * self.body[0].weight}
        y: Tensor = torch.func.functional_call(self.body, doubled, (x,))
        return wide + y + self.body(x)


@pytest.mark.parametrize("fold", [False, True], ids=["apart", "folded"])
def test_parameters_that_a_block_exchanges_while_it_runs_are_used(fold: bool) -> None:
    torch.manual_seed(0)
    block = OtherParameters().eval()
    x = torch.randn(5, 3, 4, 4)
    with torch.no_grad():
        for tensor in (*block.parameters(), block.body[1].running_mean):
            nn.init.normal_(tensor)
        expected = block(x)
        join_pairs(block)
        norms = NodeNorms(block, torch.device("cpu"))
        norms.assign(prepare([norms], norms.own)[0], fold=fold)
        torch.testing.assert_close(block(x), expected)
