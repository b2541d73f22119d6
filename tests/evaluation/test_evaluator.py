"""The plain worker, one shard at a time: calibrate, score and advance against plain torch."""

from __future__ import annotations

import copy
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_scoring import calibrated_copy, score_plainly
from random_chains import CLASSES, Scene, build_scene, random_shards, scenes
from torch import Tensor, nn

from raynas.errors import InputError
from raynas.evaluation import Evaluation, outcomes
from raynas.evaluation.batch_norm import statistics as batch_stats
from raynas.evaluation.evaluator import Evaluator
from raynas.evaluation.outcomes import judge, judge_forest
from raynas.evaluation.trie import Node
from raynas.shards.shard import Shard
from raynas.shards.storage import decode, encode
from raynas.supernets import ChainSupernet, Normalize
from raynas.supernets.chain import batch_norms
from raynas.task import Classification


class Broken(nn.Module):
    """A module that spoils its input in one of several ways."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "relu":
            return nn.functional.relu(x, inplace=True)
        if self.how == "row":
            x[0] = 0
        elif self.how == "view":
            x.permute(0, 2, 3, 1).mul_(2.0)
        elif self.how == "bytes":
            x.add_(1)
        return 1 * x


def chain(*choices: nn.Module, stem: nn.Module | None = None) -> ChainSupernet:
    """Three channels through one block."""
    grey = Normalize((0.5,) * 3, (0.3,) * 3)
    first = stem or nn.Sequential(grey, nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, CLASSES))
    return ChainSupernet(first, [choices], head, image_shape=(3, 5, 4), num_classes=CLASSES).eval()


def evaluator_of(supernet: ChainSupernet, **options) -> Evaluator:
    """An evaluator of a copy, whose batch-norm buffers it may have."""
    return Evaluator(copy.deepcopy(supernet), Evaluation(device="cpu", **options))


def shard_for(supernet: ChainSupernet, split: str = "validation") -> Shard:
    return random_shards(supernet, split, 6, 6, seed=0)[0]


@settings(max_examples=25)
@given(scenes)
def test_statistics_of_a_shard_are_those_of_its_batch(scene: Scene):
    architectures = scene.candidates(3)
    evaluator = evaluator_of(scene.supernet)
    for shard in scene.calibration:
        found = evaluator.calibrate(shard, architectures).statistics
        for architecture in architectures:
            subnet = calibrated_copy(scene.supernet, architecture, [shard])
            paths = [(), *(architecture[: k + 1] for k in range(len(architecture)))]
            for path, module in zip([*paths, (*architecture, 0)], subnet, strict=True):
                expected = batch_stats.read(batch_norms(module), torch.device("cpu")).numpy()
                np.testing.assert_allclose(found[path], expected, rtol=1e-3, atol=1e-4)
                assert found[path].dtype == np.float32
        assert found.keys() == {
            path
            for a in architectures
            for path in [(), *(a[: k + 1] for k in range(len(a))), (*a, 0)]
        }


@settings(max_examples=25)
@given(scenes)
def test_bits_and_losses_of_a_shard_are_those_of_plain_forwards(scene: Scene):
    architectures = scene.candidates(4)
    evaluator = evaluator_of(scene.supernet)
    for shard in scene.validation:
        outcome = evaluator.score(shard, architectures, "inherited")
        for index, architecture in enumerate(architectures):
            plain = score_plainly(scene.supernet, architecture, [], [shard])
            assert np.array_equal(outcome.first[index], plain.correct)
            assert np.array_equal(outcome.values["top5"][index], plain.correct_top5)
            np.testing.assert_allclose(outcome.losses[index], plain.losses, rtol=1e-5, atol=1e-5)
        assert outcome.finite.all()
        assert outcome.losses.dtype == np.float32


@settings(max_examples=15)
@given(scenes, st.data())
def test_advanced_shards_hold_the_activations_of_the_kept_rows(scene: Scene, data):
    prefix = scene.candidates(1)[0][: data.draw(st.integers(1, scene.supernet.space.blocks))]
    evaluator = evaluator_of(scene.supernet)
    shard = scene.validation[0]
    rows = np.array(sorted(data.draw(st.sets(st.integers(0, shard.rows - 1), min_size=1))))
    weights = np.linspace(1.0, 2.0, len(rows))
    kept, count = evaluator.gather(shard, [rows], weights)
    assert count == len(rows)
    advanced, recorded = evaluator.advance(kept, prefix, "inherited")
    with torch.no_grad():
        images = torch.tensor(shard.features[rows])
        expected = scene.supernet(images, prefix, stop=len(prefix)).numpy()
    np.testing.assert_allclose(advanced.features, expected, rtol=1e-4, atol=1e-4)
    assert advanced.features.dtype == np.float32
    assert advanced.labels.tolist() == shard.labels[rows].tolist()
    assert advanced.samples.tolist() == shard.samples[rows].tolist()
    assert advanced.weights.tolist() == weights.tolist()
    assert (advanced.prefix, advanced.split) == (prefix, "validation")
    assert advanced.metadata["quantization"] == "float32"
    assert recorded.statistics == {}
    assert recorded.block_forwards == len(prefix) * len(rows)


@settings(max_examples=15)
@given(scenes, st.sampled_from([16, 8, 4]), st.sampled_from(["inherited", "batch"]), st.data())
def test_fewer_bits_store_the_same_activations(scene: Scene, bits, mode, data):
    prefix = scene.candidates(1)[0][: data.draw(st.integers(1, scene.supernet.space.blocks))]
    shard = scene.calibration[0]
    rows = np.array(sorted(data.draw(st.sets(st.integers(0, shard.rows - 1), min_size=2))))
    evaluator = evaluator_of(scene.supernet, bits=bits)
    shard, _ = evaluator.gather(shard, [rows], np.ones(len(rows)))
    exact, _ = evaluator_of(scene.supernet).advance(shard, prefix, mode)
    stored, _ = evaluator.advance(shard, prefix, mode)
    expected = encode(torch.tensor(exact.features), bits)
    assert stored.stored.quantization == expected.quantization
    assert np.array_equal(stored.features, expected.values)
    assert stored.samples.tolist() == exact.samples.tolist()
    # What is scored is what was stored.
    behind = scene.candidates(2, prefix)
    plain = decode(expected, torch.device("cpu"))
    with torch.no_grad():
        for index, architecture in enumerate(behind):
            logits = scene.supernet(plain, architecture, start=len(prefix))
            losses = nn.functional.cross_entropy(
                logits, torch.tensor(stored.labels), reduction="none"
            )
            outcome = evaluator.score(stored, behind, "inherited")
            np.testing.assert_allclose(outcome.losses[index], losses, rtol=1e-4, atol=1e-4)


def test_a_batch_is_normalised_as_it_is_recorded():
    supernet = chain(nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3, affine=False)))
    shard = shard_for(supernet, "calibration")
    evaluator = evaluator_of(supernet)
    advanced, recorded = evaluator.advance(shard, (0,), "batch")
    assert recorded.statistics.keys() == {(), (0,)}
    features = advanced.features.astype(np.float64)
    np.testing.assert_allclose(features.mean((0, 2, 3)), 0.0, atol=1e-5)
    np.testing.assert_allclose(features.var((0, 2, 3)), 1.0, rtol=1e-2)
    again = evaluator.calibrate(shard, [(0,)]).statistics
    for path, vector in recorded.statistics.items():
        assert np.array_equal(vector, again[path])


def test_activations_have_one_layout_wherever_they_come_from():
    layouts = []

    class Notes(nn.Module):
        """Notes the layout of its input, and leaves channels first."""

        def forward(self, x: Tensor) -> Tensor:
            layouts.append(x.is_contiguous(memory_format=torch.channels_last))
            return (x * 1.0).contiguous()

    supernet = chain(nn.Identity())
    deep = ChainSupernet(
        supernet.stem, [[Notes()]] * 3, supernet.head, image_shape=(3, 5, 4), num_classes=CLASSES
    )
    evaluator = Evaluator(deep.eval(), Evaluation(device="cpu"))
    shard = shard_for(supernet)
    advanced, _ = evaluator.advance(shard, (0,), "inherited")
    evaluator.score(advanced, [(0, 0, 0)], "inherited")
    evaluator.score(shard, [(0, 0, 0)], "inherited")
    assert layouts[-6:] == [True] * 6


def test_calls_do_not_depend_on_earlier_calls():
    scene = build_scene(3)
    architectures = scene.candidates(3)
    shard = scene.calibration[0]
    fresh = evaluator_of(build_scene(3).supernet)
    used = evaluator_of(scene.supernet)
    used.calibrate(scene.calibration[-1], architectures[::-1])
    used.score(scene.validation[0], architectures, "inherited")
    first, second = (e.calibrate(shard, architectures).statistics for e in (fresh, used))
    assert all(np.array_equal(first[path], second[path]) for path in first)
    inherited = [e.score(shard, architectures, "inherited").losses for e in (fresh, used)]
    assert np.array_equal(*inherited)


@pytest.mark.parametrize("how", ["relu", "row", "view"])
def test_a_choice_that_modifies_its_input_is_refused(how):
    supernet = chain(nn.Identity(), Broken(how))
    evaluator = evaluator_of(supernet)
    shard = shard_for(supernet)
    with pytest.raises(InputError, match="leave their input unchanged") as caught:
        evaluator.score(shard, [(0,), (1,)], "inherited")
    assert caught.value.argument == "blocks[0][1]"
    for refused in (
        lambda: evaluator.calibrate(shard, [(1,)]),
        lambda: evaluator.advance(shard, (1,), "inherited"),
    ):
        with pytest.raises(InputError, match="in place"):
            refused()
    assert evaluator.score(shard, [(0,)], "inherited").finite.all()


def test_a_stem_that_modifies_the_images_is_refused_and_the_shard_stays():
    supernet = chain(nn.Identity(), stem=nn.Sequential(Broken("bytes"), Normalize((0.5,), (0.3,))))
    shard = shard_for(supernet)
    before = shard.features.copy()
    with pytest.raises(InputError) as caught:
        evaluator_of(supernet).score(shard, [(0,)], "inherited")
    assert caught.value.argument == "stem"
    assert np.array_equal(shard.features, before)


def test_operations_in_place_on_what_a_module_made_itself_are_allowed():
    inner = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.ReLU(inplace=True))
    supernet = chain(inner, nn.Identity())
    outcome = evaluator_of(supernet).score(shard_for(supernet), [(0,), (1,)], "inherited")
    assert outcome.finite.all()


@pytest.mark.parametrize("architecture", [(), (0, 0), (9,), (-1,)])
def test_architectures_that_the_supernet_does_not_have_are_refused(architecture):
    supernet = chain(nn.Identity())
    evaluator = evaluator_of(supernet)
    for call in (
        lambda: evaluator.calibrate(shard_for(supernet), [(0,), architecture]),
        lambda: evaluator.score(shard_for(supernet), [(0,), architecture], "inherited"),
    ):
        with pytest.raises(InputError) as caught:
            call()
        assert caught.value.argument == "architecture"


def test_shards_serve_architectures_with_their_prefix_only():
    scene = next(s for s in map(build_scene, range(50)) if s.supernet.space.choices[0] > 1)
    architecture = (0,) * scene.supernet.space.blocks
    evaluator = evaluator_of(scene.supernet)
    advanced, _ = evaluator.advance(scene.validation[0], (0,), "inherited")
    evaluator.score(advanced, [architecture], "inherited")
    with pytest.raises(InputError, match="prefix of the shards"):
        evaluator.score(advanced, [architecture, (1, *architecture[1:])], "inherited")
    for prefix in ((0,), (1, 0), ()):
        with pytest.raises(InputError):
            evaluator.advance(advanced, prefix, "inherited")
    with pytest.raises(InputError, match="longer one"):
        evaluator.advance(scene.validation[0], (), "inherited")


def test_the_protocol_sets_the_threads_and_puts_them_back():
    counted: Counter[int] = Counter()

    class Counts(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            counted[torch.get_num_threads()] += 1
            assert not torch.is_grad_enabled()
            return x * 1.0

    supernet = chain(Counts())
    outside = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        evaluator = evaluator_of(supernet, threads=2)
        evaluator.score(shard_for(supernet), [(0,)], "inherited")
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(outside)
    assert set(counted) == {2}


@given(st.integers(2, 8), st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_judging_counts_hits_among_the_largest_logits(classes, candidates, seed):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(candidates, 6, classes, generator=generator)
    labels = torch.randint(0, classes, (6,), generator=generator)
    task = Classification(classes)
    correct, top5, losses, finite = judge(task, logits, labels)
    for place in range(candidates):
        alone = judge(task, logits[place : place + 1], labels)
        together = (correct, top5, losses, finite)
        assert all(torch.equal(a[0], t[place]) for a, t in zip(alone, together, strict=True))
        for row in range(6):
            values = logits[place, row]
            order = sorted(range(classes), key=lambda c: -float(values[c]))
            label = int(labels[row])
            assert bool(correct[place, row]) == (order[0] == label)
            assert bool(top5[place, row]) == (label in order[:5])
            share = torch.softmax(values.double(), 0)[label]
            assert float(losses[place, row]) == pytest.approx(float(-share.log()), abs=1e-5)
    assert finite.tolist() == [True] * candidates


@given(st.integers(1, 7), st.integers(1, 90))
def test_candidates_are_judged_alike_in_whatever_groups(candidates, together):
    logits = torch.randn(candidates, 6, 3, generator=torch.Generator().manual_seed(candidates))
    labels = torch.tensor([0, 1, 2, 2, 1, 0])
    # One head is that of two candidates.
    heads = [Node((index,), candidates=(index,)) for index in range(candidates)]
    heads[0] = Node((0,), candidates=(0, candidates))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outcomes, "TOGETHER", together)
        found = judge_forest(
            heads, logits[0], labels, lambda path, x: logits[path[0]], Classification(3)
        )
    expected = judge(Classification(3), torch.cat((logits, logits[:1])), labels)
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_one_logit_that_is_not_finite_is_noticed(value):
    logits = torch.zeros(2, 3, 4)
    logits[1, 1, 2] = value
    judged = judge(Classification(4), logits, torch.zeros(3, dtype=torch.int64))
    assert judged[-1].tolist() == [True, False]
