"""`ray up`, `ray submit` and `ray down` for real, over SSH, as docs/cluster.md describes them.

The commands are those of cluster-local.yaml; only addresses, user, key, the number of CPUs and
the version of Ray are filled in. Needs root, openssh-server, rsync and iproute2.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import machine
import pytest
import ray
import yaml
from machine import CABLE, LOOPBACK, Machine

REPOSITORY = Path(__file__).parents[2]
SCRIPT = "experiments/digits_spos.py"
CPUS = 2

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(3600)]


@pytest.fixture(autouse=True)
def _machines_can_be_made() -> None:
    if reason := machine.why_not():
        pytest.skip(reason)


@dataclass(frozen=True)
class Desk:
    """Where `ray` is typed: a machine, the home of who sits there, a cluster file.

    The home is not the one of the user who logs in over SSH, so that what is found there has been
    brought there.
    """

    machine: Machine
    home: Path
    cluster_file: Path

    def type(self, *command: str | Path) -> str:
        """Run a command at the top of the repository; what it printed."""
        return self.machine.run(command, home=self.home, cwd=REPOSITORY)

    def ray(self, command: str, *arguments: str | Path) -> str:
        """Run a subcommand of `ray` for the cluster file; what it printed."""
        plain = ("--log-style=pretty", "--log-color=false")
        return self.type("ray", command, *plain, self.cluster_file, *arguments)


def test_submit_to_a_head_alone(tmp_path: Path) -> None:
    with machine.started(tmp_path / "head", _seen()) as head:
        desk = _set_up(head, LOOPBACK, [])
        assert "New status: up-to-date" in desk.ray("up", "-y")
        where = desk.ray("exec", "python -c 'import raynas; print(raynas.__file__)'")
        assert str(head.home / "raynas-source" / "raynas" / "__init__.py") in where

        _check_result(_submit(desk, workers=1, name="first"), workers=1)
        _check_joined(desk, actors=1, nodes=1)

        with pytest.raises(AssertionError, match="InvalidAuthToken"):
            desk.ray("exec", "RAY_AUTH_MODE=disabled ray status")

        assert "No nodes remaining." in desk.ray("down", "-y")
        assert "raylet" not in desk.type("ps", "-e", "-o", "args")


def test_submit_to_two_machines_gives_the_history_of_one_process(tmp_path: Path) -> None:
    first, second = (tmp_path / name for name in ("head", "worker"))
    with machine.started(first, _seen()) as head, machine.started(second, _seen()) as worker:
        machine.make_environment(worker.home)
        machine.connect(head, worker)
        desk = _set_up(head, CABLE[0], [CABLE[1]])
        desk.ray("up", "-y")
        _await_cpus(desk, 2 * CPUS)

        spread = _submit(desk, workers=CPUS + 1, name="spread")
        _check_result(spread, workers=CPUS + 1)
        _check_joined(desk, actors=CPUS + 1, nodes=2)

        alone = _submit(desk, workers=0, name="alone")
        history = "generations.jsonl"
        assert (spread / history).read_bytes() == (alone / history).read_bytes()
        desk.ray("down", "-y")


def _seen() -> list[Path]:
    return [REPOSITORY, Path(sys.prefix)]


def _set_up(head: Machine, address: str, workers: Sequence[str]) -> Desk:
    """Fill in cluster-local.yaml, and do what its first lines say is to be done once."""
    machine.make_environment(head.home)
    text = (REPOSITORY / "cluster-local.yaml").read_text()
    text = re.sub(r"'ray\[default\]==[^']*'", f"'ray[default]=={ray.__version__}'", text)
    config = yaml.safe_load(text.replace("ray start ", f"ray start --num-cpus={CPUS} "))
    config["provider"].update(head_ip=address, worker_ips=list(workers))
    config["auth"] = {"ssh_user": head.user, "ssh_private_key": str(head.key)}
    home = head.folder / "desk"
    home.mkdir()
    desk = Desk(head, home, head.folder / "cluster.yaml")
    desk.cluster_file.write_text(yaml.safe_dump(config))
    desk.type("ray", "get-auth-token", "--generate")
    return desk


def _submit(desk: Desk, *, workers: int, name: str) -> Path:
    """Search on the cluster, and bring the records to the desk; the run's folder there."""
    options = ["--epochs", "2", "--workers", str(workers), "--run-dir", f"runs/{name}"]
    assert "Search result" in desk.ray("submit", SCRIPT, "--", *options)
    desk.ray("rsync-down", "runs", f"{desk.home}/")
    return desk.home / "runs" / name


def _check_result(run_dir: Path, *, workers: int) -> None:
    result = json.loads((run_dir / "result.json").read_text())
    assert result["workers"] == workers
    assert result["strategy"] == "PCFES"
    assert len(result["architecture"]) == 8
    assert result["flops"] <= 680e3
    assert result["evaluations"] >= 50
    assert 0.1 < result["top1"] <= result["top5"] <= 1.0
    generations = (run_dir / "generations.jsonl").read_text().splitlines()
    assert len(generations) == result["generations"]


def _check_joined(desk: Desk, *, actors: int, nodes: int) -> None:
    """The evaluators were actors of the cluster, on so many nodes; no other Ray was started."""
    listed = desk.ray("exec", "ray list actors --limit 1000")
    homes = re.findall(r"Evaluator .* ([0-9a-f]{56}) ", listed)
    assert (len(homes), len(set(homes))) == (actors, nodes), listed
    sessions = desk.type("ls", "/tmp/ray").split()
    assert sum(name.startswith("session_2") for name in sessions) == 1


def _await_cpus(desk: Desk, cpus: int) -> None:
    while f"/{cpus}.0 CPU" not in desk.ray("exec", "ray status"):
        time.sleep(2.0)
