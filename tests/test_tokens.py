"""Searches of a transformer on sequences of tokens, against plain loops."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_search import determined, history, interrupt, records, run_search
from small_tasks import (
    EA,
    PCF,
    plain_score,
)
from torch import Tensor, nn
from torch.nn import functional

import raynas
from raynas.data import SearchData
from raynas.evolution import Strategy
from raynas.shards.shard import make_shards
from raynas.supernets import ChainSupernet

TOKENS, VOCABULARY, WIDTH = 16, 20, 12


class Embed(nn.Module):
    """Token ids to vectors with their places."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(VOCABULARY, WIDTH)
        self.places = nn.Parameter(0.1 * torch.randn(TOKENS, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        return self.tokens(x) + self.places


class Attention(nn.Module):
    """Pre-normalised self-attention of some heads."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm, self.mix = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 3 * WIDTH)
        self.out = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        n, t, _ = x.shape
        parts = self.mix(self.norm(x)).view(n, t, 3, self.heads, WIDTH // self.heads)
        q, k, v = parts.permute(2, 0, 3, 1, 4)
        y = functional.scaled_dot_product_attention(q, k, v)
        return x + self.out(y.transpose(1, 2).reshape(n, t, WIDTH))


class Mlp(nn.Module):
    """A pre-normalised perceptron of some width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.LayerNorm(WIDTH), nn.Linear(WIDTH, width), nn.GELU(), nn.Linear(width, WIDTH)
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class Pool(nn.Module):
    """The class of the mean over the sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.linear = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.norm(x).mean(1))


def transformer() -> ChainSupernet:
    """Two pairs of attention and perceptron, of two or three choices each."""
    torch.manual_seed(0)
    blocks: list[list[nn.Module]] = [
        [Attention(1), Attention(3), nn.Identity()],
        [Mlp(8), Mlp(24)],
        [Attention(2), Attention(4)],
        [Mlp(6), Mlp(12), Mlp(24)],
    ]
    inputs = raynas.Inputs((TOKENS,), "int64", vocabulary=VOCABULARY)
    return ChainSupernet(Embed(), blocks, Pool(), inputs=inputs, num_classes=3)


def sentences(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Random tokens; the class is that of the third that most of them are from."""
    rng = np.random.default_rng(seed)
    tokens = rng.integers(0, VOCABULARY, (count, TOKENS))
    counts = np.stack([(tokens % 3 == kind).sum(1) for kind in range(3)], axis=1)
    return tokens, counts.argmax(1)


def token_data() -> SearchData:
    """Without a calibration split."""
    tokens, labels = sentences(200, 1)
    held_out = make_shards(*sentences(40, 2), split="test", shard_size=20)
    validation = make_shards(tokens[:90], labels[:90], split="validation", shard_size=25)
    return SearchData("tokens", 3, calibration=[], validation=validation, test=held_out)


@pytest.fixture(scope="module")
def trained() -> ChainSupernet:
    supernet = transformer()
    tokens, labels = sentences(400, 3)
    images = raynas.data.ArrayImages(tokens, labels)
    settings = raynas.TrainingSettings(
        epochs=6, batch_size=40, learning_rate=0.1, device="cpu", clip=5.0
    )
    reports = raynas.training.train(supernet, images, settings)
    assert reports[-1].loss < reports[0].loss
    return supernet


@pytest.mark.parametrize("strategy", [EA, PCF], ids=["ea", "pcf"])
def test_a_transformer_on_tokens_is_searched(
    strategy: Strategy, trained: ChainSupernet, tmp_path: Path
) -> None:
    data = token_data()
    options: dict[str, Any] = {"supernet": trained, "data": data, "strategy": strategy}
    for name, sharing in (("trie", True), ("apart", False)):
        protocol = raynas.Evaluation(device="cpu", prefix_sharing=sharing)
        result = run_search(tmp_path / name, evaluation=protocol, **options)
    assert history(tmp_path / "trie") == history(tmp_path / "apart")
    assert determined(tmp_path / "trie") == determined(tmp_path / "apart")
    assert result.record["test_top1"] == result.best.test_top1
    recorded = records(tmp_path / "trie")
    assert (recorded[-1]["frozen"] > 0) == (strategy is PCF)
    task = raynas.Classification(3)
    everything = [s for r in recorded for s in (*r["rescored"], *r["population"])]
    assert len({score["loss"] for score in everything}) > 3
    for score in everything:
        top1, loss = plain_score(trained, tuple(score["architecture"]), task, [], data.validation)
        assert score["top1"] == pytest.approx(top1)
        assert score["loss"] == pytest.approx(loss, rel=1e-4)
    assert max(score["top1"] for score in everything) > 0.4


@pytest.mark.parametrize("bits", [16, 8, 4])
def test_sequences_are_stored_at_fewer_bits(
    bits: int, trained: ChainSupernet, tmp_path: Path
) -> None:
    losses = []
    for each in (32, bits):
        protocol = raynas.Evaluation(device="cpu", bits=each)
        run_search(
            tmp_path / str(each), supernet=trained, data=token_data(), strategy=PCF,
            evaluation=protocol,
        )  # fmt: skip
        (first, *_) = (r for r in records(tmp_path / str(each)) if r["rescored"])
        losses.append(np.array([score["loss"] for score in first["rescored"]]))
    assert losses[1] == pytest.approx(losses[0], rel={16: 1e-3, 8: 0.02, 4: 0.2}[bits])
    assert (losses[1] != losses[0]).any()


def test_a_search_of_tokens_resumes(trained: ChainSupernet, tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "supernet": trained,
        "data": token_data(),
        "strategy": PCF,
        "evaluation": raynas.Evaluation(device="cpu"),
    }
    run_search(tmp_path / "whole", **options)
    interrupt(tmp_path / "run", 2, **options)
    run_search(tmp_path / "run", resume=True, **options)
    assert history(tmp_path / "run") == history(tmp_path / "whole")
