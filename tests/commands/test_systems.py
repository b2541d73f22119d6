"""The systems of the papers on the command line: families, paths, latency, fronts and names."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from command_runs import DIGITS, TINY, assert_refused, cells, command, done, tiny_supernet
from small_search import contents, strict_json

import raynas
from raynas.commands.families import FAMILIES, build_family, settings_of
from raynas.commands.loading import is_built
from raynas.commands.paths import greedy_settings
from raynas.commands.pool_file import pool_of, read_pool, write_pool
from raynas.costs import LatencyTable, flops_table, params_table, resolve_limits
from raynas.errors import InputError
from raynas.shards.shard import make_shards
from raynas.training import GreedyPaths, GreedySettings


def families(*slow: str) -> pytest.MarkDecorator:
    """All of them, those that are slow to look at, for their many choices, in the slow tests."""
    marked = [
        pytest.param(name, marks=pytest.mark.slow if name in slow else ()) for name in FAMILIES
    ]
    return pytest.mark.parametrize("family", marked)


SHORT = ("--workers", 0, "--generations", 2, "--population", 6)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A supernet whose paths were trained greedily, with the pool beside it."""
    home = tmp_path_factory.mktemp("greedy")
    out = home / "supernet.safetensors"
    done("train", *DIGITS, *TINY, "--paths", "greedy", "--epochs", 2, "--out", out)
    return out


def test_a_greedy_training_leaves_its_pool(weights: Path) -> None:
    assert set(contents(weights.parent)) == {weights.name, f"{weights.name}.pool.json"}
    pool = json.loads(pool_of(weights).read_text())["paths"]
    assert 0 < len(pool) <= 27
    assert [loss for _, loss in pool] == sorted(loss for _, loss in pool)
    read = read_pool(pool_of(weights))
    assert read.paths == tuple(tuple(path) for path, _ in pool)
    supernet = tiny_supernet()
    raynas.supernets.load(supernet, weights)
    read.require_of(supernet)


def test_a_pool_holds_losses_that_are_not_finite(tmp_path: Path) -> None:
    supernet = tiny_supernet()
    settings = GreedySettings.for_steps(9, supernet.space)
    sampler = GreedyPaths(supernet.space, SimpleNamespace(losses=list, terms=str), settings)
    sampler.pool.add((0, 1, 2), 0.5)
    sampler.pool.add((2, 1, 0), float("nan"))
    write_pool(tmp_path / "net.st", supernet, sampler)
    assert strict_json(tmp_path / "net.st.pool.json")["paths"] == [
        [[0, 1, 2], 0.5],
        [[2, 1, 0], None],
    ]
    assert read_pool(tmp_path / "net.st.pool.json").paths == ((0, 1, 2), (2, 1, 0))


def test_a_pool_of_another_training_is_refused(weights: Path, tmp_path: Path) -> None:
    """Of other weights, of another space, or of an earlier version, which did not say."""
    other = tmp_path / "other.st"
    done("train", *DIGITS, *TINY, "--epochs", 1, "--out", other)
    run = ("--run-dir", tmp_path / "run", "--strategy", "nsga2", *SHORT)
    begun = ("search", *DIGITS, *TINY, *run, "--weights")
    assert_refused((*begun, other, "--initial", pool_of(weights)), "initial: expected the pool of")
    for changes in ({"choices": [3, 3]}, {"choices": None}, {"paths": 5}):
        file = tmp_path / "pool.json"
        file.write_text(json.dumps(json.loads(pool_of(weights).read_text()) | changes))
        assert_refused((*begun, weights, "--initial", file), "initial: expected")
    for text in ("[[[0, 1, 2], 0.5]]", "[" * 100_000):
        file.write_text(text)
        assert_refused((*begun, weights, "--initial", file), "initial: expected the pool that a")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("weights", ["net.st", "net.v1", "net"])
def test_every_version_of_the_weights_has_a_pool_of_its_own(weights: str) -> None:
    assert pool_of(Path("folder", weights)) == Path("folder", f"{weights}.pool.json")


def test_a_pool_that_could_not_be_written_is_written_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights without their pool would pass for a training that is done."""
    out = tmp_path / "net.st"
    arguments = ("train", *DIGITS, *TINY, "--paths", "greedy", "--epochs", 1, "--out", out)

    def full(*_: object) -> None:
        raise OSError("No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("raynas.commands.supernet_training.write_pool", full)
        assert "No space left on device" in command(*arguments).err
    assert not out.exists()
    done(*arguments)
    assert set(contents(tmp_path)) == {"net.st", "net.st.pool.json"}


def test_the_place_of_the_pool_is_looked_at_before_the_training(tmp_path: Path) -> None:
    (tmp_path / "net.st.pool.json").mkdir()
    arguments = ("train", *DIGITS, *TINY, "--paths", "greedy", "--out", tmp_path / "net.st")
    assert_refused(arguments, "net.st.pool.json is a directory")
    assert set(contents(tmp_path)) == set()


@pytest.mark.parametrize("paths", ["uniform-constraint", "fair"])
def test_other_paths(paths: str, tmp_path: Path) -> None:
    out = tmp_path / "supernet.safetensors"
    done("train", *DIGITS, *TINY, "--paths", paths, "--epochs", 1, "--out", out)
    assert set(contents(tmp_path)) == {"supernet.safetensors"}


def test_greedy_settings_of_a_short_training() -> None:
    data = raynas.data.digits()
    training = raynas.TrainingSettings(epochs=3, batch_size=32, learning_rate=0.1)
    settings = greedy_settings(tiny_supernet(), data, training)
    an_epoch = len(data.train) // 32  # type: ignore[arg-type]
    assert (settings.steps, settings.window) == (3 * an_epoch, an_epoch)
    assert (settings.warm_up, settings.pool) == (3 * an_epoch // 10, 27)
    assert (settings.sampled, settings.kept, settings.exploit) == (10, 5, 0.8)


def test_settings_of_the_filter_on_the_command_line(tmp_path: Path) -> None:
    """Two of four paths are trained; the pool of three is steady at once and ends it."""
    out = tmp_path / "net.st"
    options = ("--sampled", 4, "--kept", 2, "--pool", 3, "--warm-up", 0, "--exploit", 0.5)
    steady = ("--tolerance", 1, "--window", 5, "--filter-samples", 50, "--epochs", 9)
    arguments = ("train", *DIGITS, *TINY, "--paths", "greedy", "--out", out)
    told = done(*arguments, *options, *steady)
    steps = len(raynas.data.digits().train) // 32  # type: ignore[arg-type]
    scored = 4 * -(-steps // 2)
    assert f"{scored:,} paths were compared, 3 are in the pool; the pool is steady: 8" in told
    assert len(read_pool(pool_of(out)).paths) == 3
    out.unlink()
    assert_refused((*arguments, "--sampled", 4, "--kept", 5), "kept: expected at most the 4 paths")


@pytest.mark.parametrize("option", ["--filter-samples", "--kept", "--warm-up", "--exploit"])
def test_options_of_the_filter_are_for_greedy_paths(option: str, tmp_path: Path) -> None:
    arguments = ("train", *DIGITS, *TINY, "--out", tmp_path / "net.st", option, 1)
    assert_refused(arguments, f"{option[2:]}: expected none beside uniform paths, got 1")


def test_fair_paths_need_equally_many_choices(tmp_path: Path) -> None:
    out = tmp_path / "supernet.safetensors"
    arguments = ("train", *DIGITS, "--supernet", "proxylessnas", "--paths", "fair", "--out", out)
    assert_refused((*arguments, "--epochs", 1), "space: expected blocks with equally many choices")
    assert not out.exists()


def test_a_front_on_the_command_line(weights: Path, tmp_path: Path) -> None:
    run = ("--run-dir", tmp_path / "run", "--strategy", "nsga2", "--costs", "flops", "params")
    begun = ("--initial", pool_of(weights))
    out = done("search", *DIGITS, *TINY, "--weights", weights, *SHORT, *run, *begun)
    result = strict_json(tmp_path / "run" / "result.json")
    front = result["front"]
    assert result["architecture"] == front[0]["architecture"]
    points = [(-m["top1"], m["costs"]["flops"], m["costs"]["params"]) for m in front]
    for one in points:
        assert not any(
            other != one and all(a <= b for a, b in zip(other, one, strict=True))
            for other in points
        )
    assert ("Front" in out) == (len(front) > 1)
    first = json.loads((tmp_path / "run" / "generations.jsonl").read_text().splitlines()[0])
    assert first["origins"]["initial"] > 0
    assert all(set(s["costs"]) == {"flops", "params"} for s in first["population"])
    config = strict_json(tmp_path / "run" / "config.json")
    assert config["supernet"]["names"] == [list(names) for names in tiny_supernet().names]
    exported = tmp_path / "front"
    arguments = ("export", *DIGITS, *TINY, "--weights", weights, "--out", exported)
    done(*arguments, tmp_path / "run", "--all")
    described = [strict_json(folder / "architecture.json") for folder in sorted(exported.iterdir())]
    assert [each["architecture"] for each in described] == [m["architecture"] for m in front]
    assert [each["names"] for each in described] == [m["names"] for m in front]
    assert [each["costs"] for each in described] == [m["costs"] for m in front]
    (exported / "99").mkdir()
    elsewhere = (tmp_path / "run", "--all", "--weights", tmp_path / "none")
    assert_refused(
        (*arguments[:5], *elsewhere, "--out", exported), "directory: expected no numbered"
    )


def test_export_by_names(weights: Path, tmp_path: Path) -> None:
    common = ("export", *DIGITS, *TINY, "--weights", weights, "--architecture")
    done(*common, "identity,sequential_1,sequential_0", "--out", tmp_path / "names")
    done(*common, "0,2,1", "--out", tmp_path / "numbers")
    assert contents(tmp_path / "names").keys() == contents(tmp_path / "numbers").keys()
    described = strict_json(tmp_path / "names" / "architecture.json")
    assert described["architecture"] == [0, 2, 1]
    assert described["names"] == ["identity", "sequential_1", "sequential_0"]
    assert_refused(
        (*common, "identity,c3,identity", "--out", tmp_path / "none"),
        "architecture: expected for block 1 one of identity, sequential_0, sequential_1",
    )


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A latency table of the tiny supernet on this machine."""
    out = tmp_path_factory.mktemp("latency") / "latency.json"
    options = ("--batches", 1, 2, "--rounds", 2, "--subnets", 3)
    shown = done("latency", *DIGITS, *TINY, "--out", out, *options)
    assert "batch 2: round 2 of 2" in shown
    assert "Kendall" in shown
    return out


def test_a_table_that_cannot_be_written_is_not_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[object] = []
    monkeypatch.setattr(
        "raynas.commands.latency.measure_latency", lambda *given: measured.append(given)
    )
    (tmp_path / "file").write_text("")
    for out in (tmp_path, tmp_path / "file" / "table.json"):
        assert_refused(("latency", *DIGITS, *TINY, "--out", out), "out: expected")
    assert not measured


def test_a_table_is_written_into_a_new_folder(table: Path, tmp_path: Path) -> None:
    held, out = LatencyTable.load(table), tmp_path / "new" / "folder" / "table.json"
    held.save(out)
    assert LatencyTable.load(out) == held


@pytest.mark.parametrize(("given", "kept"), [((), 3), (("--top-k", 2), 2)])
def test_a_search_for_a_front_keeps_as_many_as_it_is_told(
    given: tuple[object, ...], kept: int, weights: Path, tmp_path: Path
) -> None:
    run = ("--run-dir", tmp_path, "--strategy", "nsga2", "--population", 3, "--generations", 1)
    done("search", *DIGITS, *TINY, "--weights", weights, "--workers", 0, *run, *given)
    assert strict_json(tmp_path / "config.json")["strategy"]["top_k"] == kept


def test_a_search_within_measured_seconds(weights: Path, table: Path, tmp_path: Path) -> None:
    held = LatencyTable.load(table)
    assert sorted(held.batches) == [1, 2]
    limits = ("--latency", "90%", "--latency-table", table, "--latency-batch", 2)
    three = ("--flops", "95%", "--params", "99%", "--latency-at-least", "1%")
    run = ("--run-dir", tmp_path / "run")
    done("search", *DIGITS, *TINY, "--weights", weights, *SHORT, *run, *limits, *three)
    result = strict_json(tmp_path / "run" / "result.json")
    seconds = held.of(2).table()
    largest = seconds.of(seconds.dearest())
    assert set(result["costs"]) == {"flops", "params", "latency"}
    lines = (tmp_path / "run" / "generations.jsonl").read_text().splitlines()
    for score in (s for line in lines for s in json.loads(line)["population"]):
        assert score["costs"]["latency"] == seconds.of(tuple(score["architecture"]))
        assert 0.01 * largest <= score["costs"]["latency"] <= 0.9 * largest


def test_a_front_of_measured_seconds(weights: Path, table: Path, tmp_path: Path) -> None:
    """A table alone is one more cost, and limits nothing."""
    run = ("--strategy", "nsga2", "--run-dir", tmp_path / "run", "--latency-table", table)
    done("search", *DIGITS, *TINY, "--weights", weights, *SHORT, *run)
    config = strict_json(tmp_path / "run" / "config.json")
    assert config["strategy"]["costs"] == ["flops", "latency"]
    assert set(config["constraint"]["latency"]) == {"table"}
    result = strict_json(tmp_path / "run" / "result.json")
    seconds = LatencyTable.load(table).of(1).table()
    assert result["legal_architectures"] == 27
    for member in result["front"]:
        assert member["costs"]["latency"] == seconds.of(tuple(member["architecture"]))


def test_evaluations_show_costs_and_measured_seconds(weights: Path, table: Path) -> None:
    supernet, seconds = tiny_supernet(), LatencyTable.load(table).of(2).table()
    flops, params = flops_table(supernet), params_table(supernet)
    of = ("evaluate", *DIGITS, *TINY, "--weights", weights, "--architectures", "0,1,2", "2,2,2")
    shown = done(*of, "--latency-table", table, "--latency-batch", 2).splitlines()
    for line, architecture in zip(shown, ((0, 1, 2), (2, 2, 2)), strict=True):
        costs = [f"{costs.name} {costs.of(architecture):,}" for costs in (flops, params)]
        costs.append(f"latency {float(f'{1e3 * seconds.of(architecture):.4g}'):g} ms")
        assert f"  {', '.join(costs)}  " in line
    assert_refused((*of, "--latency-table", table, "--latency-batch", 7), "measured sizes: 1, 2")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--costs", "flops"), "costs: expected none with --strategy pcf, got ('flops',)"),
        (("--initial", "none.json"), "initial: expected none with --strategy pcf, got none.json"),
        (("--latency", 1), "latency-table: expected a table beside --latency"),
        (("--latency-table", "TABLE"), "latency-table: expected a table beside --latency"),
        (("--latency", 1, "--latency-table", "none.json"), "table: expected a file that raynas"),
        (("--latency", 1, "--latency-table", "TABLE", "--latency-batch", 7), "sizes: 1, 2"),
        (("--latency", 1, "--latency-table", "TABLE", "--latency-device", "x"), "table: expected"),
        (("--strategy", "nsga2", "--costs", "joules"), "costs: expected names among flops, params"),
        (("--strategy", "nsga2", "--initial", "none.json"), "initial: expected the pool that a"),
        (("--latency", 1e-12, "--latency-table", "TABLE"), "constraint: expected a limit of at"),
    ],
)
def test_what_cannot_be_searched(
    options: tuple[object, ...], text: str, weights: Path, table: Path, tmp_path: Path
) -> None:
    named = [table if option == "TABLE" else option for option in options]
    run = ("--run-dir", tmp_path / "run")
    assert_refused(("search", *DIGITS, *TINY, "--weights", weights, *SHORT, *run, *named), text)


@pytest.mark.parametrize(
    "of",
    [
        ("search", *SHORT, "--latency", "90%"),
        ("describe", "--latency", "90%"),
        ("evaluate", "--architectures", "0,1,2"),
    ],
    ids=lambda of: of[0],
)
def test_a_table_of_another_space_is_told_by_its_option(
    of: tuple[object, ...], weights: Path, table: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.json"
    other.write_text(json.dumps({**json.loads(table.read_text()), "space": "0" * 32}))
    run = ("--run-dir", tmp_path / "run") if of[0] == "search" else ()
    assert_refused(
        (of[0], *DIGITS, *TINY, "--weights", weights, *of[1:], *run, "--latency-table", other),
        "latency-table: expected one of the supernet's space",
    )


@families("resnet-mixed", "resnet-mixed-34", "spos-channels")
def test_families_fit_the_digits(family: str) -> None:
    data = raynas.data.digits()
    supernet = build_family(family, data)
    assert supernet.image_shape == (1, 8, 8)
    assert supernet.space.blocks == (16 if family == "resnet-mixed-34" else 8)
    supernet.check()


@pytest.mark.parametrize(
    ("channels", "size", "builder"),
    [
        (1, 28, "28"),
        pytest.param(3, 64, "", marks=pytest.mark.slow),
        pytest.param(3, 32, "32", marks=pytest.mark.slow),
        pytest.param(3, 224, "", marks=pytest.mark.slow),
    ],
)
@families("resnet-mixed", "resnet-mixed-34", "spos-channels", "ponas", "greedynas-se")
def test_families_fit_images_of_any_size(
    family: str, channels: int, size: int, builder: str
) -> None:
    name, options = settings_of(family, channels, size)
    with torch.device("meta"):
        supernet = getattr(raynas.supernets, name)(7, **options)
    assert supernet.image_shape == (channels, size, size)
    if size == 224:
        blocks = {"spos": 20, "fairnas": 19, "ponas": 19, "resnet-mixed": 8}
        blocks["resnet-mixed-34"] = 16
        assert supernet.space.blocks == blocks.get(family.removesuffix("-channels"), 21)
    rebuilt = {**supernet.recipe}
    builders = dict.fromkeys(("resnet-mixed", "resnet-mixed-34"), "resnet_mixed")
    assert rebuilt.pop("builder") == builders.get(family, family.partition("-")[0])
    assert resolve_limits(raynas.FLOPs(at_most="95%"), supernet).feasible()


def test_the_family_of_mixed_precision_fits_the_data() -> None:
    sizes = {(1, 8): "_8x8", (1, 28): "_28x28", (3, 32): "_32x32", (3, 224): "", (1, 64): ""}
    for (channels, size), ending in sizes.items():
        for family, blocks in (("resnet-mixed", 8), ("resnet-mixed-34", 16)):
            name, options = settings_of(family, channels, size)
            assert name == f"resnet_mixed{ending}"
            few = {"bits": ((2, 2),), "widths": (1.0,)}
            with torch.device("meta"):
                supernet = getattr(raynas.supernets, name)(7, **options, **few)
            assert supernet.image_shape == (channels, size, size)
            assert supernet.space.blocks == blocks


MIXED = """
import raynas

def build():
    bits = {"bits": ((2, 2), (2, 4)), "widths": (1.0,)}
    return raynas.supernets.resnet_mixed_8x8(10, stage_channels=(4, 4, 4, 4), **bits)
"""


def test_bit_operations_are_limited_and_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    Path("mixed.py").write_text(MIXED)
    named = (*DIGITS, "--supernet", "mixed:build")
    limit = ("--bitops", "60%", "--bitops-at-least", "100000")
    table = cells(done("describe", *named, *limit, "--paths", 1))
    least, most = (int(end.replace(",", "")) for end in table["bitops"].split()[0:3:2])
    assert most == 2 * least
    assert 0 < int(table["legal architectures"]) < 2**8
    other = (*DIGITS, *TINY)
    assert_refused(
        ("search", *other, "--bitops", "60%", "--run-dir", "new", *SHORT),
        "constraint: expected a supernet with quantized modules beside BitOps",
    )
    assert_refused(
        ("search", *named, "--bitops", "none", "--run-dir", "new", *SHORT),
        "bitops: expected a number such as",
    )
    assert not Path("new").exists()


def test_a_folder_named_like_a_family_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs of it may lie there."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fairnas").mkdir()
    assert is_built("fairnas")
    (tmp_path / "spos").write_text("weights")
    assert not is_built("spos")


def test_families_are_for_square_images_of_bytes() -> None:
    rng = np.random.default_rng(0)
    for features in (rng.random((6, 1, 8, 8), np.float32), np.zeros((6, 1, 8, 9), np.uint8)):
        shards = make_shards(features, np.arange(6) % 2, split="validation", shard_size=3)
        data = raynas.data.SearchData("own", 2, (), shards, ())
        with pytest.raises(InputError, match="supernet: expected a function"):
            build_family("fairnas", data)


def test_a_family_is_trained_searched_and_found_by_its_weights(tmp_path: Path) -> None:
    out = tmp_path / "supernet.safetensors"
    small = ("--epochs", 1, "--batch-size", 128)
    done("train", *DIGITS, "--supernet", "fairnas", *small, "--out", out)
    run = ("--workers", 0, "--generations", 1, "--population", 2, "--run-dir", tmp_path / "run")
    table = cells(done("search", *DIGITS, "--supernet", out, *run))
    assert all(name.startswith("e") for name in table["its choices"].split())
    # The run is another one's; the weights fit.
    named = (*DIGITS, "--supernet", "fairnas", "--weights", out)
    assert command("search", *named, *run).code == 2
    done("evaluate", *named, "--architectures", ",".join("0" * len(table["its choices"].split())))


@pytest.mark.parametrize(
    "command_line",
    [
        ("search", "--run-dir", "new"),
        ("evaluate", "--architectures", "0,0"),
        ("export", "--architecture", "0,0", "--out", "new"),
    ],
)
def test_a_family_is_not_scored_with_random_weights(
    command_line: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name, *options = command_line
    family = (*DIGITS, "--supernet", "spos", *options)
    assert_refused((name, *family), "weights: expected the file of the trained weights of spos")
    assert contents(tmp_path) == {}
