"""Runs of a report: whatever is whole is read, and what is wrong with the rest is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from small_search import contents
from written_runs import CHOICES, GENERATIONS, NAMES, config, result, rewrite, write_run

from raynas.errors import InputError
from raynas.report.facts import comparison, found_before, status
from raynas.report.runs import labels_of, read_runs, salvage


def test_a_whole_run_has_no_problems(tmp_path: Path) -> None:
    write_run(tmp_path / "run", ended=result())
    before = contents(tmp_path)
    (run,), refused = read_runs([tmp_path / "run"])
    assert (run.key, run.label, run.problems, refused) == ("r0", "run", (), [])
    assert run.generations == json.loads(json.dumps(GENERATIONS))
    assert run.names == NAMES
    assert run.objective == "top1"
    assert run.freezes == ((2, 1), (3, 2))
    assert run.ended == "legal architectures exhausted"
    assert sorted(run.timings) == [0, 1, 2, 3]
    assert contents(tmp_path) == before


def test_names_of_a_run_that_recorded_none_are_numbers(tmp_path: Path) -> None:
    own = config(evaluator={"name": "Table"}, choices=CHOICES)
    kept = {name: own[name] for name in ("format", "seed", "strategy", "evaluator", "choices")}
    write_run(tmp_path / "run")
    (tmp_path / "run" / "config.json").write_text(json.dumps(kept))
    (run,), _ = read_runs([tmp_path / "run"])
    assert run.names == (("0", "1", "2"), ("0", "1", "2"), ("0", "1"))


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("result.json", "{", "a JSON object"),
        ("result.json", '{"architecture": [0]}', "lacks objectives, costs, names, front"),
        ("result.json", json.dumps({**result(), "costs": 3}), "not the result of a search of 3 bl"),
        ("result.json", json.dumps({**result(), "front": [7]}), "not the result of a search"),
        ("result.json", json.dumps({**result(), "objectives": []}), "not the result of a search"),
        ("metrics.jsonl", "3\n", "line 1: a int"),
    ],
)
def test_damage_beside_the_generations(name: str, text: str, said: str, tmp_path: Path) -> None:
    write_run(tmp_path, ended=result())
    (tmp_path / name).write_text(text)
    records, (problem,) = salvage(tmp_path)
    assert said in problem
    assert str(tmp_path / name) in problem
    assert len(records.generations) == 4
    assert (records.result is None) == (name == "result.json")
    assert (tmp_path / name).read_text() == text


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "line 3: "),
        ("[]", "line 3: a list"),
        ('{"generation": 2}', "line 3: not generation 2 of a search of 3 blocks"),
        (json.dumps(GENERATIONS[1]), "line 3: not generation 2"),
        (json.dumps({**GENERATIONS[2], "population": [7]}), "line 3: not generation 2"),
        (json.dumps({**GENERATIONS[2], "prefix": [3]}), "line 3: not generation 2"),
        (
            json.dumps({**GENERATIONS[2], "population": [{"architecture": [0, 1, 2], "top1": 1}]}),
            "line 3: not generation 2",
        ),
        (
            json.dumps(
                {**GENERATIONS[2], "population": [{"architecture": [0, 1, 1], "top1": "1"}]}
            ),
            "line 3: not generation 2",
        ),
        (
            json.dumps({**GENERATIONS[2], "population": [{"architecture": [0, 1, 1]}]}),
            "line 3: not generation 2",
        ),
    ],
)
def test_what_stands_before_a_damaged_generation_is_read(
    line: str, said: str, tmp_path: Path
) -> None:
    write_run(tmp_path)
    path = tmp_path / "generations.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:2], line, *lines[3:]]) + "\n")
    records, (problem,) = salvage(tmp_path)
    assert said in problem
    assert records.generations == json.loads(json.dumps(GENERATIONS[:2]))
    assert [each["generation"] for each in records.metrics] == [0, 1]


def test_a_line_that_is_being_written_is_no_damage(tmp_path: Path) -> None:
    write_run(tmp_path)
    path = tmp_path / "generations.jsonl"
    path.write_bytes(path.read_bytes()[:-9])
    records, problems = salvage(tmp_path)
    assert (len(records.generations), problems) == (3, ())


@pytest.mark.parametrize(
    ("name", "kept", "said"),
    [
        ("generations.jsonl", 0, "0 of the 4 generations"),
        ("generations.jsonl", 3, "3 of the 4 generations"),
        ("generations.jsonl", None, "0 of the 4 generations"),
        ("metrics.jsonl", 1, "1 of the 4 generations"),
    ],
)
def test_records_that_the_result_counts_and_that_are_gone(
    name: str, kept: int | None, said: str, tmp_path: Path
) -> None:
    write_run(tmp_path, ended=result(generations=4, evaluations=9))
    assert salvage(tmp_path)[1] == ()
    path = tmp_path / name
    lines = path.read_text().splitlines(keepends=True)
    if kept is None:
        path.unlink()
    else:  # The next line is cut inside.
        path.write_text("".join([*lines[:kept], lines[kept][:9]]))
    (run,), _ = read_runs([tmp_path])
    (problem,) = run.problems
    assert f"{path} tells of {said} that result.json counts" in problem
    assert status(run).startswith("Finished after 4 generations: legal architectures exhausted.")
    read = len(run.generations)
    assert (f"The records of {read} of them are there." in status(run)) == (read < 4)
    assert "found before" not in status(run)
    assert dict(comparison([run]))["evaluations"] == ["9"]


def test_scores_that_the_result_counts_and_that_are_gone(tmp_path: Path) -> None:
    write_run(tmp_path, ended=result(generations=4, evaluations=10))
    (problem,) = salvage(tmp_path)[1]
    assert "generations.jsonl tells of 9 of the 10 evaluations that result.json" in problem


def test_one_generation_is_one(tmp_path: Path) -> None:
    ended = {**GENERATIONS[0], "finished": "generation limit"}
    write_run(tmp_path, generations=[ended], ended=result(generations=1, evaluations=3))
    (run,), _ = read_runs([tmp_path])
    assert (run.problems, status(run)[:28]) == ((), "Finished after 1 generation:")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"format": 4}, r"records of at most format 3.*of format 4"),
        ({"format": "new"}, r"at most format 3"),
        ({"strategy": ...}, r"its strategy and the choices of its blocks"),
        ({"strategy": "PCFES"}, r"its strategy"),
        ({"supernet": {"choices": [2, -1]}}, r"choices of its blocks"),
        ({"supernet": ...}, r"choices of its blocks"),
    ],
)
def test_what_is_no_run_that_can_be_read_is_refused(
    changes: dict[str, Any], said: str, tmp_path: Path
) -> None:
    write_run(tmp_path)
    rewrite(tmp_path / "config.json", **changes)
    with pytest.raises(InputError, match=f"run_dir: .*{said}"):
        salvage(tmp_path)


def test_one_bad_directory_does_not_hide_the_others(tmp_path: Path) -> None:
    write_run(tmp_path / "a")
    (tmp_path / "b").mkdir()
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "config.json").write_text("nothing")
    write_run(tmp_path / "d")
    paths = [tmp_path / name for name in ("a", "b", "c", "d", "e")]
    runs, refused = read_runs(paths)
    assert [(run.key, run.label) for run in runs] == [("r0", "a"), ("r1", "d")]
    assert [path.name for path, _ in refused] == ["b", "c", "e"]
    assert ["has none" in str(refused[0][1]), "is missing" in str(refused[2][1])] == [True, True]


def test_labels_are_the_shortest_ends_that_differ() -> None:
    paths = [Path("/x/one/run"), Path("/x/two/run"), Path("/y/two/run"), Path("/x/other")]
    assert labels_of(paths) == ["one/run", "x/two/run", "y/two/run", "other"]
    assert labels_of([Path("/run")]) == ["run"]
    assert labels_of([]) == []


@pytest.mark.parametrize(
    ("winner", "told"),
    [
        ([0, 1, 0], ""),
        ([0, 0, 1], "before all of these blocks were frozen; scored in full, it was the best"),
        ([1, 1, 1], "before the blocks were frozen; scored in full, it was the best"),
    ],
)
def test_a_winner_that_is_not_behind_the_prefix(
    winner: list[int], told: str, tmp_path: Path
) -> None:
    write_run(tmp_path, ended=result(architecture=winner))
    (run,), _ = read_runs([tmp_path])
    assert told in found_before(run)
    assert bool(found_before(run)) == bool(told)
