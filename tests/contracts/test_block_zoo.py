"""Real blocks as choices: torchvision, timm, transformers and every norm layer, as they come.

Of each block: the check of a supernet lets it pass; scores, of candidates that share prefixes or
not, behind a frozen one or not, folded or not, are those of a plain PyTorch loop; and its digest
tells it from the next one. Modules that candidates cannot be made of are refused by name.
"""

from __future__ import annotations

import copy
import functools
import importlib.util
import itertools
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import torch_blocks
from block_zoo import (
    CLASSES,
    WIDTH,
    Make,
    Plain,
    chain_of,
    chain_of_choices,
    noise,
    open_evaluator,
    plain_loop,
)
from refused_blocks import REFUSED
from small_search import determined, history, records
from torch import Tensor, nn

import raynas
from raynas.data import SearchData
from raynas.errors import InputError
from raynas.score import Score
from raynas.space import Architecture
from raynas.supernets import ChainSupernet, digest
from raynas.workers.replicas import pack, unpack

ZOO: dict[str, tuple[Make, bool]] = {
    f"torch {name}": (make, tokens)
    for blocks, tokens in (
        (torch_blocks.IMAGES, False),
        (torch_blocks.NORMS, False),
        (torch_blocks.SEQUENCES, True),
    )
    for name, make in blocks.items()
}
"""Every block by name, and whether it is one on tokens."""

if importlib.util.find_spec("timm"):
    import timm_blocks

    ZOO |= {
        f"timm {name}": (make, tokens)
        for blocks, tokens in (
            (timm_blocks.IMAGES, False),
            (timm_blocks.NORMS, False),
            (timm_blocks.SEQUENCES, True),
        )
        for name, make in blocks.items()
    }

EACH = [
    name if place % 3 == 0 or "Norm" in name else pytest.param(name, marks=pytest.mark.slow)
    for place, name in enumerate(ZOO)
]
"""All norms and a third of the others; the rest are slow tests."""

MIXING = ("torch BatchNorm2d of the batch",)
"""Blocks whose output depends on the other samples of a batch, which the check says."""

ARCHITECTURES: list[Architecture] = [(0, 0), (0, 1), (1, 0), (1, 1)]


def zoo_chain(name: str) -> ChainSupernet:
    make, tokens = ZOO[name]
    return chain_of(make, tokens=tokens)


@functools.cache
def digest_of(name: str) -> str:
    return digest(zoo_chain(name))


@pytest.mark.parametrize("name", EACH)
def test_a_block_passes_the_check_and_has_a_digest_of_its_own(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    supernet = zoo_chain(name)
    with caplog.at_level(logging.WARNING, logger="raynas"):
        supernet.check()
    assert [r.args for r in caplog.records] == [("blocks[0][0]",), ("blocks[1][1]",)] * (
        name in MIXING
    )
    assert digest(copy.deepcopy(supernet)) == digest(unpack(pack(supernet))) == digest_of(name)
    names = list(ZOO)
    assert digest_of(names[names.index(name) - 1]) != digest_of(name)


def assert_plain(scores: list[Score], plain: dict[Architecture, Plain], tolerance: float) -> None:
    for score in scores:
        expected = plain[score.architecture]
        assert score.correct == expected.correct
        assert score.loss == pytest.approx(expected.loss, rel=tolerance)


@pytest.mark.parametrize("name", EACH)
def test_scores_of_a_block_are_those_of_a_plain_loop(name: str) -> None:
    supernet = zoo_chain(name)
    splits = noise(supernet, "calibration", 16, 1), noise(supernet, "validation", 14, 2)
    # Without a batch norm there is one protocol, and nothing to fold.
    normed = any(
        isinstance(module, nn.modules.batchnorm._BatchNorm) for module in supernet.modules()
    )
    for batch_norm in ("recalibrate", "inherit") if normed else ("inherit",):
        calibration = splits[0] if batch_norm == "recalibrate" else []
        plain = {a: plain_loop(supernet, a, calibration, splits[1]) for a in ARCHITECTURES}
        assert len({each.loss for each in plain.values()}) == len(ARCHITECTURES)
        for fold, tolerance in ((False, 1e-4), (True, 1e-3))[: 1 + normed]:
            protocol = {"batch_norm": batch_norm, "fold_batch_norm": fold}
            evaluator = open_evaluator(supernet, *splits, **protocol)
            scores = evaluator.score_again(ARCHITECTURES)
            assert_plain(scores, plain, tolerance)
            apart = open_evaluator(supernet, *splits, prefix_sharing=False, **protocol)
            assert apart.score_again(ARCHITECTURES) == scores
            evaluator.freeze((0,), (0, 0))
            assert evaluator.score_again(ARCHITECTURES[:2]) == scores[:2]


def test_all_norms_are_choices_of_one_block() -> None:
    makes = [
        make for name, make in torch_blocks.NORMS.items() if name != "BatchNorm2d of the batch"
    ]
    supernet = chain_of_choices([makes, makes[:2], makes[-2:]])
    supernet.check()
    splits = noise(supernet, "calibration", 16, 1), noise(supernet, "validation", 14, 2)
    candidates: list[Architecture] = [(k, k % 2, (k // 2) % 2) for k in range(len(makes))]
    plain = {a: plain_loop(supernet, a, *splits) for a in candidates}
    assert len({each.loss for each in plain.values()}) == len(makes)
    for fold, tolerance in ((False, 1e-4), (True, 1e-3)):
        evaluator = open_evaluator(supernet, *splits, fold_batch_norm=fold)
        assert_plain(evaluator.score_again(candidates), plain, tolerance)


def transformer() -> ChainSupernet:
    """Blocks of several encoder layers, one of batch norm over tokens among them."""
    names = list(torch_blocks.SEQUENCES)
    first, second = names[:4], [*names[4:7], "TransformerEncoderLayer, norm first"]
    blocks = [[torch_blocks.SEQUENCES[name] for name in chosen] for chosen in (first, second)]
    return chain_of_choices([*blocks, blocks[0][:2]], tokens=True)


@pytest.mark.parametrize("batch_norm", ["recalibrate", "inherit"])
def test_a_transformer_on_tokens_scores_alike_behind_any_prefix(batch_norm: str) -> None:
    supernet = transformer()
    supernet.check()
    splits = noise(supernet, "calibration", 16, 1), noise(supernet, "validation", 14, 2)
    candidates = list(itertools.product(*map(range, supernet.space.choices)))
    calibration = splits[0] if batch_norm == "recalibrate" else []
    plain = {a: plain_loop(supernet, a, calibration, splits[1]) for a in candidates}
    evaluator = open_evaluator(supernet, *splits, batch_norm=batch_norm)
    scores = {score.architecture: score for score in evaluator.score_again(candidates)}
    assert_plain(list(scores.values()), plain, 1e-4)
    trunk = (1, 2, 0)
    for depth in (1, 2, 3):
        evaluator.freeze(trunk[:depth], trunk)
        behind = [a for a in candidates if a[:depth] == trunk[:depth]]
        assert evaluator.score_again(behind) == [scores[a] for a in behind]


def closeness(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """How close numbers are: the negative distance, and its square."""
    errors = (outputs[:, 0] - targets).abs()
    return -errors, errors**2


REGRESSION = (
    "torch resnet.Bottleneck",
    "torch convnext.CNBlock",
    "torch GroupNorm",
    "torch RMSNorm",
)


@pytest.mark.parametrize("fold", [False, True], ids=["apart", "folded"])
@pytest.mark.parametrize("name", REGRESSION)
def test_a_regression_is_that_of_a_plain_loop(name: str, fold: bool) -> None:
    make, tokens = ZOO[name]
    supernet = chain_of(make, tokens=tokens, outputs=1)
    task = raynas.PerSample(closeness, name="closeness")
    supernet.check(task)
    splits = noise(supernet, "calibration", 16, 1), noise(supernet, "validation", 14, 2)
    evaluator = open_evaluator(supernet, *splits, task=task, fold_batch_norm=fold)
    scores = evaluator.score_again(ARCHITECTURES)
    for score in scores:
        plain = plain_loop(supernet, score.architecture, *splits, closeness)
        tolerance = 1e-3 if fold else 1e-4
        assert score.value == pytest.approx(plain.score, rel=tolerance)
        assert score.loss == pytest.approx(plain.loss, rel=tolerance)
        assert score.correct is None
    evaluator.freeze((0,), (0, 0))
    assert evaluator.score_again(ARCHITECTURES[:2]) == scores[:2]


@pytest.mark.parametrize("kind", REFUSED)
def test_what_candidates_cannot_be_made_of_is_refused_by_name(kind: str) -> None:
    make, tokens, expected = REFUSED[kind]
    supernet = chain_of_choices([[nn.Identity, make]], tokens=tokens, scrambling=False)
    with pytest.raises(InputError, match=expected) as caught:
        supernet.check()
    assert caught.value.argument == ("blocks[0]" if kind == "another shape" else "blocks[0][1]")


def test_layers_that_take_the_batch_for_the_sequence_are_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def encoder() -> nn.Module:
        return nn.TransformerEncoderLayer(WIDTH, 2, 24)

    supernet = chain_of_choices([[nn.Identity, encoder]], tokens=True)
    with caplog.at_level(logging.WARNING, logger="raynas"):
        supernet.check()
    (record,) = caplog.records
    assert record.args == ("blocks[0][1]",)
    assert "batch_first=True" in record.getMessage()


def mixed_supernet() -> ChainSupernet:
    """Diverse blocks, five at the first depth."""
    names = ["resnet.Bottleneck", "convnext.CNBlock", "swin.SwinTransformerBlock, shifted"]
    makes = [torch_blocks.IMAGES[name] for name in (*names, "regnet.ResBottleneckBlock of SE")]
    makes.append(torch_blocks.NORMS["spectral_norm"])
    return chain_of_choices([makes, *([*makes[k : k + 2]] for k in (0, 2, 3, 1, 2, 0))])


SUPERNETS = {"images": (mixed_supernet, 0.7), "tokens": (transformer, 0.5)}
"""Supernets, and the thresholds at which some of their blocks are frozen, but not all at once."""


def search(kind: str, run_dir: Path, workers: int) -> None:
    make, threshold = SUPERNETS[kind]
    supernet = make()
    splits = ("calibration", "validation", "test")
    shards = {split: noise(supernet, split, 24, seed) for seed, split in enumerate(splits)}
    raynas.search(
        supernet, SearchData("noise", CLASSES, **shards), run_dir=run_dir, workers=workers, seed=1,
        strategy=raynas.PCFES(population=6, generations=6, top_k=3, threshold=threshold, monitor=2),
        evaluation=raynas.Evaluation(device="cpu", sample_rate=0.5),
    )  # fmt: skip


@pytest.fixture
def kept_generator() -> Iterator[None]:
    """Torch's global generator as it was."""
    with torch.random.fork_rng(devices=[]):
        yield


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster", "kept_generator")
@pytest.mark.parametrize("kind", ["images", pytest.param("tokens", marks=pytest.mark.slow)])
def test_histories_on_ray_are_those_of_this_process(kind: str, tmp_path: Path) -> None:
    for workers in (0, 1, 2):
        search(kind, tmp_path / str(workers), workers)
    first = tmp_path / "0"
    assert max(record["frozen"] for record in records(first) if record["population"]) > 0
    for workers in (1, 2):
        assert history(tmp_path / str(workers)) == history(first)
        assert determined(tmp_path / str(workers)) == determined(first)
    assert np.isfinite(determined(first)["test_top1"])
