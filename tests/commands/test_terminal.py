"""What is printed: every kind of record, in a terminal and elsewhere."""

from __future__ import annotations

import io
from typing import Any

import pytest
from command_runs import cells
from generation_records import record, score
from rich.console import Console
from rich.table import Table

from raynas.commands.program import one_line
from raynas.commands.terminal import (
    front_table,
    make_console,
    other_costs,
    result_table,
    share,
    training_progress,
)
from raynas.generation import generation_line
from raynas.training import EpochReport, StepReport


def result(**changes: Any) -> dict[str, Any]:
    """The content of `result.json`."""
    return {
        "architecture": [2, 0, 1],
        "names": ["c7", "c3", "c5"],
        "top1": 0.9533,
        "top5": 0.9967,
        "test_top1": 0.9472,
        "objectives": ["top1", "top5"],
        "flops": 679_424,
        "params": 12_345,
        "costs": {"flops": 679_424, "params": 12_345},
        "strategy": "PCFES",
        "finished": "generation limit",
        "frozen": [0, 0, 3, 5],
        "evaluations": 950,
        "legal_architectures": 65_536,
        "not_finite": 0,
        "seconds": 12.34,
        "skipped_images": 0,
        "energy_j": 1234.5,
        "workers": 2,
        **changes,
    }


def test_a_generation() -> None:
    line = generation_line(record(), {"seconds": 1.234})
    assert line == (
        "generation   3  best  91.25%  frozen  1    3 candidates on 300 samples    1.23 s"
    )


@pytest.mark.parametrize(
    ("changes", "end"),
    [
        ({"refused": "no legal suffix"}, "(freeze refused: no legal suffix)"),
        ({"refused": "no parent stays legal"}, "(freeze refused: no parent stays legal)"),
        ({"finished": "generation limit"}, "(generation limit)"),
        (
            {"population": [score(finite=False), score()], "rescored": [score(finite=False)]},
            "(2 with outputs that are not finite)",
        ),
        (
            {
                "population": [score(finite=False)],
                "refused": "no legal suffix",
                "finished": "generation limit",
            },
            "(1 with outputs that are not finite; freeze refused: no legal suffix; "
            "generation limit)",
        ),
    ],
)
def test_what_a_generation_notes(changes: dict[str, Any], end: str) -> None:
    assert generation_line(record(**changes), {}).endswith(end)


@pytest.mark.parametrize("finished", ["all blocks frozen", "legal architectures exhausted"])
def test_a_generation_in_which_nothing_was_evaluated(finished: str) -> None:
    empty = record(best=None, rescored=[], population=[], finished=finished, frozen=8)
    line = generation_line(empty, {"seconds": 0.0})
    assert "nothing scored" in line
    assert "frozen  8" in line
    assert "  0 candidates" in line
    assert line.endswith(f"({finished})")


def test_a_generation_whose_metrics_were_lost() -> None:
    assert generation_line(record(), {}).endswith("on 300 samples")


def shown(content: Any, width: int = 110, **options: Any) -> str:
    console = Console(file=io.StringIO(), width=width, highlight=False, **options)
    console.print(content)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_a_result() -> None:
    assert cells(shown(result_table(result()))) == {
        "architecture": "2,0,1",
        "its choices": "c7 c3 c5",
        "validation top-1 / top-5": "95.33% / 99.67%",
        "test top-1 (held out)": "94.72%",
        "FLOPs (multiply-adds)": "679,424",
        "parameters": "12,345",
        "strategy": "PCFES",
        "ended by": "generation limit",
        "frozen blocks by generation": "0 0 3 5",
        "evaluations": "950 of 65,536 legal architectures",
        "seconds": "12.3",
        "energy": "1,234 J",
        "workers": "2",
    }


def test_a_result_of_which_little_is_known() -> None:
    record = result(
        test_top1=None, legal_architectures=None, energy_j=None, workers=0, not_finite=7
    )
    table = cells(shown(result_table(record)))
    assert table["evaluations"] == "950 of an unknown number of legal architectures"
    assert table["test top-1 (held out)"] == "not measured"
    assert table["energy"] == "not measurable here"
    assert table["workers"] == "none, in this process"
    assert table["of them with outputs that are not finite"] == "7"


@pytest.mark.parametrize(
    ("known", "shown_as"),
    [
        ({"energy_source": "measured"}, "1,234 J"),
        (
            {"energy_source": "measured", "energy_missing": "package-0: no counter"},
            "1,234 J; not in it: package-0: no counter",
        ),
        ({"energy_source": "estimated"}, "about 1,234 J, estimated from the stated power"),
        (
            {"energy_j": None, "energy_missing": "processors: no counter"},
            "not measurable here (processors: no counter)",
        ),
    ],
)
def test_energy_says_how_it_is_known(known: dict[str, Any], shown_as: str) -> None:
    assert cells(shown(result_table(result(**known))))["energy"] == shown_as


def test_the_co2_of_a_search() -> None:
    record = result(co2_g=0.15259, co2_g_per_kwh=445.0)
    assert cells(shown(result_table(record)))["CO2"] == "0.153 g, at 445 g/kWh"
    unknown = result(energy_j=None, co2_g=None, co2_g_per_kwh=445.0)
    assert "CO2" not in cells(shown(result_table(unknown)))


def test_a_result_of_another_task_and_with_other_costs() -> None:
    costs = {"flops": 679_424, "params": 12_345, "ms": 1234.5}
    scored = {"closeness": -0.0312, "test_closeness": None, "objectives": ["closeness"]}
    table = cells(shown(result_table(result(costs=costs, **scored))))
    assert table["validation closeness"] == "-0.0312"
    assert table["test closeness (held out)"] == "not measured"
    assert table["ms"] == "1,234.5"
    assert not [name for name in table if "top-" in name]


def test_seconds_are_shown_in_milliseconds_with_their_unit() -> None:
    costs = {"flops": 7, "params": 3, "latency": 0.0005786, "kB": 14.5}
    assert other_costs({"costs": costs}) == [("latency (ms)", "0.5786"), ("kB", "14.5")]
    member = {"top1": 0.5, "names": ["c3"], "costs": costs}
    table = shown(front_table({"costs": costs, "objectives": ["top1"], "front": [member]}))
    assert "latency (ms)" in table
    assert "0.5786" in table
    assert "0.0005786" not in table


def test_a_generation_of_another_task() -> None:
    line = generation_line(record(best={"architecture": [0, 1], "closeness": -0.5}), {})
    assert "best closeness -0.5000" in line


def test_a_share_of_nothing_is_not_unmeasured() -> None:
    assert share(0.0) == "0.00%"
    assert cells(shown(result_table(result(energy_j=0.0))))["energy"] == "0 J"


def test_a_long_result_is_shown_whole_in_a_narrow_terminal() -> None:
    frozen = list(range(100, 140))
    text = shown(result_table(result(frozen=frozen)), width=60)
    digits = "".join(character for character in text if character.isdigit())
    assert "".join(map(str, frozen)) in digits


def test_texts_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    path = "runs/[red]a[/red]/:smile:/" + 40 * "long " + "[/nothing]"
    make_console().print(path, soft_wrap=True)
    assert capsys.readouterr().out == path + "\n"


def step(number: int, epoch: int = 1) -> StepReport:
    return StepReport(epoch, 2, number, 4, 1.234, 0.1, 5678.9)


def epoch(number: int) -> EpochReport:
    return EpochReport(number, 2, 1.2345, 0.5, 0.1, 3.0, 5678.9)


def test_training_progress_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with training_progress(make_console()) as progress:
        for number in (1, 2):
            progress.step(step(1, number))
            progress.epoch(epoch(number))
    assert capsys.readouterr().out == (
        "epoch   1/2  loss 1.2345  accuracy 50.00%  5,679 samples/s\n"
        "epoch   2/2  loss 1.2345  accuracy 50.00%  5,679 samples/s\n"
    )


def test_training_progress_names_the_score_of_another_task(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with training_progress(make_console(), "closeness") as progress:
        progress.epoch(EpochReport(1, 2, 1.2345, -0.9019, 0.1, 3.0, 5678.9))
    assert capsys.readouterr().out == (
        "epoch   1/2  loss 1.2345  closeness -0.9019  5,679 samples/s\n"
    )


def test_training_progress_in_a_terminal() -> None:
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=120)
    with training_progress(console) as progress:
        progress.step(step(4, 2))
        progress.epoch(epoch(2))
    text = file.getvalue()
    assert "epoch 2/2  loss 1.234  5,679 samples/s" in text
    assert "accuracy" not in text, "the bar says enough"


def test_texts_of_others_cannot_command_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Names of choices may come from a run directory or a file that somebody else wrote."""
    evil = "c3\x1b]0;title\x07 \x9b31m\tx\ny"
    table = Table(title=evil)
    table.add_column(evil)
    table.add_row(evil)
    console = make_console()
    console.print(evil, table, soft_wrap=True)
    out = capsys.readouterr().out
    assert not set(out) & {"\x1b", "\x07", "\x9b"}
    assert "c3?]0;title? ?31m" in out
    assert one_line(ValueError(evil)) == "c3?]0;title? ?31m\tx y"
