"""`raynas ledger`: list, export and verify."""

from __future__ import annotations

import json
import math
import sqlite3
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from command_runs import assert_refused, command

from raynas.costs import CostTable
from raynas.ledger.ledger import Ledger
from raynas.ledger.rows import Entry, digest_of_outcomes
from raynas.ledger.score_key import ScoreKey
from raynas.ledger.spaces import PricedSpace
from raynas.score import Score

FULL = ScoreKey("5eed" * 8, "da7a" * 8, {"batch_norm": "inherit", "storage": None}, 10)
FREEZES = [{"prefix": [1], "selection": None}, {"prefix": [1, 2], "selection": None}]
ROUNDED = replace(FULL, evaluation={"storage": {"bits": 16, "freezes": FREEZES}})


def make_entry(architecture: tuple[int, ...], correct: int, loss: float) -> Entry:
    objectives = {"top1": correct / 10, "top5": 1.0}
    score = Score(architecture, objectives, loss, math.isfinite(loss), 10, correct)
    return Entry(score, digest_of_outcomes(np.arange(10) < correct))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "scores.sqlite"
    with Ledger(path) as ledger:
        ledger.add(FULL, [make_entry((1, 2, 0), 7, 0.5), make_entry((1, 2, 13), 9, 0.25)])
        ledger.add(FULL, [make_entry((0, 0, 0), 10, math.inf)])
        ledger.add(ROUNDED, [make_entry((1, 2, 0), 6, 0.75)])
    return path


def test_list_shows_each_protocol_and_its_best(path: Path) -> None:
    shown = command("ledger", "list", path)
    assert (shown.code, shown.err) == (0, "")
    assert "4 scores" in shown.out
    words = " ".join(shown.out.replace("│", " ").split())
    keys = (FULL.digest[:8], ROUNDED.digest[:8], "5eed5eed", "da7ada7a")
    for text in (*keys, "top1 90.00%", "top1 60.00%", "1,2,13", "16 bits at 1 and 1,2"):
        assert text in words
    assert "100.00%" not in words, "logits that are not finite are not the best"


TABLES = {
    "flops": CostTable("flops", 100, ((1, 2), (3, 4, 5), tuple(range(0, 14_000, 1_000)))),
    "latency": CostTable("latency", 0.5, ((0.25, 0.5), (0, 0, 0.125), (0,) * 14)),
}
NAMES = (("c3", "c5"), ("e3", "e6", "identity"), tuple(f"w{k}" for k in range(14)))


def test_names_and_costs_are_listed_where_a_search_has_told_them(
    path: Path, tmp_path: Path
) -> None:
    other = replace(FULL, supernet="beef" * 8)
    with Ledger(path) as ledger:
        ledger.add(other, [make_entry((1, 2, 1), 7, 0.5)])
        ledger.describe(FULL.supernet, PricedSpace(NAMES, {"flops": TABLES["flops"]}))
        ledger.describe(FULL.supernet, PricedSpace(NAMES, {"latency": TABLES["latency"]}))
        assert ledger.space(FULL.supernet) == PricedSpace(NAMES, TABLES)
        assert ledger.space(other.supernet) is None
    words = command("ledger", "list", path).out.replace("│", " ").split()
    for told in ("1,2,13", "(c5", "identity", "w13),", "13,107,", "1,125", "ms"):
        assert told in words
    command("ledger", "export", path, tmp_path / "scores.parquet")
    rows = pq.read_table(tmp_path / "scores.parquet").to_pylist()
    assert [row["cost_flops"] for row in rows] == [107, 13_107, 104, 107, None]
    assert [row["cost_latency"] for row in rows] == [1.125, 1.125, 0.75, 1.125, None]
    assert [row["names"] for row in rows[2:]] == ["c3 e3 w0", "c5 identity w0", None]
    assert command("ledger", "verify", path).code == 0


def test_a_space_that_is_damaged_hides_no_score(path: Path) -> None:
    with Ledger(path) as ledger:
        ledger.describe(FULL.supernet, PricedSpace(NAMES, TABLES))
    for content in ("{", "[]", '{"names": 1, "tables": {}}', '{"names": [], "tables": {"a": 1}}'):
        connection = sqlite3.connect(path)
        connection.execute("UPDATE spaces SET content = ?", (content,))
        connection.commit()
        connection.close()
        shown = command("ledger", "list", path)
        assert (shown.code, shown.err) == (0, "")
        assert "4 scores" in shown.out


def rewrite_names(path: Path, content: str) -> None:
    connection = sqlite3.connect(path)
    connection.execute("UPDATE spaces SET content = ?", (content,))
    connection.commit()
    connection.close()


@pytest.mark.parametrize("cut", ["names", "costs", "both", "choices"])
def test_names_and_costs_of_other_choices_are_damage(cut: str, path: Path, tmp_path: Path) -> None:
    with Ledger(path) as ledger:
        ledger.describe(FULL.supernet, PricedSpace(NAMES, TABLES))
    connection = sqlite3.connect(path)
    ((text,),) = connection.execute("SELECT content FROM spaces").fetchall()
    connection.close()
    content = json.loads(text)
    if cut == "choices":
        content["names"][2] = content["names"][2][:5]
        for _, blocks in content["tables"].values():
            blocks[2] = blocks[2][:5]
    else:
        if cut in ("names", "both"):
            content["names"].pop()
        if cut in ("costs", "both"):
            for _, blocks in content["tables"].values():
                blocks.pop()
    rewrite_names(path, json.dumps(content))
    shown = command("ledger", "list", path)
    assert (shown.code, shown.err) == (0, "")
    assert "4 scores" in shown.out
    out = tmp_path / "scores.parquet"
    assert command("ledger", "export", path, out).code == 0
    assert len(pq.read_table(out)) == 4
    verified = command("ledger", "verify", path)
    assert verified.code == 1
    if cut in ("names", "costs"):
        assert f"supernet {FULL.supernet}: its names and costs are damaged" in verified.out
    else:
        assert "architecture 1,2,13: none of its supernet's names" in verified.out


def test_costs_that_were_measured_twice_are_not_listed(path: Path, tmp_path: Path) -> None:
    again = replace(TABLES["latency"], base=1.0)
    with Ledger(path) as ledger:
        ledger.describe(FULL.supernet, PricedSpace(NAMES, TABLES))
        ledger.describe(FULL.supernet, PricedSpace(NAMES, TABLES))
        assert ledger.space(FULL.supernet) == PricedSpace(NAMES, TABLES)
        for latency in (again, TABLES["latency"]):
            ledger.describe(FULL.supernet, PricedSpace(NAMES, {"latency": latency}))
            expected = PricedSpace(NAMES, {"flops": TABLES["flops"]}, frozenset(["latency"]))
            assert ledger.space(FULL.supernet) == expected
    words = " ".join(command("ledger", "list", path).out.replace("│", " ").split())
    assert "different" in words
    assert "1.125" not in words
    out = tmp_path / "scores.parquet"
    assert command("ledger", "export", path, out).code == 0
    assert "cost_latency" not in pq.read_table(out).column_names
    assert command("ledger", "verify", path).code == 0


def test_list_shows_an_empty_ledger(tmp_path: Path) -> None:
    Ledger(tmp_path / "scores").close()
    shown = command("ledger", "list", tmp_path / "scores")
    assert (shown.code, shown.err) == (0, "")
    assert "0 scores" in shown.out


def test_export_writes_every_score_in_flat_columns(path: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "scores.parquet"
    done = command("ledger", "export", path, out)
    assert (done.code, done.out) == (0, f"Exported 4 scores to {out}\n")
    table = pq.read_table(out)
    assert table.column_names == [
        *("supernet", "data", "key", "key_json", "architecture", "choices", "names"),
        *("top1", "top5", "loss", "correct", "samples", "finite"),
    ]
    rows = table.to_pylist()
    assert [row["architecture"] for row in rows] == ["1,2,0", "1,2,13", "0,0,0", "1,2,0"]
    assert [row["choices"] for row in rows] == [[1, 2, 0], [1, 2, 13], [0, 0, 0], [1, 2, 0]]
    assert [row["loss"] for row in rows] == [0.5, 0.25, math.inf, 0.75]
    assert [row["finite"] for row in rows] == [True, True, False, True]
    assert [row["correct"] for row in rows] == [7, 9, 10, 6]
    assert {(row["supernet"], row["data"], row["samples"]) for row in rows} == {
        (FULL.supernet, FULL.data, 10)
    }
    assert [row["key"] for row in rows] == [FULL.digest] * 3 + [ROUNDED.digest]
    assert ScoreKey(**json.loads(rows[3]["key_json"])) == ROUNDED
    assert [entry.name for entry in out.parent.iterdir()] == [out.name]


def test_export_overwrites_nothing(path: Path, tmp_path: Path) -> None:
    out = tmp_path / "mine.parquet"
    out.write_text("mine")
    assert_refused(("ledger", "export", path, out), "out: expected a file that does not exist")
    assert out.read_text() == "mine"
    assert_refused(("ledger", "export", path, out / "below.parquet"), "out: expected a new file")
    new = tmp_path / "new.parquet"
    assert_refused(("ledger", "export", out, new), "ledger: expected a SQLite file")
    assert not new.exists()


@pytest.mark.parametrize("name", ["scores.csv", "scores", "scores.parquet.gz"])
def test_export_writes_no_parquet_under_another_name(path: Path, tmp_path: Path, name: str) -> None:
    out = tmp_path / name
    assert_refused(
        ("ledger", "export", path, out),
        f"out: expected a file named NAME.parquet, since that is what is written, got {out}. Give ",
    )
    assert not out.exists()


def test_verify_of_a_cut_file_does_not_advise_to_verify_it(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])
    assert_refused(
        ("ledger", "verify", path),
        "malformed). It is damaged: restore it from a copy, or use another file. Of one that opens",
    )


def test_verify_says_that_nothing_is_damaged(path: Path) -> None:
    done = command("ledger", "verify", path)
    assert (done.code, done.out, done.err) == (0, f"{path}: 4 scores, no damage\n", "")


def test_verify_names_the_damage_and_ends_with_code_1(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("UPDATE scores SET correct = 8 WHERE architecture = '1,2,0'")
    connection.commit()
    connection.close()
    done = command("ledger", "verify", path)
    assert (done.code, done.err) == (1, "")
    assert done.out.splitlines() == [
        f"key {key}, architecture 1,2,0: another checksum" for key in (FULL.digest, ROUNDED.digest)
    ]
    out = path.with_name("out.parquet")
    assert_refused(("ledger", "export", path, out), "another checksum for 1,2,0")
    assert not out.exists()


@pytest.mark.parametrize("name", ["list", "export", "verify"])
def test_help_is_shown(name: str) -> None:
    shown = command("ledger", name, "--help")
    assert (shown.code, shown.err) == (0, "")
    assert "the ledger." in shown.out


@pytest.mark.parametrize("name", ["list", "verify"])
def test_a_ledger_that_is_missing_is_not_created(name: str, tmp_path: Path) -> None:
    assert_refused(("ledger", name, tmp_path / "none"), "none, which is missing")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["list", "export", "verify"])
def test_help_explains_the_command(name: str) -> None:
    shown = command("ledger", name, "--help")
    assert (shown.code, shown.err) == (0, "")
    assert "the ledger" in shown.out
