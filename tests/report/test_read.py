"""The reader of run directories: what is complete is read, and nothing is touched."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_search import contents, interrupt, run_search

from raynas.errors import InputError
from raynas.report.read import read_run
from raynas.runlog import RunLog

CONFIG: dict[str, Any] = {"seed": 5, "strategy": {"strategy": "EA"}}


def generation(number: int) -> dict[str, Any]:
    return {"generation": number, "population": [[number, 1]]}


def metrics(number: int) -> dict[str, Any]:
    return {"generation": number, "seconds": 0.5 * number}


def write_run(directory: Path, generations: int) -> Path:
    with RunLog(directory, CONFIG, resume=False) as log:
        for number in range(generations):
            log.append(generation(number), metrics(number))
    return directory


def state(directory: Path) -> dict[str, tuple[int, int, int]]:
    """Size and times of change of every file, the folder's own among them."""
    found = {}
    for path in (directory, *directory.rglob("*")):
        now = path.stat()
        found[str(path)] = (now.st_size, now.st_mtime_ns, now.st_ctime_ns)
    return found


def test_a_run_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_run(tmp_path / "run", 3)
    records = read_run(str(tmp_path / "run"))
    assert records.directory == tmp_path / "run"
    assert records.config == CONFIG
    assert records.generations == [generation(number) for number in range(3)]
    assert records.metrics == [metrics(number) for number in range(3)]
    assert (records.result, records.finished) == (None, False)


@given(cut=st.integers(0, 200), timed=st.integers(0, 200))
def test_what_a_live_run_has_not_completed_is_left_out(
    tmp_path_factory: pytest.TempPathFactory, cut: int, timed: int
) -> None:
    directory = write_run(tmp_path_factory.mktemp("run"), 4)
    for name, end in (("generations.jsonl", cut), ("metrics.jsonl", timed)):
        path = directory / name
        path.write_bytes(path.read_bytes()[:end])
    before, untouched = contents(directory), state(directory)
    records = read_run(directory)
    whole = before["generations.jsonl"].count(b"\n")
    assert records.generations == [generation(number) for number in range(whole)]
    there = before["metrics.jsonl"].count(b"\n")
    assert records.metrics == [metrics(number) for number in range(min(whole, there))]
    assert contents(directory) == before
    assert state(directory) == untouched


def test_files_that_are_not_there_yet_are_empty(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    records = read_run(tmp_path)
    assert (records.generations, records.metrics, records.result) == ([], [], None)
    write_run(tmp_path / "run", 2)
    (tmp_path / "run" / "metrics.jsonl").unlink()
    assert len(read_run(tmp_path / "run").generations) == 2
    assert read_run(tmp_path / "run").metrics == []


def test_a_run_is_read_while_it_is_locked_and_where_nothing_can_be_written(tmp_path: Path) -> None:
    with RunLog(tmp_path, CONFIG, resume=False) as log:
        log.append(generation(0), metrics(0))
        assert read_run(tmp_path).generations == [generation(0)]
        log.append(generation(1), metrics(1))
    (tmp_path / ".lock").unlink()
    assert len(read_run(tmp_path).generations) == 2
    assert not (tmp_path / ".lock").exists()


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("config.json", "{", r"config\.json: expected a JSON object"),
        ("result.json", "[]", r"result\.json: expected a JSON object"),
        ("generations.jsonl", "{}\n3\n{}\n", r"generations\.jsonl: .*line 2: a int"),
        ("metrics.jsonl", "{\n", r"metrics\.jsonl: .*line 1"),
    ],
)
def test_damage_is_named_and_left(name: str, text: str, message: str, tmp_path: Path) -> None:
    write_run(tmp_path, 1)
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        read_run(tmp_path)
    assert (tmp_path / name).read_text() == text


@pytest.mark.parametrize(("made", "text"), [(True, "has none"), (False, "is missing")])
def test_what_is_no_run_is_refused(made: bool, text: str, tmp_path: Path) -> None:
    directory = tmp_path / "run"
    if made:
        directory.mkdir()
    with pytest.raises(InputError, match=f"run_dir: .*{text}"):
        read_run(directory)


def test_a_search_is_read_before_and_after_its_end(tmp_path: Path) -> None:
    interrupt(tmp_path, 2)
    begun = read_run(tmp_path)
    assert [each["generation"] for each in begun.generations] == [0, 1]
    with pytest.raises(InputError, match=r"run_dir: .*a finished search.*--resume"):
        begun.require_result()
    result = run_search(tmp_path, resume=True)
    ended = read_run(tmp_path)
    assert ended.finished
    assert ended.require_result() == json.loads(json.dumps(result.record))
    assert ended.generations[:2] == begun.generations
    assert ended.metrics[:2] == begun.metrics


@pytest.mark.parametrize("missing", ["front", "names", "objectives", "costs"])
def test_a_result_of_an_earlier_version_is_named(missing: str, tmp_path: Path) -> None:
    whole = {"architecture": [0], "objectives": ["top1"], "costs": {}, "names": ["a"], "front": []}
    (tmp_path / "config.json").write_text("{}")
    text = json.dumps({name: value for name, value in whole.items() if name != missing})
    (tmp_path / "result.json").write_text(text)
    with pytest.raises(InputError, match=f"run_dir: .*got one without {missing} .*an earlier vers"):
        read_run(tmp_path).require_result()


WRITER = """
import sys
from raynas.runlog import RunLog
with RunLog(sys.argv[1], {"seed": 5}, resume=True) as log:
    while True:
        number = len(log.generations)
        # Longer than a page, so that a kill may come between two writes.
        log.append({"generation": number, "population": ["x" * 9000]}, {"generation": number})
        print(number, flush=True)
"""


@pytest.mark.parametrize("acknowledged", [1, 5])
def test_a_killed_writer_leaves_what_it_had_acknowledged(acknowledged: int, tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    for _ in range(acknowledged):
        assert writer.stdout.readline()
    live = read_run(tmp_path)
    os.kill(writer.pid, signal.SIGKILL)
    writer.communicate()
    left = read_run(tmp_path)
    assert len(left.generations) >= len(live.generations) >= acknowledged
    assert [each["generation"] for each in left.generations] == list(range(len(left.generations)))
    assert len(left.metrics) == len(left.generations)
    with RunLog(tmp_path, {"seed": 5}, resume=True) as log:
        assert log.generations == left.generations
        assert log.metrics == left.metrics


def test_reading_needs_neither_torch_nor_ray(tmp_path: Path) -> None:
    write_run(tmp_path, 1)
    code = (
        "import sys; from raynas.report.read import read_run; "
        "print(len(read_run(sys.argv[1]).generations), "
        "[name for name in ('torch', 'ray', 'pyarrow') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "1 []\n"
