"""Searches of channels beside those of blocks: their parts, and the table."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from command_runs import few_digits

import raynas
from raynas.commands import channels
from raynas.costs import flops_table
from raynas.errors import InputError
from raynas.supernets import save, spos_8x8
from raynas.training.presets import DIGITS


def joint(blocks: int = 2) -> raynas.ChainSupernet:
    torch.manual_seed(0)
    stages = ((20, 1, 2), (24, 1, 2))[:blocks]
    return spos_8x8(stages=stages, head_channels=16, channels=True).eval()


def test_a_part_of_a_supernet_shares_its_modules() -> None:
    supernet = joint()
    part = channels.part_of(supernet, lambda name: name.endswith("@1.0"))
    assert part.names == (("c3@1.0", "c5@1.0", "c7@1.0", "x@1.0"),) * 2
    for architecture in part.space.enumerate():
        same = supernet.encode(part.decode(architecture))
        for mine, theirs in zip(part.subnet(architecture), supernet.subnet(same), strict=True):
            assert mine is theirs


def test_random_architectures_cost_nearly_what_is_allowed() -> None:
    supernet = joint()
    table = flops_table(supernet)
    most = table.of(supernet.encode(["c3@1.2", "c3@1.2"]))
    options = channels.ChannelOptions(flops=most, random=20)
    drawn = channels.draw(supernet, options)
    assert len(set(drawn)) > 5
    assert all(0.95 * most <= table.of(supernet.encode(names)) <= most for names in drawn)
    assert channels.draw(supernet, options) == drawn


@pytest.mark.slow
def test_every_row_of_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    supernet, data = joint(blocks=1), few_digits(20)
    weights = tmp_path / "supernet.safetensors"
    save(supernet, weights)
    most = flops_table(supernet).of(supernet.encode(["c3@1.2"]))
    options = channels.ChannelOptions(flops=most, generations=1, population=4, random=2, workers=0)
    rows = channels.train_and_compare(supernet, data, DIGITS, weights, options)
    names = {name: [supernet.decode(s.architecture) for s in row] for name, row in rows.items()}
    assert list(map(len, names.values())) == [1, 2, 1, 2, 1, 1, 1]
    assert names["all c3@1.0"] == [("c3@1.0",)]
    assert all(
        pair.startswith("c3@") for (found,) in [names["c3, channels searched"]] for pair in found
    )
    (blocks,) = names["blocks searched, all @1.0"]
    (then,) = names["blocks, then their channels"]
    assert all(pair.endswith("@1.0") for pair in blocks)
    assert [pair.partition("@")[0] for pair in then] == [pair.partition("@")[0] for pair in blocks]
    for row in rows.values():
        assert all(score.costs["flops"] <= most and score.samples == 30 for score in row)
    shown = capsys.readouterr().out
    assert all(name in shown for name in names)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"random": 0}, "random: expected at least 1"),
        ({"strategy": "nsga2"}, "strategy: expected one that searches under a limit"),
    ],
)
def test_bad_options(options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        channels.ChannelOptions(**options)
