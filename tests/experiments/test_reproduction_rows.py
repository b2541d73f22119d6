"""Rows of a reproduction: the blocks that a search would have run are those that it did run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from reproduction.plan import Variant, Wanted
from reproduction.rows import block_costs, counted, counts_of, nodes, row_of

import raynas
from raynas.errors import InputError
from raynas.report.read import RunRecords, read_run
from raynas.testing.supernets import small_data, small_supernet

BLOCKS, CALIBRATION = 5, 32

PLAIN = Variant("pcf", 0.4, 2)

VARIANTS = (
    PLAIN,
    Variant("pcf", 0.4, 2, "disagreement", 0.5),
    Variant("pcf", 0.4, 2, "random", 0.5, 8),
    Variant("ea"),
    Variant("cf", 0.4),
    Variant("pcf", 0.4, 2, "top", 0.5),
    Variant("pcf", 0.4, 2, "weighted", 0.3),
    Variant("pcf", 0.4, 2, bits=16),
)

BRIEF = ((PLAIN, "plain"), *((variant, "trie") for variant in VARIANTS[:3]))
"""Those that are searched by default; the others take longer together."""

CASES = [
    pytest.param(
        variant,
        kind,
        id=f"{variant.name}-{kind}",
        marks=() if (variant, kind) in BRIEF else pytest.mark.slow,
    )
    for variant in VARIANTS
    for kind in ("plain", "trie")
]


def searched(variant: Variant, run_dir: Path, *, sharing: bool) -> RunRecords:
    """A search without a ledger, in this process."""
    raynas.search(
        small_supernet(blocks=BLOCKS, choices=3),
        small_data(test=0),
        strategy=variant.strategy(8, 6),
        evaluation=raynas.Evaluation(
            sample_rate=variant.rate,
            sampling=variant.sampling,
            bits=variant.bits,
            prefix_sharing=sharing,
        ),
        run_dir=run_dir,
        workers=0,
        seed=1,
    )
    return read_run(run_dir)


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> RunRecords:
    """A search that freezes."""
    return searched(PLAIN, tmp_path_factory.mktemp("rows") / "run", sharing=True)


@pytest.mark.parametrize(("variant", "kind"), CASES)
def test_counted_blocks_are_those_that_the_search_executed(
    variant: Variant, kind: str, tmp_path: Path
) -> None:
    records = searched(variant, tmp_path / "run", sharing=kind == "trie")
    executed = [each["block_forwards"] for each in records.metrics]
    costs = block_costs(records.generations, variant, BLOCKS, CALIBRATION)
    assert [each[kind] for each in costs] == executed
    if variant.method != "ea":
        assert records.generations[-1]["frozen"] > 0, "nothing was frozen, so nothing is tested"


def test_a_row_says_what_was_found_and_what_populations_chose(records: RunRecords) -> None:
    count = len(records.generations)
    timing = {"cpu_seconds": [0.5] * count}
    row = row_of(Wanted("spos", "digits", PLAIN, 1), records, CALIBRATION, timing)
    result = records.require_result()
    assert (row["family"], row["data"], row["name"], row["seed"]) == (
        "spos", "digits", "pcf-T0.4-f2", 1,
    )  # fmt: skip
    for name in ("top1", "top5", "flops", "architecture", "evaluations"):
        assert row[name] == result[name]
    assert row["test_top1"] is None
    for name in ("energy_j", "energy_source", "energy_missing"):
        assert row[name] == result[name]
    # A version that wrote no such field leaves the row without it.
    earlier = {name: value for name, value in result.items() if name != "energy_missing"}
    old = replace(records, result=earlier)
    assert row_of(Wanted("spos", "digits", PLAIN, 1), old, CALIBRATION, timing) == {
        **row, "energy_missing": None,
    }  # fmt: skip
    assert [each["cpu_seconds"] for each in row["generations"]] == [0.5] * count
    assert [each["frozen"] for each in row["generations"]] == result["frozen"]
    assert row["first_population"] == sorted(
        score["top1"] for score in records.generations[0]["population"]
    )
    for counts, record in zip(row["counts"], records.generations, strict=True):
        members = [score["architecture"] for score in record["population"]]
        assert counts == [
            [sum(member[block] == choice for member in members) for choice in range(3)]
            for block in range(BLOCKS if members else 0)
        ]
    told = [record["best"]["architecture"] for record in records.generations if record["best"]]
    assert (row["first_best"], row["last_best"]) == (told[0], told[-1])


def test_an_unfinished_search_is_no_row(records: RunRecords) -> None:
    unfinished = RunRecords(
        records.directory, records.config, records.generations, records.metrics, None
    )
    with pytest.raises(InputError, match="a finished search"):
        row_of(Wanted("spos", "digits", PLAIN, 1), unfinished, CALIBRATION, None)


def test_only_whole_rankings_without_a_clock_are_counted() -> None:
    assert counted(Variant("ea"))
    assert not counted(Variant("ea", timed=True))
    assert not counted(Variant("pcf", 0.5, 3, "top", 0.5))
    assert not counted(Variant("pcf", 0.5, 3, bits=8))


def test_nodes_by_hand() -> None:
    # 0 and 1 at depth 1; 00, 01 and 10 below; 000, 001, 010 and 100 at the end.
    assert nodes([(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0)], 0) == 9
    assert nodes([(0, 0, 0), (0, 0, 1), (0, 1, 0)], 1) == 5
    assert nodes([(0, 1)], 2) == 0
    assert nodes([], 0) == 0


def test_a_generation_without_a_population_has_no_counts() -> None:
    assert counts_of({"population": []}, [4, 4]) == []
