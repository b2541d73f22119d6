"""Searches of other tasks, against plain loops: regression, segmentation, sequences of tokens."""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_search import determined, history, interrupt, records, run_search
from torch import Tensor, nn
from torch.nn import functional

import raynas
from raynas.data import SearchData
from raynas.errors import InputError
from raynas.evolution import Strategy
from raynas.preparation import identity_of_task
from raynas.shards.shard import Shard, make_shards
from raynas.space import Architecture
from raynas.supernets import ChainSupernet, Normalize
from raynas.supernets.chain import batch_norms
from raynas.task import RECORDED, classification_or

SHAPE = (3, 6, 5)
PCF = raynas.PCFES(population=6, generations=6, top_k=3, threshold=0.6, monitor=2)
EA = raynas.EA(population=6, generations=2, top_k=3)


def closeness(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """How close numbers are: the negative distance, and its square."""
    errors = (outputs[:, 0] - targets).abs()
    return -errors, errors**2


def pixel_accuracy(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """The share of pixels that are right, and their mean cross-entropy."""
    right = (outputs.argmax(1) == targets).float().mean((1, 2))
    return right, functional.cross_entropy(outputs, targets, reduction="none").mean((1, 2))


def conv_choices(channels: int) -> list[nn.Module]:
    """Two convolutions and one without batch norm."""
    return [
        *(
            nn.Sequential(
                nn.Conv2d(channels, channels, k, padding=k // 2), nn.BatchNorm2d(channels)
            )
            for k in (1, 3)
        ),
        nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1), nn.Tanh()),
    ]


def image_supernet(head: nn.Module, blocks: int = 4) -> ChainSupernet:
    """Convolutions over images, without classes."""
    stem = nn.Sequential(Normalize((0.5,) * 3, (0.3,) * 3), nn.Conv2d(3, 4, 3, padding=1))
    chain = [conv_choices(4) for _ in range(blocks)]
    return ChainSupernet(stem, chain, head, image_shape=SHAPE)


def image_data(targets: str) -> SearchData:
    """Noise whose targets are numbers, or maps of three classes."""
    rng = np.random.default_rng(0)

    def split(name: str, count: int) -> list[Shard]:
        pixels = rng.integers(0, 256, (count, *SHAPE), dtype=np.uint8)
        if targets == "numbers":
            wanted = (pixels.mean((1, 2, 3)) / 25.0 - 5.0).astype(np.float32)
        else:
            wanted = (pixels[:, 0] // 86).astype(np.int64)
        return make_shards(pixels, wanted, split=name, shard_size=9)

    parts = {"calibration": split("calibration", 18), "validation": split("validation", 30)}
    return SearchData(targets, None, **parts, test=split("test", 10))


def regression() -> tuple[ChainSupernet, SearchData, raynas.PerSample]:
    torch.manual_seed(0)
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 1))
    task = raynas.PerSample(closeness, name="closeness")
    return image_supernet(head), image_data("numbers"), task


def segmentation() -> tuple[ChainSupernet, SearchData, raynas.PerSample]:
    torch.manual_seed(0)
    task = raynas.PerSample(pixel_accuracy, name="pixels")
    return image_supernet(nn.Conv2d(4, 3, 1)), image_data("maps"), task


TASKS = {"regression": regression, "segmentation": segmentation}
SEEDS = {"regression": 2, "segmentation": 0}
"""For which blocks are frozen, and not all at once."""


@torch.no_grad()
def plain_score(
    supernet: ChainSupernet,
    architecture: Architecture,
    task: raynas.Task,
    calibration: Sequence[Shard],
    validation: Sequence[Shard],
) -> tuple[float, float]:
    """The mean score and loss of one candidate that is recalibrated shard by shard."""
    subnet = copy.deepcopy(supernet.subnet(architecture)).eval()
    norms = batch_norms(subnet)
    if calibration:
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None
            norm.train()
        for shard in calibration:
            subnet(torch.tensor(shard.features))
        subnet.eval()
    scores, losses = [], []
    for shard in validation:
        outputs = subnet(torch.tensor(shard.features))
        values, loss = task.judge(outputs[None], torch.tensor(shard.targets))
        scores.append(values[task.objectives[0]][0].double())
        losses.append(loss[0].double())
    return float(torch.cat(scores).mean()), float(torch.cat(losses).mean())


def scored(run_dir: Path) -> dict[Architecture, dict[str, Any]]:
    """The recorded scores on all samples, before any freeze."""
    return {
        tuple(score["architecture"]): score
        for record in records(run_dir)
        if record["frozen"] == 0
        for score in record["population"]
    }


def search_task(
    kind: str, run_dir: Path, strategy: Strategy = PCF, workers: int = 0, **options: Any
) -> Any:
    supernet, data, task = TASKS[kind]()
    evaluation = raynas.Evaluation(device="cpu", **options)
    return raynas.search(
        supernet, data, strategy=strategy, run_dir=run_dir, evaluation=evaluation, task=task,
        workers=workers, seed=SEEDS[kind],
    )  # fmt: skip


@pytest.mark.parametrize("batch_norm", ["recalibrate", "inherit"])
@pytest.mark.parametrize("kind", TASKS)
def test_scores_are_those_of_a_plain_loop(kind: str, batch_norm: str, tmp_path: Path) -> None:
    result = search_task(kind, tmp_path, EA, batch_norm=batch_norm)
    supernet, data, task = TASKS[kind]()
    calibration = data.calibration if batch_norm == "recalibrate" else []
    found = scored(tmp_path)
    assert len(found) == 12
    for architecture, score in found.items():
        value, loss = plain_score(supernet, architecture, task, calibration, data.validation)
        assert score[task.name] == pytest.approx(value, rel=1e-4, abs=1e-5)
        assert score["loss"] == pytest.approx(loss, rel=1e-4, abs=1e-5)
        assert score["samples"] == 30
        assert "correct" not in score
    best = max(found, key=lambda each: (found[each][task.name], -found[each]["loss"]))
    assert result.best.architecture == best
    value, _ = plain_score(supernet, best, task, calibration, data.test)
    assert result.best.test_objectives[task.name] == pytest.approx(value, rel=1e-4, abs=1e-5)
    assert result.record[f"test_{task.name}"] == result.best.test_objectives[task.name]
    for name in ("top1", "top5", "test_top1"):
        with pytest.raises(InputError, match=f"{name}: expected a search for a classification"):
            getattr(result.best, name)
    assert "finalists" not in repr(result)


MODES: dict[str, dict[str, Any]] = {
    "random": {"sampling": "random", "sample_rate": 0.5},
    "top": {"sampling": "top", "sample_rate": 0.5},
    "weighted": {"sampling": "weighted", "sample_rate": 0.5},
    "disagreement": {"sampling": "disagreement", "sample_rate": 0.5},
    "first votes": {"sampling": "disagreement", "sample_rate": 0.5, "unfrozen_sample_rate": 0.9},
    "everything": {},
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", TASKS)
def test_every_sampling_mode_searches(kind: str, mode: str, tmp_path: Path) -> None:
    options = MODES[mode]
    result = search_task(kind, tmp_path / "trie", **options)
    name = result.record["objectives"][0]
    recorded = records(tmp_path / "trie")
    behind = [r for r in recorded if r["frozen"] and (r["rescored"] or r["population"])]
    assert behind, "the samples are selected at a freeze"
    kept = round(options.get("sample_rate", 1.0) * 30)
    assert {r["samples"] for r in behind} == {kept}
    everything = [s for r in recorded for s in (*r["rescored"], *r["population"])]
    assert all(np.isfinite([score[name], score["loss"]]).all() for score in everything)
    search_task(kind, tmp_path / "apart", prefix_sharing=False, **options)
    assert history(tmp_path / "apart") == history(tmp_path / "trie")


@pytest.mark.parametrize("kind", TASKS)
def test_fewer_bits_move_scores_behind_a_freeze_a_little(kind: str, tmp_path: Path) -> None:
    losses = {}
    for bits in (32, 16, 8, 4):
        search_task(kind, tmp_path / str(bits), bits=bits)
        (first, *_) = (r for r in records(tmp_path / str(bits)) if r["rescored"])
        losses[bits] = np.array([score["loss"] for score in first["rescored"]])
    assert len(losses[32]) > 0
    for bits, close in ((16, 1e-3), (8, 0.05), (4, 0.5)):
        assert losses[bits] == pytest.approx(losses[32], rel=close, abs=close / 10)
        assert (losses[bits] != losses[32]).any()


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


def test_records_name_nothing_that_an_objective_may_be_called(tmp_path: Path) -> None:
    task = raynas.PerSample(closeness, "closeness")
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 1))
    result = raynas.search(
        image_supernet(head), image_data("numbers"), strategy=EA, task=task, workers=0,
        run_dir=tmp_path / "run",
    )  # fmt: skip
    result.export(tmp_path / "best")
    names = {*result.record, *result.record["finalists"][0]}
    names |= set(json.loads((tmp_path / "best" / "architecture.json").read_text()))
    names -= {"closeness", "test_closeness"}
    assert names <= RECORDED


@pytest.mark.parametrize("name", [*sorted(RECORDED), "top1", "test_score", "two words", "", 3])
def test_an_objective_has_a_name_of_its_own(name: Any) -> None:
    with pytest.raises(InputError, match=r"^name: expected a name that records"):
        raynas.PerSample(closeness, name)


@pytest.mark.parametrize("names", [(), ("seconds",), ("score", "score"), ("score", "test_score")])
def test_a_task_of_ones_own_has_names_of_its_own(names: tuple[str, ...]) -> None:
    class Named(raynas.Task):
        """A task with these objectives and nothing else."""

        objectives = names
        judge = training_loss = require_outputs = require_targets = description = None

    with pytest.raises(InputError, match=r"^task: expected a name that records"):
        classification_or(Named(), None)


CALLS: list[int] = []


def forgetful(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Gives something else each time."""
    CALLS.append(1)
    return outputs[:, 0] + len(CALLS), outputs[:, 0]


def failing(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    raise KeyError("no such metric")


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (forgetful, "others the second time"),
        (failing, "KeyError: 'no such metric'"),
        (lambda o, t: (o[:, 0], o[:, 0].mean()), r"Tensor \[8\], Tensor \[\]"),
        (lambda o, t: (o[:, 0].numpy(), o[:, 0]), r"ndarray \[8\], Tensor \[8\]"),
        (lambda o, t: (o[:, 0] * 1j, o[:, 0]), "two real tensors"),
        (lambda o, t: None, "NoneType"),
    ],
)
def test_a_function_that_cannot_judge_is_refused_early(
    function: Any, message: str, tmp_path: Path
) -> None:
    supernet, data, _ = regression()
    with pytest.raises(raynas.InputError, match=rf"task: .*{message}"):
        raynas.check_search(
            supernet, data, task=raynas.PerSample(function), run_dir=tmp_path / "run", workers=0
        )


def marking(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Clears the targets once it has used them."""
    found = closeness(outputs, targets.clone())
    targets.zero_()
    return found


def test_targets_that_a_function_writes_to_are_its_own() -> None:
    rng = torch.Generator().manual_seed(0)
    outputs, targets = torch.randn(3, 5, 1, generator=rng), torch.randn(5, generator=rng)
    expected = raynas.PerSample(closeness).judge(outputs, targets)
    found = raynas.PerSample(marking).judge(outputs, targets)
    assert torch.equal(found[0]["score"], expected[0]["score"])
    assert torch.equal(found[1], expected[1])


def undefined(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Has no score where the output is positive."""
    score, loss = closeness(outputs, targets)
    return score.where(outputs[:, 0] <= 0, torch.nan), loss


def test_scores_that_are_not_numbers_are_recorded_as_null(tmp_path: Path) -> None:
    supernet, data, _ = regression()
    raynas.search(
        supernet,
        data,
        strategy=EA,
        run_dir=tmp_path / "run",
        workers=0,
        task=raynas.PerSample(undefined),
        ledger=tmp_path / "scores.sqlite",
    )
    scores = [score for record in records(tmp_path / "run") for score in record["population"]]
    assert any(score["score"] is None for score in scores)
    assert all((score["score"] is None) == (not score["finite"]) for score in scores)


WEIGHTS = [1.0] * 1000
TABLE = {"weights": torch.ones(3)}


def by_list(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    return WEIGHTS[500] * outputs[:, 0], outputs[:, 0]


def by_table(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    return TABLE["weights"][0] * outputs[:, 0], outputs[:, 0]


def test_tables_that_a_function_reads_belong_to_its_identity(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def both() -> list[dict[str, Any]]:
        return [identity_of_task(raynas.PerSample(function)) for function in (by_list, by_table)]

    before = both()
    assert both() == before
    changed = [*WEIGHTS[:500], 2.0, *WEIGHTS[501:]]
    monkeypatch.setattr(sys.modules[__name__], "WEIGHTS", changed)
    monkeypatch.setitem(TABLE, "weights", 2 * TABLE["weights"])
    assert all(one != other for one, other in zip(both(), before, strict=True))
