"""A whole reproduction on a tiny supernet: nothing is repeated, and clocks are honest."""

from __future__ import annotations

import json
import runpy
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import reproduction.families
from reproduction.families import FAMILIES
from reproduction.lab import TIMING, Lab
from reproduction.page import page
from reproduction.plan import Sizes, Variant, Wanted
from reproduction.sources import Source
from reproduction.study import Study

from raynas.errors import InputError
from raynas.evolution.presets import ChoiceFreezing
from raynas.report.read import read_run
from raynas.supernets import save
from raynas.testing.supernets import small_data, small_supernet

ROOT = Path(__file__).resolve().parents[2]
SIZES = Sizes(8, 4, (1,), (0.5,), (), (1, 3), 2)
EARLY = {"freezing": ChoiceFreezing(0.5, 0.5, 3), "thresholds": (0.4, 0.5), "sampled": 0.5}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Everything that SPOS's tables need, on a supernet of random weights."""
    lab = Lab(tmp_path_factory.mktemp("home"), Source("digits", small_data(), 2), SIZES, 0)
    family = replace(FAMILIES[0], **EARLY)
    place = lab.folder(family) / "supernet.safetensors"
    place.parent.mkdir(parents=True)
    save(small_supernet(blocks=6, choices=3), place)
    return Study([lab], [family], tell=lambda line: None)


@pytest.fixture(scope="module", autouse=True)
def tiny() -> Any:
    """The family's supernet is a small one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            reproduction.families,
            "build_family",
            lambda name, images: small_supernet(blocks=6, choices=3),
        )
        yield


@pytest.fixture(scope="module")
def report(study: Study) -> dict[str, Any]:
    """The report of the whole study."""
    found = study.report("a command", quick=True)
    sizes: list[int] = []
    study.run(found, lambda report: sizes.append(len(report["rows"])))
    assert sizes == list(range(1, len(found["wanted"]) + 1)), "it is kept after each search"
    return found


def test_everything_that_is_wanted_is_run_and_told(study: Study, report: dict[str, Any]) -> None:
    assert len(report["rows"]) == len(report["wanted"]) == len(study.wanted())
    assert report["importance"]["spos"]["candidates"] > 0
    text = page(json.loads(json.dumps(report)))
    assert text.count("Not run yet.") == 1, "of all but Table 4"
    assert text.index("## Table 4") < text.index("Not run yet.") < text.index("## Table 2")
    assert f"| {len(report['rows'])} of {len(report['rows'])} |" in text


def test_a_second_run_repeats_nothing(study: Study, report: dict[str, Any]) -> None:
    (lab,) = study.labs
    files = {path: path.stat().st_mtime_ns for path in lab.home.rglob("*.jsonl")}
    again = study.report("a command", quick=True)
    sizes: list[int] = []
    Study(study.labs, study.families, tell=lambda line: None).run(
        again, lambda report: sizes.append(len(report["rows"]))
    )
    assert again == report
    assert sizes == [len(report["rows"])], "all rows are there before anything is run"
    assert {path: path.stat().st_mtime_ns for path in lab.home.rglob("*.jsonl")} == files


def test_the_ledger_changes_no_history_and_serves_no_timed_search(study: Study) -> None:
    (lab,), (family,) = study.labs, study.families
    for variant in (Variant("ea"), Variant("pcf", 0.5, 3)):
        timed = Variant(variant.method, variant.threshold, variant.monitor, timed=True)
        with_ledger, without = (
            read_run(lab.run_dir(family, Wanted("spos", "digits", each, 1)))
            for each in (variant, timed)
        )
        assert with_ledger.generations == without.generations
        known = [each["known"] for each in without.metrics]
        frozen = [each["frozen"] for each in without.metrics]
        # Within a search only parents that a freeze leaves as they were are known.
        assert all(count == 0 for count, blocks in zip(known, frozen, strict=True) if not blocks)
    served = read_run(lab.run_dir(family, Wanted("spos", "digits", Variant("cf", 0.5), 1)))
    assert sum(each["known"] for each in served.metrics) > 0


def test_a_timed_search_that_was_interrupted_starts_anew(
    study: Study, report: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    (lab,), (family,) = study.labs, study.families
    wanted = Wanted("spos", "digits", Variant("ea", timed=True), 1)
    run_dir = lab.run_dir(family, wanted)
    unfinished = run_dir.with_name(f".{run_dir.name}.unfinished")
    kept = (run_dir / "generations.jsonl").read_bytes()
    run_dir.rename(unfinished)
    (unfinished / "result.json").unlink()
    (unfinished / "generations.jsonl").write_bytes(kept.split(b"\n")[0] + b"\n")
    clock = iter(float(2**number) for number in range(20))
    monkeypatch.setattr("reproduction.lab.time.process_time", lambda: next(clock))
    row = lab.search(lab.open(family), wanted)
    assert (run_dir / "generations.jsonl").read_bytes() == kept
    assert not unfinished.exists()
    assert [each["cpu_seconds"] for each in row["generations"]] == [1.0, 2.0, 4.0, 8.0]
    assert json.loads((run_dir / TIMING).read_text()) == {"cpu_seconds": [1.0, 2.0, 4.0, 8.0]}


def test_a_search_of_another_size_has_a_folder_of_its_own(study: Study) -> None:
    (lab,), (family,) = study.labs, study.families
    wanted = Wanted("spos", "digits", Variant("ea"), 1)
    others = [
        Lab(lab.home, lab.source, Sizes(8, 5, (1,)), 0).run_dir(family, wanted),
        Lab(lab.home, Source("digits", small_data(), 3), SIZES, 0).run_dir(family, wanted),
    ]
    assert len({*others, lab.run_dir(family, wanted)}) == 3


def test_a_folder_of_another_supernet_is_refused(study: Study, tmp_path: Path) -> None:
    (lab,), (family,) = study.labs, study.families
    home = tmp_path / "home"
    shutil.copytree(lab.home, home)
    copied = Lab(home, lab.source, SIZES, 0)
    save(small_supernet(1, blocks=6, choices=3), copied.folder(family) / "supernet.safetensors")
    with pytest.raises(InputError, match="supernet"):
        Study([copied], [family], tell=lambda line: None).run(
            {"rows": [], "importance": {}}, lambda report: None
        )


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Callable[..., object]:
    """A call of the script in this process, which gives its exit code."""

    def run(*arguments: str) -> object:
        monkeypatch.setattr(sys, "argv", ["reproduce.py", *arguments])
        try:
            runpy.run_path(str(ROOT / "experiments" / "reproduce.py"), run_name="__main__")
        except SystemExit as ended:
            return ended.code
        return 0

    return run


def test_a_page_is_made_again_from_raw_numbers(
    script: Callable[..., object], report: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "raw.json").write_text(json.dumps(report))
    made = tmp_path / "docs" / "page.md"
    assert script("--render", str(tmp_path / "raw.json"), "--page", str(made)) == 0
    assert made.read_text() == page(report)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["docs", "raw.json"]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--families", "spos", "nets"), "families: expected some of ["),
        (("--seeds", "1", "1"), "seeds: expected at least one, each once, got 1 1."),
        (("--render", "absent.json"), "absent.json: expected a JSON object"),
        (("--dataset", "mnist"), "invalid choice 'mnist'"),
        (("--dataset", "digits", "--validation", "70000"), "expected at most"),
        (("--dataset", "digits", "--epochs", "0"), "epochs: expected at least 1, got 0."),
        (("--dataset", "digits", "--population", "0"), "population: expected at least 1, got 0."),
    ],
)
def test_what_cannot_be_is_said_at_once(
    options: tuple[str, ...],
    text: str,
    script: Callable[..., object],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert script(*options) == 2
    shown = capsys.readouterr()
    assert text in shown.err
    assert shown.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_quick_run_of_one_family_ends_with_its_page(
    script: Callable[..., object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert script("--quick", "--families", "spos", "fairnas", "--page", "quick.md") == 0
    text = (tmp_path / "quick.md").read_text()
    assert "--quick --families spos fairnas" in text
    assert str(tmp_path) not in text
    raw = json.loads((tmp_path / "runs/reproduction/quick/reproduction.json").read_text())
    assert len(raw["rows"]) == len(raw["wanted"])
    assert page(raw) == text
