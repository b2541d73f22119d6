"""The run directory: what is on the disk survives any kill, and nothing foreign is overwritten."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_search import contents

from raynas.errors import InputError
from raynas.files import append_line, dumps, read_json
from raynas.report.read import read_run
from raynas.runlog import RunLog, recover, require_resumable, require_same, require_usable

CONFIG: dict[str, Any] = {"seed": 5, "strategy": {"name": "ea", "population": 8}, "limit": None}

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    # A line of a record must stay one line, whatever is in it.
    | st.text(max_size=8)
    | st.just("a\nb\r\u2028c"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)
NESTED = st.recursive(
    st.dictionaries(st.sampled_from("abc"), st.none() | st.booleans() | st.integers(0, 2)),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner | st.integers(0, 2)),
    max_leaves=4,
)
OBJECTS = st.dictionaries(st.text(max_size=4), JSON, max_size=4)


def generation(number: int) -> dict[str, Any]:
    return {"generation": number, "population": [[number, 1], [0, number]]}


def metrics(number: int) -> dict[str, Any]:
    return {"generation": number, "seconds": 0.5 * number}


def write_run(directory: Path, generations: int, *, resume: bool = False) -> None:
    with RunLog(directory, CONFIG, resume=resume) as log:
        for number in range(len(log.generations), generations):
            log.append(generation(number), metrics(number))


def test_records_are_read_back(tmp_path: Path) -> None:
    directory = tmp_path / "deep" / "run"
    write_run(directory, 3)
    with RunLog(directory, CONFIG, resume=True) as log:
        assert log.generations == [generation(number) for number in range(3)]
        assert log.metrics == [metrics(number) for number in range(3)]
        assert read_run(directory).result is None
        log.finish({"top1": 0.5})
        assert read_run(directory).result == {"top1": 0.5}
    assert read_json(directory / "config.json") == CONFIG
    assert not list(directory.glob("*.part"))


@pytest.mark.parametrize("made", [False, True])
def test_resuming_what_is_not_there_starts_afresh(made: bool, tmp_path: Path) -> None:
    directory = tmp_path / "run"
    if made:
        directory.mkdir()
    write_run(directory, 1, resume=True)
    assert recover(directory / "generations.jsonl") == [generation(0)]


def test_a_generation_cut_off_at_any_byte_is_dropped(tmp_path: Path) -> None:
    write_run(tmp_path, 3)
    whole = (tmp_path / "generations.jsonl").read_bytes()
    kept = whole[: whole[:-1].rindex(b"\n") + 1]
    for end in range(len(kept), len(whole)):
        (tmp_path / "generations.jsonl").write_bytes(whole[:end])
        with RunLog(tmp_path, CONFIG, resume=True) as log:
            assert log.generations == [generation(0), generation(1)]
            assert log.metrics == [metrics(0), metrics(1)]
            assert (tmp_path / "generations.jsonl").read_bytes() == kept
            log.append(generation(2), metrics(2))
        assert (tmp_path / "generations.jsonl").read_bytes() == whole


def test_metrics_without_their_generation_are_dropped(tmp_path: Path) -> None:
    write_run(tmp_path, 2)
    append_line(tmp_path / "metrics.jsonl", metrics(2))
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"generat')
    write_run(tmp_path, 3, resume=True)
    assert recover(tmp_path / "metrics.jsonl") == [metrics(number) for number in range(3)]


@given(st.lists(OBJECTS, max_size=4), st.data())
def test_recover_keeps_whole_records_and_no_others(
    tmp_path_factory: pytest.TempPathFactory, written: list[dict[str, Any]], data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("log") / "records.jsonl"
    for record in written:
        append_line(path, record)
    if not written:
        assert recover(path) == []
        return
    content = path.read_bytes()
    end = data.draw(st.integers(0, len(content)))
    path.write_bytes(content[:end])
    whole = content[:end].count(b"\n")
    assert recover(path) == written[:whole]
    assert path.read_bytes() == b"".join(content.splitlines(keepends=True)[:whole])


@pytest.mark.parametrize(
    "line", [b"{", b"[]", b"3", b"null", b"\xff\xfe", b"", b'{"a": 1} {"b": 2}']
)
@pytest.mark.parametrize("name", ["generations.jsonl", "metrics.jsonl"])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_damaged_line_is_named(line: bytes, name: str, place: int, tmp_path: Path) -> None:
    write_run(tmp_path, 3)
    lines = (tmp_path / name).read_bytes().splitlines()
    lines[place] = line
    (tmp_path / name).write_bytes(b"\n".join(lines) + b"\n")
    before = contents(tmp_path)
    with pytest.raises(InputError, match=f"{name}: .*line {place + 1}: .*Restore the file"):
        RunLog(tmp_path, CONFIG, resume=True)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("text", ["", "{", "[]", '"text"'])
def test_a_damaged_config_is_named(text: str, tmp_path: Path) -> None:
    write_run(tmp_path, 1)
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(InputError, match=r"config\.json: expected a JSON object"):
        RunLog(tmp_path, CONFIG, resume=True)
    assert (tmp_path / "config.json").read_text() == text


@pytest.mark.parametrize("name", ["config.json", "generations.jsonl", "result.json"])
def test_a_directory_that_holds_a_run_is_not_used_again(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("{}\n")
    with pytest.raises(InputError, match=f"run_dir: .*which holds {name}.*--resume"):
        require_usable(tmp_path, resume=False)
    with pytest.raises(InputError, match="without a run"):
        RunLog(tmp_path, CONFIG, resume=False)
    assert contents(tmp_path) == {name: b"{}\n"}


@pytest.mark.parametrize("name", ["generations.jsonl", "result.json"])
def test_a_run_without_its_config_cannot_be_resumed(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("{}\n")
    with pytest.raises(InputError, match=f"run_dir: .*config.json.*holds only {name}"):
        RunLog(tmp_path, CONFIG, resume=True)
    assert contents(tmp_path) == {name: b"{}\n"}


def test_other_files_do_not_matter(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    write_run(tmp_path, 1)
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("where", ["file/run", "file", "file/deep/run", "x" * 300, "a/../file/b"])
@pytest.mark.parametrize("resume", [False, True])
def test_a_place_that_cannot_be_written_to(where: str, resume: bool, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "a").mkdir()
    for attempt in (require_usable, lambda path, resume: RunLog(path, CONFIG, resume=resume)):
        with pytest.raises(InputError, match=r"run_dir: .*Change its permissions, or use another"):
            attempt(tmp_path / where, resume=resume)
    assert contents(tmp_path) == {"file": b"mine"}


def test_a_place_where_not_even_root_can_write() -> None:
    with pytest.raises(InputError, match=r"run_dir: .*can be created"):
        RunLog(Path("/proc/run"), CONFIG, resume=False)


def test_looking_creates_nothing(tmp_path: Path) -> None:
    require_usable(tmp_path / "deep" / "run", resume=False)
    assert not list(tmp_path.iterdir())


def test_another_configuration_is_shown(tmp_path: Path) -> None:
    write_run(tmp_path, 1)
    before = contents(tmp_path)
    other = {"seed": 6, "strategy": {"name": "ea", "population": 9, "top_k": 3}}
    with pytest.raises(InputError) as caught:
        RunLog(tmp_path, other, resume=True)
    assert str(caught.value) == (
        "resume: expected the configuration that the run was started with, got "
        "limit: None there, absent now; seed: 5 there, 6 now; "
        "strategy.population: 8 there, 9 now; strategy.top_k: absent there, 3 now. "
        "Use the same settings, supernet and data, or another run directory."
    )
    assert contents(tmp_path) == before
    write_run(tmp_path, 2, resume=True)


@given(NESTED, NESTED)
def test_any_difference_is_shown(one: dict[str, Any], other: dict[str, Any]) -> None:
    require_same(one, json.loads(dumps(one)))
    if one == other:
        require_same(one, other)
    else:
        with pytest.raises(InputError, match=r"got .* there, .* now\. Use"):
            require_same(one, other)


def test_what_is_known_early_is_compared_early(tmp_path: Path) -> None:
    require_resumable(tmp_path, {"seed": 6})
    write_run(tmp_path, 1)
    before = contents(tmp_path)
    early = {name: value for name, value in CONFIG.items() if name != "strategy"}
    unknown = ("strategy.name", "strategy.population")
    require_resumable(tmp_path, early, unknown=unknown)
    with pytest.raises(
        InputError, match=r"got strategy\.name: ea there, absent now; strategy\.pop"
    ):
        require_resumable(tmp_path, early)
    with pytest.raises(InputError, match=r"got limit: None there, 3 now\. Use"):
        require_resumable(tmp_path, {**early, "limit": 3}, unknown=unknown)
    assert contents(tmp_path) == before


def test_a_lock_is_let_go_of_after_an_error(tmp_path: Path) -> None:
    write_run(tmp_path, 1)
    errors = []
    for _ in range(2):
        with pytest.raises(InputError) as caught:
            RunLog(tmp_path, {**CONFIG, "seed": 6}, resume=True)
        errors.append(caught.value)
    assert "seed: 5 there, 6 now" in str(errors[1])


def test_one_process_at_a_time(tmp_path: Path) -> None:
    with RunLog(tmp_path, CONFIG, resume=False) as log:
        log.append(generation(0), metrics(0))
        before = contents(tmp_path)
        with pytest.raises(InputError, match=r"run_dir: .*no other process writes to.*Wait"):
            RunLog(tmp_path, CONFIG, resume=True)
        assert contents(tmp_path) == before
    write_run(tmp_path, 2, resume=True)


def hold(directory: Path, ready: Any) -> None:
    log = RunLog(directory, CONFIG, resume=False)
    log.append(generation(0), metrics(0))
    ready.set()
    signal.pause()


def test_a_killed_process_leaves_no_lock(tmp_path: Path) -> None:
    context = multiprocessing.get_context("forkserver")
    ready = context.Event()
    holder = context.Process(target=hold, args=(tmp_path, ready), daemon=True)
    holder.start()
    while not ready.wait(1.0):
        assert holder.is_alive()
    with pytest.raises(InputError, match="no other process writes to"):
        RunLog(tmp_path, CONFIG, resume=True)
    assert holder.pid is not None
    os.kill(holder.pid, signal.SIGKILL)
    holder.join()
    write_run(tmp_path, 2, resume=True)
    assert recover(tmp_path / "generations.jsonl") == [generation(0), generation(1)]


def test_numbers_of_numpy_are_numbers() -> None:
    values = {"a": np.int64(3), "b": np.float32(0.5), "c": np.bool_(True)}
    assert json.loads(dumps(values)) == {"a": 3, "b": 0.5, "c": True}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), np.float32("nan")])
def test_records_hold_no_nan(value: float, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        dumps({"loss": value})
    with RunLog(tmp_path, CONFIG, resume=False) as log:
        with pytest.raises(ValueError, match="JSON"):
            log.finish({"loss": value})
        assert read_run(tmp_path).result is None


def test_what_json_does_not_know_is_named() -> None:
    with pytest.raises(TypeError, match="JSON cannot hold PosixPath"):
        dumps({"path": Path("x")})
