"""The cluster files, checked by Ray's own validation, without a network or credentials."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

import raynas

REPOSITORY = Path(__file__).parents[2]
CLOUD, LOCAL = "cluster.yaml", "cluster-local.yaml"

both = pytest.mark.parametrize("name", [CLOUD, LOCAL])


def read(name: str) -> dict[str, Any]:
    return yaml.safe_load((REPOSITORY / name).read_text())


@both
def test_ray_accepts_the_file(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    validate_config(prepare_config(read(name)))


@both
def test_ray_refuses_a_misspelt_field(name: str) -> None:
    config = prepare_config(read(name) | {"file_mount": {}})
    with pytest.raises(jsonschema.ValidationError, match="file_mount"):
        validate_config(config)


@both
def test_what_installing_needs_is_brought(name: str) -> None:
    mounts = read(name)["file_mounts"]
    package = Path(raynas.__file__).parent.name
    assert {package, "setup.cfg", "pyproject.toml", "~/.ray/auth_token"} == set(mounts.values())
    for local in mounts.values():
        assert local.startswith("~") or (REPOSITORY / local).exists()


@both
def test_the_source_folder_does_not_hide_the_package(name: str) -> None:
    # A submitted script runs in ~, which Python searches first.
    package = Path(raynas.__file__).parent.name
    in_home = {Path(remote).parts[1] for remote in read(name)["file_mounts"]}
    assert package not in in_home


@both
def test_start_commands_use_the_prepared_environment(name: str) -> None:
    config = read(name)
    profile = next(line for line in config["setup_commands"] if ".bashrc" in line)
    assert "activate" in profile
    assert "RAY_AUTH_MODE=token" in profile
    assert (
        "--autoscaling-config=~/ray_bootstrap_config.yaml" in config["head_start_ray_commands"][1]
    )
    assert "--address=$RAY_HEAD_IP:6379" in config["worker_start_ray_commands"][1]


def test_both_forms_bring_and_install_the_same() -> None:
    cloud, local = read(CLOUD), read(LOCAL)
    for field in ("file_mounts", "rsync_exclude", "worker_start_ray_commands"):
        assert cloud[field] == local[field], field
    # The second command makes the environment: only a cloud machine may install Debian packages.
    assert [cloud["setup_commands"][i] for i in (0, 2, 3)] == [
        local["setup_commands"][i] for i in (0, 2, 3)
    ]


def test_the_cloud_keeps_as_many_workers_as_it_may_have() -> None:
    config = prepare_config(read(CLOUD))
    kinds = config["available_node_types"]
    assert kinds["worker"]["min_workers"] == kinds["worker"]["max_workers"] == config["max_workers"]
    assert kinds[config["head_node_type"]]["max_workers"] == 0
