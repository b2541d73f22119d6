"""A run is not resumed as another one, and damaged records are not built upon."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from small_search import (
    PCF,
    SAMPLED,
    SETTINGS,
    CountedShards,
    Setting,
    contents,
    copy_of,
    count_calls,
    history,
    interrupt,
    records,
    run_search,
    small_data,
    small_supernet,
)

import raynas
from raynas.errors import InputError
from raynas.preparation import Prepared
from raynas.result import load_result
from raynas.supernets.identity import Identity


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The uninterrupted run."""
    run_dir = tmp_path_factory.mktemp("whole") / "run"
    run_search(run_dir)
    return run_dir


@pytest.fixture(scope="module")
def three_generations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was stopped after its third generation."""
    run_dir = tmp_path_factory.mktemp("three") / "run"
    interrupt(run_dir, 3)
    return run_dir


@pytest.fixture(params=["unfinished", "finished"])
def either(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of a run that was stopped, or of one that ended."""
    name = "whole" if request.param == "finished" else "three_generations"
    return copy_of(request.getfixturevalue(name), tmp_path)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The evaluator operations that are called, once per call."""
    return count_calls(monkeypatch)


DIFFERENT: dict[str, tuple[dict[str, Any], str]] = {
    "seed": ({"seed": 3}, r"seed: 2 there, 3 now"),
    "threshold": (
        {"strategy": replace(PCF, threshold=0.6)},
        r"strategy\.threshold: 0\.5 there, 0\.6 now",
    ),
    "strategy": (
        {"strategy": raynas.EA(population=8, generations=6, top_k=4)},
        r"strategy\.monitor: 2 there, absent now; strategy\.strategy: PCFES there, EA now",
    ),
    "evaluation": (
        {"evaluation": raynas.Evaluation(sample_rate=0.5, bits=32)},
        r"evaluation\.bits: 16 there, 32 now",
    ),
    "constraint": (
        {"constraint": raynas.FLOPs(at_most=30_000)},
        r"constraint: None there, absent now; constraint\.flops\.at_most: absent there, 30000 now",
    ),
    "weights": ({"supernet": small_supernet(1)}, r"got another one: what stem computes differ"),
    "space": (
        {"supernet": small_supernet(blocks=7)},
        r"got another one: the blocks and choices, .* differ",
    ),
    "data": ({"data": small_data(1)}, r"data\.digest: [0-9a-f]{32} there, [0-9a-f]{32} now"),
    "data name": ({"data": replace(small_data(), name="other")}, r"data\.name: noise there, other"),
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_another_configuration_is_refused_and_shown(
    name: str, either: Path, calls: list[str]
) -> None:
    before, (options, shown) = contents(either), DIFFERENT[name]
    with pytest.raises(InputError, match=rf"resume: .*{shown}.*another run directory"):
        run_search(either, resume=True, **options)
    assert contents(either) == before
    assert calls == []


def test_a_missing_or_a_moved_shard_is_another_data_set(
    three_generations: Path, tmp_path: Path
) -> None:
    run_dir = copy_of(three_generations, tmp_path)
    data = small_data()
    cut = replace(data, validation=data.validation[:2])
    turned = replace(data, calibration=[*data.calibration[1:], data.calibration[0]])
    for other in (cut, turned):
        with pytest.raises(InputError, match=r"data\.digest"):
            run_search(run_dir, resume=True, data=other)


OTHER: dict[str, tuple[dict[str, Any], str]] = {
    "calibration": ({"calibration": small_data(1).calibration}, r"data\.digest"),
    "validation": ({"validation": small_data(1).validation}, r"data\.digest"),
    "test": ({"test": small_data(1).test}, r"tested_samples: [0-9a-f]{32} there, [0-9a-f]{32} now"),
    "fewer to test": ({"test": small_data().test[:1]}, "tested_samples"),
    "none to test": ({"test": ()}, "tested_samples: [0-9a-f]{32} there, None now"),
}


@pytest.mark.parametrize("lazy", [False, True], ids=["in memory", "read when asked for"])
@pytest.mark.parametrize("name", OTHER)
def test_no_finished_run_gives_scores_of_other_samples(
    name: str, lazy: bool, whole: Path, calls: list[str]
) -> None:
    splits, shown = OTHER[name]
    before = contents(whole)
    other = replace(small_data(), **{n: CountedShards(s) if lazy else s for n, s in splits.items()})
    with pytest.raises(InputError, match=rf"resume: .*{shown}.*another run directory"):
        run_search(whole, resume=True, data=other)
    with pytest.raises(InputError, match=rf"run_dir: .*{shown}"):
        load_result(whole, small_supernet(), other)
    assert contents(whole) == before
    assert calls == []


def test_a_run_without_a_test_is_not_one_with(tmp_path: Path) -> None:
    setting = SETTINGS["random"]
    run_search(tmp_path, setting, data=small_data(test=0))
    with pytest.raises(InputError, match=r"tested_samples: None there, [0-9a-f]{32} now"):
        run_search(tmp_path, setting, resume=True)
    again = run_search(tmp_path, setting, resume=True, data=small_data(test=0))
    assert again.best.test_top1 is None


def test_a_result_that_does_not_say_what_it_was_tested_on_is_read_back(
    whole: Path, tmp_path: Path
) -> None:
    run_dir = copy_of(whole, tmp_path)
    result = json.loads((run_dir / "result.json").read_text())
    del result["tested_samples"]
    (run_dir / "result.json").write_text(json.dumps(result))
    other = replace(small_data(), test=small_data(1).test)
    assert run_search(run_dir, resume=True, data=other).record == result
    assert load_result(run_dir, small_supernet(), other).record == result


def pictures(root: Path, red: int) -> raynas.data.SearchData:
    """A folder of images; what their names and sizes are does not depend on the colour."""
    for label in range(2):
        for number in range(12):
            path = root / "train" / f"{label}" / f"{number:02}.bmp"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8), (red, number, label)).save(path)
    return raynas.data.from_folder(root, image_size=8, shard_size=4, threads=1)


def test_no_finished_run_gives_scores_of_other_image_files(tmp_path: Path) -> None:
    torch.manual_seed(0)
    supernet = raynas.ChainSupernet(
        raynas.supernets.Normalize((0.4,) * 3, (0.2,) * 3),
        [[torch.nn.Conv2d(3, 3, 1), torch.nn.Identity()]] * 2,
        torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 2)),
        image_shape=(3, 8, 8),
        num_classes=2,
    )
    setting = Setting(raynas.RandomSearch(population=2, generations=1))
    options: dict[str, Any] = {"supernet": supernet}
    first = run_search(tmp_path / "run", setting, data=pictures(tmp_path / "data", 9), **options)
    again = run_search(
        tmp_path / "run", setting, data=pictures(tmp_path / "data", 9), resume=True, **options
    )
    assert again.best == first.best
    changed = pictures(tmp_path / "data", 200)
    with pytest.raises(InputError, match=r"resume: .*data\.digest"):
        run_search(tmp_path / "run", setting, data=changed, resume=True, **options)


def test_one_changed_weight_is_another_supernet(either: Path) -> None:
    supernet = small_supernet()
    with torch.no_grad():
        next(supernet.head.parameters()).view(-1)[0] += 1e-6
    with pytest.raises(InputError, match=r"got another one: weights, attributes or code .* differ"):
        run_search(either, resume=True, supernet=supernet)


def test_a_run_directory_is_not_used_twice(whole: Path) -> None:
    before = contents(whole)
    with pytest.raises(InputError, match=r"run_dir: .*which holds config\.json.*--resume"):
        run_search(whole)
    assert contents(whole) == before


def edited(run_dir: Path, number: int, change: Callable[[dict[str, Any]], object]) -> bytes:
    """Change one recorded generation; the new content of the file."""
    lines = records(run_dir)
    change(lines[number])
    (run_dir / "generations.jsonl").write_text("".join(json.dumps(r) + "\n" for r in lines))
    return history(run_dir)


EDITS: dict[str, Callable[[dict[str, Any]], object]] = {
    "architecture": lambda r: r["population"][0].update(architecture=[3] * 8),
    "order": lambda r: r["population"].reverse(),
    "prefix": lambda r: r.update(prefix=[0]),
    "number": lambda r: r.update(generation=7),
    "missing candidate": lambda r: r["population"].pop(),
    "missing part": lambda r: r.pop("rescored"),
    "missing score": lambda r: r["population"][1].pop("top1"),
    "score that is none": lambda r: r["population"][1].update(top1="high"),
    "no list": lambda r: r.update(population=3),
}


@pytest.mark.parametrize(
    ("name", "number"), [(name, 2 * (place % 2)) for place, name in enumerate(EDITS)]
)
def test_an_edited_generation_is_refused(name: str, number: int, either: Path) -> None:
    """The first and the last of three, by turns."""
    content = edited(either, number, EDITS[name])
    with pytest.raises(InputError, match=r"resume: .*Restore the file"):
        run_search(either, resume=True)
    assert history(either) == content


def test_edited_scores_lead_to_other_proposals_and_are_refused(either: Path) -> None:
    def invert(record: dict[str, Any]) -> None:
        for score in record["population"]:
            score["top1"] = 1 - score["top1"]

    edited(either, 0, invert)
    with pytest.raises(InputError, match="others from generation 1 on"):
        run_search(either, resume=True)


def test_generations_after_the_end_are_refused(whole: Path, tmp_path: Path) -> None:
    run_dir = copy_of(whole, tmp_path)
    last = history(run_dir).splitlines(keepends=True)[-1]
    with (run_dir / "generations.jsonl").open("ab") as file:
        file.write(last)
    with pytest.raises(InputError, match=f"others from generation {SAMPLED.strategy.generations}"):
        run_search(run_dir, resume=True)


def test_a_damaged_line_in_the_middle_is_named(either: Path) -> None:
    lines = history(either).splitlines(keepends=True)
    lines[1] = lines[1][: len(lines[1]) // 2] + b"\n"
    (either / "generations.jsonl").write_bytes(b"".join(lines))
    with pytest.raises(InputError, match=r"generations\.jsonl: .*line 2: .*Restore the file"):
        run_search(either, resume=True)
    assert history(either) == b"".join(lines)


@pytest.mark.parametrize("name", ["pcf, top samples, 16 bits", "pcf, first votes"])
def test_scores_of_other_samples_are_not_built_upon(name: str, tmp_path: Path) -> None:
    setting = SETTINGS[name]
    interrupt(tmp_path, 4, setting=setting)
    path = tmp_path / "generations.jsonl"
    before = path.read_text()
    selection = records(tmp_path)[-1]["selection"]
    assert selection is not None
    path.write_text(before.replace(selection, "0" * len(selection)))
    changed = history(tmp_path)
    with pytest.raises(InputError, match="the samples that the recorded scores are of"):
        run_search(tmp_path, setting, resume=True)
    assert history(tmp_path) == changed, "nothing is overwritten"
    path.write_text(before)
    run_search(tmp_path, setting, resume=True)


class Activation(torch.nn.Module):
    """An activation that keeps its kind where no digest of tensors sees it."""

    def __init__(self, kind: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.kind = [kind]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.kind[0](x)


def activated(kind: Callable[[torch.Tensor], torch.Tensor]) -> raynas.ChainSupernet:
    """The small supernet with another activation in every choice, and the same weights."""
    supernet = small_supernet()
    for choice in (choice for choices in supernet.blocks for choice in choices):  # type: ignore[union-attr]
        choice[2] = Activation(kind)
    with torch.no_grad():
        # Logits of a size that trained networks have.
        supernet.head[-1].weight.mul_(20.0)  # type: ignore[index]
    return supernet


@pytest.mark.parametrize("seen", [True, False], ids=["by its digest", "by its scores"])
def test_another_network_with_the_same_weights_is_refused(
    seen: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not seen:
        # What the digest does not tell, the score of a recorded candidate does.
        monkeypatch.setattr(Prepared, "identity", Identity("0" * 32, ()))
    setting = SETTINGS["random"]
    interrupt(tmp_path, 3, setting=setting, supernet=activated(torch.relu))
    before = contents(tmp_path)
    with pytest.raises(InputError, match=r"resume: ") as caught:
        run_search(tmp_path, setting, resume=True, supernet=activated(torch.sigmoid))
    assert seen or "the recorded score of [" in str(caught.value)
    assert contents(tmp_path) == before
    run_search(tmp_path, setting, resume=True, supernet=activated(torch.relu))


@pytest.mark.parametrize("kept", [0, 2])
def test_a_finished_run_without_all_of_its_generations_is_refused(
    kept: int, whole: Path, tmp_path: Path
) -> None:
    run_dir = copy_of(whole, tmp_path)
    lines = history(run_dir).splitlines(keepends=True)
    (run_dir / "generations.jsonl").write_bytes(b"".join([*lines[:kept], lines[kept][:9]]))
    before = contents(run_dir)
    with pytest.raises(InputError, match=rf"resume: .*got {kept} in .*Restore the file"):
        run_search(run_dir, resume=True)
    assert contents(run_dir) == before


def test_a_run_of_a_newer_format_is_not_called_one_of_other_settings(either: Path) -> None:
    config = json.loads((either / "config.json").read_text())
    (either / "config.json").write_text(json.dumps({**config, "format": 4}))
    before = contents(either)
    said = "run_dir: expected records of at most format 3, .*Install the version of raynas that"
    with pytest.raises(InputError, match=said):
        run_search(either, resume=True)
    with pytest.raises(InputError, match=said):
        raynas.check_search(
            small_supernet(), small_data(), strategy=PCF, run_dir=either, resume=True, workers=0
        )
    with pytest.raises(InputError, match=said):
        load_result(either, small_supernet(), small_data())
    assert contents(either) == before


def test_other_settings_are_found_before_the_supernet_is_trained(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    run_search(run_dir)
    untrained, data = small_supernet(seed=7), small_data()
    options: dict[str, Any] = {"run_dir": run_dir, "resume": True, "workers": 0, "seed": 2}
    options["evaluation"] = SAMPLED.evaluation
    raynas.check_search(untrained, data, strategy=SAMPLED.strategy, **options)
    other = replace(SAMPLED.strategy, population=9)
    with pytest.raises(InputError, match=r"strategy\.population: 8 there, 9 now"):
        raynas.check_search(untrained, data, strategy=other, **options)
