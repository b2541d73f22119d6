"""Latency tables: measured, verified, saved, and refused for another device or space."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor, nn

from raynas.costs import FLOPs, Latency, LatencyTable, Params, params_table, resolve_limits
from raynas.costs.latency import space_digest, this_machine
from raynas.costs.latency_table import Measurement, Verification
from raynas.costs.timing import TimingSettings, measure_latency
from raynas.errors import InputError
from raynas.supernets import ChainSupernet, Normalize, digest
from raynas.testing.supernets import small_supernet

NET = small_supernet(blocks=3, choices=2)
BLOCKS = ((0.001, 0.002), (0.003, 0.001), (0.002, 0.004))
VERIFIED = Verification(((0, 0, 0), (1, 1, 1)), (0.011, 0.012), (0.010, 0.015))


def table(**changes: Any) -> LatencyTable:
    """A table as if it had been measured here."""
    held = LatencyTable(
        this_machine()[0],
        space_digest(NET),
        {1: Measurement(0.001, BLOCKS, 0.002, VERIFIED)},
        {"threads": 1},
    )
    return replace(held, **changes)


def test_a_limit_in_seconds() -> None:
    limits = resolve_limits(Latency(at_most=0.008, table=table()), NET)
    legal = set(limits.enumerate())
    assert legal == {a for a in NET.space.enumerate() if 3 + sum(
        round(1000 * row[c]) for row, c in zip(BLOCKS, a, strict=True)
    ) <= 8}  # fmt: skip
    assert limits.costs((0, 1, 0)) == {"latency": 0.007}


def test_three_limits_at_once() -> None:
    """Only what keeps all of them is legal, by trying every architecture."""
    bounds = [FLOPs(at_most="90%"), Params(at_most="95%"),
              Latency(at_most=0.009, at_least=0.007, table=table())]  # fmt: skip
    limits = resolve_limits(bounds, NET)
    alone = [resolve_limits(bound, NET) for bound in bounds]
    legal = [a for a in NET.space.enumerate() if all(each.allows(a) for each in alone)]
    assert 0 < len(legal) < NET.space.count()
    assert list(limits.enumerate()) == legal
    assert limits.count() == len(legal)


def test_limits_for_two_sizes_of_batch() -> None:
    """Each has a name of its own; legal is what keeps both."""
    dear = Measurement(
        0.01, tuple(tuple(10 * s for s in row[::-1]) for row in BLOCKS), 0.02, VERIFIED
    )
    both = table(batches={**table().batches, 32: dear})
    bounds = [Latency(at_most=0.009, table=both), Latency(at_most=0.1, table=both, batch=32)]
    with pytest.raises(InputError, match="another name"):
        resolve_limits(bounds, NET)
    named = [bounds[0], replace(bounds[1], name="latency of 32")]
    limits = resolve_limits(named, NET)
    alone = [resolve_limits(bound, NET) for bound in named]
    legal = [a for a in NET.space.enumerate() if all(each.allows(a) for each in alone)]
    assert 0 < len(legal) < min(each.count() or 0 for each in alone)
    assert list(limits.enumerate()) == legal
    assert limits.costs((0, 1, 0)) == {"latency": 0.007, "latency of 32": 0.12}
    for name in ("flops", "", None):
        with pytest.raises(InputError, match="Latency\\(name\\): expected a name"):
            Latency(at_most=1.0, table=both, name=name)  # type: ignore[arg-type]


def test_an_infeasible_set_names_the_nearest() -> None:
    smallest = params_table(NET).of((0, 0, 0))
    bounds = [Params(at_most=smallest), Latency(at_least=0.0105, table=table())]
    with pytest.raises(InputError, match=r"the nearest, \[.*latency"):
        resolve_limits(bounds, NET).require_feasible()


def test_the_errors_of_sums_by_hand() -> None:
    assert VERIFIED.errors == pytest.approx([0.1, -0.2])
    assert VERIFIED.mean_error == pytest.approx(0.15)
    assert VERIFIED.largest_error == pytest.approx(0.2)
    assert VERIFIED.kendall_tau == 1.0
    alike = Verification(((0, 0, 0), (1, 1, 1)), (0.01, 0.01), (0.01, 0.02))
    assert alike.kendall_tau is None
    with pytest.raises(InputError, match="subnets: expected a whole number from 2"):
        TimingSettings(subnets=1)


def test_tables_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    file = tmp_path / "latency.json"
    table().save(file)
    assert LatencyTable.load(file) == table()
    assert Latency(at_most=0.01, table=file) == Latency(at_most=0.01, table=table())


SECONDS = ((0.005, 0.02), (0.02, 0.005))


class Sleeps(nn.Module):
    """Takes as long as it is told."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    def forward(self, x: Tensor) -> Tensor:
        time.sleep(self.seconds)
        return x + 1.0


def sleeping() -> ChainSupernet:
    stem = nn.Sequential(Normalize((0.5,), (0.3,)), nn.Conv2d(1, 2, 1))
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 3))
    blocks = [[Sleeps(seconds) for seconds in block] for block in SECONDS]
    return ChainSupernet(stem, blocks, head, image_shape=(1, 3, 3), num_classes=3)


def test_what_takes_longer_is_measured_so() -> None:
    """A sleep takes at least its seconds, on whatever machine."""
    supernet = sleeping()
    seen: list[tuple[int, int, int]] = []
    before = digest(supernet)
    settings = TimingSettings(batches=(1, 3), rounds=2, subnets=3)
    found = measure_latency(supernet, settings, lambda *each: seen.append(each))
    assert digest(supernet) == before
    assert seen == [(1, 1, 2), (1, 2, 2), (3, 1, 2), (3, 2, 2)]
    assert found.device == this_machine()[0]
    assert found.space == space_digest(supernet)
    assert (found.setting["threads"], found.setting["types"]) == (1, ["torch.float32"])
    for measured in found.batches.values():
        assert all(
            seconds >= module.seconds  # type: ignore[union-attr]
            for row, choices in zip(measured.blocks, supernet.blocks, strict=True)
            for seconds, module in zip(row, choices, strict=True)  # type: ignore[call-overload]
        )
        verified = measured.verification
        assert len(verified.measured) == len(verified.predicted) == 3
        for subnet, predicted, seconds in zip(
            verified.architectures, verified.predicted, verified.measured, strict=True
        ):
            row = [measured.blocks[block][choice] for block, choice in enumerate(subnet)]
            assert predicted == pytest.approx(measured.stem + sum(row) + measured.head)
            assert seconds >= sum(SECONDS[block][choice] for block, choice in enumerate(subnet))
    Latency(at_most=10, table=found).limit(supernet)


def test_a_table_does_not_hang_on_weights() -> None:
    other = small_supernet(5, blocks=3, choices=2)
    assert space_digest(other) == space_digest(NET)


def choices_of(*modules: nn.Module) -> ChainSupernet:
    """One block between a stem and a head."""
    stem = nn.Sequential(Normalize((0.5,), (0.3,)), nn.Conv2d(1, 2, 1))
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 3))
    return ChainSupernet(stem, [list(modules)], head, image_shape=(1, 5, 5), num_classes=3)


def conv(dilation: int, activation: nn.Module) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 2, 3, padding=dilation, dilation=dilation, bias=False), activation
    )


@pytest.mark.parametrize(
    "modules",
    [
        (nn.Identity(), Sleeps(0.0)),
        (Sleeps(0.0), Sleeps(0.1)),
        (conv(1, nn.ReLU()), conv(2, nn.ReLU())),
        (conv(1, nn.ReLU()), conv(1, nn.Hardswish())),
    ],
    ids=["class", "attribute", "dilation", "activation"],
)
def test_a_table_of_choices_in_another_order_is_refused(modules: tuple[nn.Module, ...]) -> None:
    """Operations that multiply as often, with as many parameters, take other seconds."""
    measured = choices_of(*modules)
    seconds = Measurement(0.001, ((0.001, 0.002),), 0.002, VERIFIED)
    held = table(space=space_digest(measured), batches={1: seconds})
    Latency(at_most=1.0, table=held).limit(measured)
    with pytest.raises(InputError, match="other operations"):
        Latency(at_most=1.0, table=held).limit(choices_of(*reversed(modules)))


def test_a_table_of_another_device_is_refused() -> None:
    phone = table(device="a phone")
    with pytest.raises(InputError, match="a phone") as caught:
        Latency(at_most=1.0, table=phone)
    assert caught.value.argument == "table"
    assert Latency(at_most=1.0, table=phone, device="a phone").limit(NET).table.name == "latency"
    with pytest.raises(InputError, match="a phone"):
        Latency(at_most=1.0, table=table(), device="a phone")


@pytest.mark.parametrize(
    "other",
    [small_supernet(blocks=3, choices=3), small_supernet(blocks=2, choices=2)],
    ids=["choices", "blocks"],
)
def test_a_table_of_other_choices_is_refused(other: ChainSupernet) -> None:
    with pytest.raises(InputError, match="choices per block") as caught:
        Latency(at_most=1.0, table=table()).limit(other)
    assert caught.value.argument == "table"


def test_a_table_of_other_operations_is_refused() -> None:
    other = table(space="f" * 32, setting={"python": "3.99", "torch": "9.9"})
    with pytest.raises(InputError, match=r"other operations or .* Python 3\.99, torch 9\.9"):
        Latency(at_most=1.0, table=other).limit(NET)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("{", "raynas latency"),
        ("[" * 100_000, "RecursionError"),
        ("[]", "raynas latency"),
        ("{}", "format"),
        (json.dumps({"format": 9}), "format"),
        (json.dumps({"format": 2, "batches": {"1": {}}}), "raynas latency"),
    ],
)
def test_files_of_something_else_are_refused(tmp_path: Path, content: str, expected: str) -> None:
    file = tmp_path / "latency.json"
    file.write_text(content)
    with pytest.raises(InputError, match=expected) as caught:
        Latency(at_most=1.0, table=file)
    assert caught.value.argument == "table"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"stem": -0.1}, "finite seconds, at least 0, got -0.1"),
        ({"blocks": [[0.1, -5.0]]}, "finite seconds, at least 0, got -5.0"),
        ({"head": float("nan")}, "finite seconds, at least 0, got nan"),
        ({"verification": {"architectures": [[0]], "predicted": [1.0], "measured": []}},
         "1 subnets, 1 predicted and 0 measured"),
        ({"verification": {"architectures": [], "predicted": [], "measured": []}}, "at least one"),
        ({"verification": {"architectures": [[0]], "predicted": [1.0], "measured": [0.0]}},
         "finite seconds, above 0"),
    ],
)  # fmt: skip
def test_files_of_impossible_seconds_are_refused(
    tmp_path: Path, changes: dict[str, Any], expected: str
) -> None:
    file = tmp_path / "latency.json"
    table().save(file)
    content = json.loads(file.read_text())
    content["batches"]["1"] |= changes
    file.write_text(json.dumps(content))
    with pytest.raises(InputError, match=expected) as caught:
        Latency(at_most=1.0, table=file)
    assert caught.value.argument == "table"


def test_a_table_of_other_types_is_refused() -> None:
    with pytest.raises(InputError, match="other operations"):
        Latency(at_most=1.0, table=table()).limit(small_supernet(blocks=3, choices=2).double())


def test_a_missing_file_and_a_missing_batch_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        Latency(at_most=1.0, table=tmp_path / "none.json")
    with pytest.raises(InputError, match="measured sizes: 1"):
        Latency(at_most=1.0, table=table(), batch=32)
    with pytest.raises(InputError, match="batch: expected one of the measured sizes"):
        Latency(at_most=1.0, table=table(), batch=[1])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "argument"),
    [({"batches": ()}, "batches"), ({"batches": (0,)}, "batches"), ({"rounds": 0}, "rounds"),
     ({"batches": 5}, "batches"), ({"batches": "12"}, "batches"), ({"batches": (True,)}, "batches"),
     ({"subnets": 0}, "subnets"), ({"threads": 1.5}, "threads"), ({"threads": 1025}, "threads"),
     ({"seed": -1}, "seed"), ({"seed": None}, "seed"), ({"device": "gpu"}, "device"),
     ({"device": "cuda:0"}, "device"), ({"device": []}, "device")],
)  # fmt: skip
def test_bad_settings_are_refused(options: dict[str, Any], argument: str) -> None:
    with pytest.raises(InputError) as caught:
        TimingSettings(**options)
    assert caught.value.argument == argument


def test_a_file_is_measured_once(tmp_path: Path) -> None:
    from raynas.commands.latency import measured_in

    settings = TimingSettings(batches=(1,), rounds=1, subnets=2, device="cpu")
    path = tmp_path / "new" / "latency.json"
    found = measured_in(path, NET, settings)
    written = path.read_bytes()
    assert measured_in(path, NET, settings) == found
    assert path.read_bytes() == written
    path.write_text("{}")
    with pytest.raises(InputError, match="table: expected"):
        measured_in(path, NET, settings)
