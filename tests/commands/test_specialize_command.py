"""`raynas train --paths progressive` and `raynas specialize`, on a few digits."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from command_runs import assert_refused, command, done, tiny_bottlenecks
from small_search import contents

import raynas
from raynas.commands.supernet_training import checkpoint_of, table_of
from raynas.population.variant_scorer import open_variant_scorer
from raynas.specialization import measured_on

FEW = ("--data", "command_runs:few_digits")
TINY = ("--supernet", "command_runs:tiny_bottlenecks")
PROGRESSIVE = ("--paths", "progressive", "--block-epochs", 1)
TRAINING = ("train", *FEW, *TINY, *PROGRESSIVE, "--epochs", 2, "--batch-size", 128)
BRIEF = ("--generations", 20)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A supernet that was trained progressively, with the table beside it."""
    out = tmp_path_factory.mktemp("progressive") / "net.st"
    told = done(*TRAINING, "--out", out)
    assert "epoch   4/4" in told
    assert "shared prefixes saved 18.8% of the 960 block executions of its table" in told
    return out


def specialised(weights: Path, *options: object) -> tuple[str, ...]:
    return ("specialize", *FEW, *TINY, "--weights", str(weights), *BRIEF, *map(str, options))


def refused(arguments: Sequence[object], text: str) -> None:
    """As `assert_refused`, but that the function of the data prints something."""
    ended = command(*arguments)
    assert ended.code == 2, ended
    assert ended.out in ("", "digits, a few\n")
    assert ended.err.startswith("error: ")
    assert ended.err.count("\n") == 1
    assert text in ended.err


def test_a_training_leaves_weights_and_their_table(weights: Path) -> None:
    assert set(contents(weights.parent)) == {"net.st", "net.st.table.json"}
    supernet = tiny_bottlenecks()
    raynas.supernets.load(supernet, weights)
    table = raynas.AccuracyTable.load(table_of(weights))
    table.require_of(supernet)
    assert table.names == supernet.names
    assert table.alone == 2 * 4 * 2 * (20 + 40)
    assert table.alone - table.executed == 3 * (20 + 40)


def test_several_limits_and_their_scores(weights: Path) -> None:
    shown = done(*specialised(weights, "--flops", "100%", "70%", "--params", "90%", "--evaluate"))
    lines = [line for line in shown.splitlines() if line.startswith("│")]
    assert sum("genetic" in line for line in lines) == 2
    assert sum("optimum" in line for line in lines) == 2
    named = [line for line in shown.splitlines() if line.startswith("flops at most")]
    assert len(named) == 4
    assert "scored" in shown
    supernet = tiny_bottlenecks()
    raynas.supernets.load(supernet, weights)
    table = raynas.AccuracyTable.load(table_of(weights))
    limits = [[raynas.FLOPs(at_most=f), raynas.Params(at_most="90%")] for f in ("100%", "70%")]
    for result, line in zip(
        raynas.specialize(table, supernet, limits), (named[1], named[3]), strict=True
    ):
        assert result.optimum is not None
        assert line.endswith(",".join(result.optimum.names))


def test_a_table_elsewhere(weights: Path, tmp_path: Path) -> None:
    moved = tmp_path / "other.json"
    moved.write_bytes(table_of(weights).read_bytes())
    shown = done(*specialised(weights, "--table", moved))
    assert shown.count("none, ") == 2


def test_scores_on_other_samples_than_the_table_are_named(weights: Path, tmp_path: Path) -> None:
    """Where anything is scored."""
    known, text = raynas.AccuracyTable.load(table_of(weights)), "Scored on other samples (digits)"
    file = tmp_path / "table.json"
    assert text not in done(*specialised(weights, "--evaluate"))
    replace(known, samples="others").save(file)
    assert text in done(*specialised(weights, "--table", file, "--evaluate"))
    assert text not in done(*specialised(weights, "--table", file)), "nothing is scored"


def test_a_table_says_which_samples_it_was_measured_on() -> None:
    """All of them, or those for validation where batch norm is inherited; else by their name."""
    supernet, data = tiny_bottlenecks(), raynas.data.digits(calibration=20, validation=40, test=30)
    other = raynas.data.digits(calibration=20, validation=41, test=30)
    for batch_norm in ("recalibrate", "inherit"):
        protocol = raynas.Evaluation(batch_norm=batch_norm, device="cpu")
        with open_variant_scorer(supernet, data, evaluation=protocol) as scorer:
            samples = scorer.samples
        rows = ((0.5,),)
        table = raynas.AccuracyTable((("a",),), rows, (0,), "", data="digits", samples=samples)
        assert measured_on(table, data)
        assert measured_on(replace(table, data="the same"), data)
        assert not measured_on(table, other)
    assert measured_on(replace(table, samples="", data=""), other)
    assert measured_on(replace(table, samples=""), other)
    assert not measured_on(replace(table, samples="", data="others"), data)


def test_what_cannot_be_specialised(weights: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.json"
    broken.write_text("{}")
    for options, text in (
        (("--table", broken), "table: expected a file that a progressive training wrote"),
        (("--table", tmp_path / "none"), "No such file"),
        (("--flops", "50%", "60%", "--params", "1", "2", "3"), "flops: expected one value, or 3"),
        (("--flops", "much"), "flops: expected a number"),
        (("--flops", 5), "constraint: expected a limit of at least"),
        (("--parents", 3), "parents: expected an even number"),
    ):
        refused(specialised(weights, *options), text)
    other = tmp_path / "other.st"
    raynas.supernets.save(tiny_bottlenecks(), other)
    of_another = ("--table", table_of(weights))
    refused(specialised(other, *of_another), "table: expected that of the training which")
    family = ("specialize", "--data", "digits", "--supernet", "ponas")
    assert_refused(family, "weights: expected the file of the trained weights of ponas")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--block-epochs", 1), "block-epochs: expected none beside uniform paths, got 1"),
        (("--paths", "progressive", "--kept", 2), "kept: expected none beside progressive paths"),
        (("--paths", "progressive", "--block-epochs", 0), "block_epochs: expected at least 1"),
    ],
)
def test_options_of_other_paths(options: tuple[object, ...], text: str, tmp_path: Path) -> None:
    assert_refused(("train", *FEW, *TINY, "--out", tmp_path / "net.st", *options), text)
    assert not contents(tmp_path)


def test_a_supernet_that_cannot_be_cropped(tmp_path: Path) -> None:
    plain = ("train", *FEW, "--supernet", "command_runs:tiny_supernet", *PROGRESSIVE)
    ended = command(*plain, "--out", tmp_path / "net.st")
    assert ended.code == 2
    assert "supernet: expected inverted bottlenecks, which can be cropped" in ended.err
    assert not contents(tmp_path)


def test_an_interrupted_training_goes_on(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the weights and the table of the one that was not."""
    from raynas.commands.terminal import TrainingProgress

    out, shown = tmp_path / "net.st", TrainingProgress.epoch

    def stopped(self: TrainingProgress, report: raynas.training.EpochReport) -> None:
        shown(self, report)
        if report.epoch == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(TrainingProgress, "epoch", stopped)
        assert command(*TRAINING, "--out", out).code == 130
    checkpoint = checkpoint_of(out).name
    assert set(contents(tmp_path)) == {checkpoint, f"{checkpoint}.1"}
    done(*TRAINING, "--out", out)
    assert set(contents(tmp_path)) == {"net.st", "net.st.table.json"}
    assert out.read_bytes() == weights.read_bytes()
    read = (json.loads(table_of(each).read_text()) for each in (out, weights))
    assert next(read) == next(read)
