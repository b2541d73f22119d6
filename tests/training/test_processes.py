"""Processes that train together end alike, and where one process alone does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from command_runs import Finished, tiny_supernet, torchrun
from small_training import SETTINGS, digits, same, small_supernet, with_settings
from together import EXACT, STEPS, exact_supernet, exact_training, timeless

from raynas.commands.pool_file import pool_of, read_pool
from raynas.errors import InputError
from raynas.supernets import load
from raynas.training import EpochReport, train
from raynas.training.processes import Processes

SCRIPT = Path(__file__).parent / "together.py"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the processes write to, with the checkpoint of a process that was alone."""
    home = tmp_path_factory.mktemp("together")
    train(small_supernet(), digits(), SETTINGS, checkpoint=home / "alone.pt")
    return home


@pytest.fixture(scope="module")
def output(home: Path) -> Finished:
    """What two processes print that run the trainings of `together.py`."""
    return torchrun(SCRIPT, home)


@pytest.fixture(scope="module")
def seen(output: Finished, home: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """What each of the two saw."""
    assert (output.code, output.err) == (0, ""), output.err
    first, second = (torch.load(home / f"{rank}.pt", weights_only=False) for rank in range(2))
    assert first["count"] == second["count"] == 2
    return first, second


Seen = tuple[dict[str, Any], dict[str, Any]]


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["whole", "interrupted", "averaged", "given", "uniform", "fair", "greedy"]
)
def test_all_processes_end_with_the_same_bits(name: str, seen: Seen) -> None:
    first, second = (each[name] for each in seen)
    assert same(first["state"], second["state"])
    assert first.get("reports") == second.get("reports")


@pytest.mark.slow
def test_a_progressive_training_ends_alike_everywhere(seen: Seen) -> None:
    """Whoever trained it, or only read what was trained."""
    first, second = (each["progressive"] for each in seen)
    for each in (first, second):
        assert same(each["state"], first["state"])
        assert same(each["read"], first["state"])
        assert each["state reports"] == each["read reports"] == first["state reports"]
    assert len(first["state reports"]) == 1 + 2
    assert first["state table"] == first["read table"]
    assert second["state table"] is None


@pytest.mark.slow
def test_observers_and_checkpoints_are_those_of_process_0(seen: Seen, home: Path) -> None:
    first, second = (each["whole"] for each in seen)
    assert first["observed"] == first["reports"]
    assert first["steps"] == [(epoch, step) for epoch in (1, 2, 3) for step in range(1, 7)]
    assert second["observed"] == second["steps"] == []
    for each in (first, second):
        read, reports = each["read"]
        assert same(read, first["state"])
        assert reports == first["reports"]
    assert {path.name for path in home.glob("*whole*")} == {"whole.pt"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["uniform", "fair", "greedy"])
def test_two_processes_train_as_one_does_on_the_same_batches(name: str, seen: Seen) -> None:
    alone, together = exact_training(name), seen[0][name]
    initial = exact_supernet().state_dict()
    assert not same(alone["state"], initial)
    torch.testing.assert_close(together["state"], alone["state"], rtol=1e-4, atol=1e-6)
    assert len(together["reports"]) == len(alone["reports"])
    assert (len(alone["reports"]) < EXACT.epochs) == (name == "greedy"), "it ends early"
    for one, other in zip(together["reports"], alone["reports"], strict=True):
        assert one == pytest.approx(other, rel=1e-4)


@pytest.mark.slow
def test_unsampled_choices_stay_as_they_are(seen: Seen, home: Path) -> None:
    given = seen[0]["given"]
    states = [*given["before"], given["state"]]
    assert len(given["before"]) == len(STEPS)
    assert seen[1]["given"]["before"] == [], "process 0 alone draws paths"
    for paths, before, after in zip(STEPS, states, states[1:], strict=False):
        for block, choice in ((block, choice) for block in range(3) for choice in range(3)):
            names = [name for name in before if name.startswith(f"blocks.{block}.{choice}.")]
            changed = {not torch.equal(before[name], after[name]) for name in names}
            assert changed == {any(path[block] == choice for path in paths)}
    # Nor do they have a momentum that would move them later; weights of two dimensions come first.
    order = sorted(given["names"], key=lambda name: given["state"][name].ndim == 1)
    moved = torch.load(home / "given.pt", weights_only=True)["optimizer"]["state"].keys()
    initial = exact_supernet().state_dict()
    trained = {n for n in order if not torch.equal(given["state"][n], initial[n])}
    assert {order[index] for index in moved} == trained
    assert 0 < len(trained) < len(order)


@pytest.mark.slow
def test_processes_draw_other_random_numbers(seen: Seen) -> None:
    drawn = [*seen[0]["random"], *seen[1]["random"]]
    assert len(drawn) >= 2 * 6
    assert len(set(drawn)) == len(drawn)


@pytest.mark.slow
def test_resumed_trainings_end_bit_identically(seen: Seen) -> None:
    first, second = (each["interrupted"] for each in seen)
    assert first["ended"][0] == "Interrupted"
    assert second["ended"][0] == "FirstProcessError"
    for each in seen:
        whole = each["whole"]
        assert same(each["interrupted"]["state"], whole["state"])
        reports = [EpochReport(**report) for report in whole["reports"]]
        assert each["interrupted"]["reports"] == timeless(reports)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "kind", "text"),
    [
        ("alone", "InputError", "processes None instead of 2"),
        ("damaged", "InputError", "checkpoint"),
        ("batch_size", "InputError", "batch_size: expected batches of a multiple of 2 samples"),
        ("images", "InputError", "images: expected batches of a multiple of 2 samples"),
        ("diverged", "TrainingDivergedError", "The loss of epoch 1, step 3 is nan"),
    ],
)
def test_an_error_ends_all_processes(name: str, kind: str, text: str, seen: Seen) -> None:
    first, second = (each["refusals"][name] for each in seen)
    assert first == second
    assert first[0] == kind
    assert text in first[1]


@pytest.mark.slow
def test_an_error_of_process_0_alone_is_named_in_the_others(seen: Seen) -> None:
    first, second = (each["refusals"]["paths"] for each in seen)
    assert first[0] == "AssertionError"
    assert second == ("FirstProcessError", "process 0 ended with AssertionError")


@pytest.mark.slow
def test_one_process_does_not_go_on_with_what_two_began(seen: Seen, home: Path) -> None:
    supernet = small_supernet(dropout=0.3)
    with pytest.raises(InputError, match="processes 2 instead of None"):
        train(supernet, digits(), SETTINGS, checkpoint=home / "whole.pt")


@pytest.mark.slow
def test_the_command_line_speaks_once(output: Finished, seen: Seen, home: Path) -> None:
    weights = home / "new" / "supernet.st"
    lines = output.out.splitlines()
    assert [line.split()[0] for line in lines] == [
        "Supernet:",
        "epoch",
        "epoch",
        *["Supernet:"] * 4,
    ]
    assert lines[-2] == f"Supernet: reusing {weights}"
    assert lines[-1].startswith("Supernet: nothing was trained, and --epochs ")
    assert {path.name for path in weights.parent.iterdir()} == {
        weights.name,
        f"{weights.name}.pool.json",
    }
    load(tiny_supernet(), weights)
    assert read_pool(pool_of(weights))


def with_gpus(monkeypatch: pytest.MonkeyPatch, count: int) -> list[torch.device]:
    """Let this machine seem to have GPUs; the ones that torch is told to use."""
    used: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(torch.cuda, "set_device", used.append)
    return used


@pytest.mark.parametrize("device", [None, "cuda"])
def test_each_process_has_a_gpu_of_its_own(
    device: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = with_gpus(monkeypatch, 2)
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    chosen = Processes(5, 8).device(with_settings(device=device))
    assert chosen == torch.device("cuda:1")
    assert used == [chosen]
    assert Processes(5, 8).device(with_settings(device="cpu")) == torch.device("cpu")
    alone = Processes().device(with_settings(device=device))
    assert (alone, used) == (torch.device("cuda"), [chosen])


@pytest.mark.parametrize(("device", "here"), [(None, "3"), ("cuda:1", "2")])
def test_gpus_that_processes_would_share(
    device: str | None, here: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_gpus(monkeypatch, 2)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", here)
    with pytest.raises(InputError, match=f"device: .* a GPU for each of {here} processes"):
        Processes(0, 4).device(with_settings(device=device))


def test_without_gpus_processes_train_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    with_gpus(monkeypatch, 0)
    assert Processes(1, 4).device(with_settings(device=None)) == torch.device("cpu")
