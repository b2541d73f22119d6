"""A machine inside this one: its own processes, network, /tmp and home, reachable over SSH.

`ray up` and `ray down` run `ray stop`, which ends every Ray process that it can see. In Linux
namespaces it sees those of this machine only, and Ray's ports and its files in /tmp are not those
of other clusters. When the machine's first process ends, the kernel ends all its others.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

LOOPBACK = "127.0.0.1"
CABLE = ("10.77.0.1", "10.77.0.2")
"""Addresses of two machines that `connect` has connected."""

PROGRAMS = ("unshare", "nsenter", "setpriv", "ip", "mount", "ssh", "ssh-keygen", "rsync")
SSHD = "/usr/sbin/sshd"
NAMESPACES = ("--pid", "--net", "--mount")

SSHD_CONFIG = """\
HostKey {folder}/host_key
PidFile none
UsePAM no
PasswordAuthentication no
PermitRootLogin prohibit-password
"""

PIP_CONFIG = """\
[install]
no-index = true
no-deps = true
no-build-isolation = false
"""
# "no-build-isolation = false" is pip's way to say: build without isolation.


def why_not() -> str:
    """Why there can be no such machine here; empty if there can."""
    absent = [program for program in (*PROGRAMS, SSHD) if shutil.which(program) is None]
    if absent:
        return f"not installed: {', '.join(absent)}"
    trial = subprocess.run(["unshare", *NAMESPACES, "--fork", "true"], capture_output=True)
    return "namespaces need root" if trial.returncode else ""


@dataclass(frozen=True)
class Machine:
    """A running machine.

    Args:
        folder: its files on the real machine.
        user: who may log in over SSH.
        process: the first process, numbered as on the real machine.
    """

    folder: Path
    user: str
    process: int

    @property
    def home(self) -> Path:
        """Of the user who logs in over SSH."""
        return self.folder / "home"

    @property
    def key(self) -> Path:
        """The private key that opens the machine."""
        return self.folder / "user_key"

    def run(self, command: Sequence[str | Path], *, home: Path, cwd: Path) -> str:
        """Run a command as somebody who sits at the machine.

        Args:
            command: program and arguments; programs of this test's environment are found.
            home: the home folder of whoever sits there.
            cwd: where to run.

        Returns:
            What it printed, errors included.

        Raises:
            AssertionError: it failed; the message holds what it printed.
        """
        done = subprocess.run(
            ["nsenter", f"--target={self.process}", *NAMESPACES, f"--wd={cwd}", "--", *command],
            env={
                "HOME": str(home),
                "PATH": f"{Path(sys.executable).parent}:/usr/sbin:/usr/bin:/sbin:/bin",
                "PYTHONUNBUFFERED": "1",
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}"
        return done.stdout


@contextmanager
def started(folder: Path, seen: Sequence[Path]) -> Iterator[Machine]:
    """A machine for the time of the context; at the end, every process on it is killed.

    Args:
        folder: for its files; made here.
        seen: folders that it sees, read-only.
    """
    user = pwd.getpwuid(os.getuid())
    home = folder / "home"
    home.mkdir(parents=True)
    (home / ".bashrc").touch()
    others = [
        line
        for line in Path("/etc/passwd").read_text().splitlines()
        if not line.startswith(f"{user.pw_name}:")
    ]
    entry = f"{user.pw_name}:x:{user.pw_uid}:{user.pw_gid}::{home}:/bin/bash"
    (folder / "passwd").write_text("\n".join([*others, entry, ""]))
    (folder / "sshd_config").write_text(SSHD_CONFIG.format(folder=folder))
    _make_keys(folder, home)

    # Whoever dies first takes the others along: this process, unshare, or the machine.
    isolate = ["setpriv", "--pdeathsig=KILL", "unshare", *NAMESPACES, "--fork", "--kill-child"]
    mounts = ["--mount-proc", "--propagation=private"]
    boot = ["sh", Path(__file__).with_name("boot.sh"), folder, *seen]
    with subprocess.Popen([*isolate, *mounts, *boot]) as process:
        try:
            _wait_for(folder / "ready", process)
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
            yield Machine(folder, user.pw_name, int(children.split()[0]))
        finally:
            process.kill()


def connect(first: Machine, second: Machine) -> None:
    """Lay a cable between two machines, and let the key of the first open the second too."""
    cable = "link add eth0 type veth peer name eth0 netns"
    _ip(first, *cable.split(), str(second.process))
    for machine, address in zip((first, second), CABLE, strict=True):
        _ip(machine, "address", "add", f"{address}/24", "dev", "eth0")
        _ip(machine, "link", "set", "eth0", "up")
        # Ray takes a machine's address from its route to the internet.
        _ip(machine, "route", "add", "default", "dev", "eth0")
    shutil.copy(first.folder / "user_key.pub", second.home / ".ssh" / "authorized_keys")


def make_environment(home: Path) -> None:
    """An environment like the one that `setup_commands` make, without downloading packages.

    It has this environment's packages, except raynas, and a pip that installs what it is given and
    nothing else.
    """
    place = home / "raynas-env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place], check=True)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = place / "lib" / version / "site-packages"
    # The folder of a .pth file is searched, but its own .pth files, one of which would bring the
    # raynas of this checkout, are not read.
    (packages / "shared.pth").write_text(sysconfig.get_path("purelib") + "\n")
    ray = place / "bin" / "ray"
    ray.write_text('#!/bin/sh\nexec "$(dirname "$0")/python" -m ray.scripts.scripts "$@"\n')
    ray.chmod(0o755)
    config = home / ".config" / "pip" / "pip.conf"
    config.parent.mkdir(parents=True)
    config.write_text(PIP_CONFIG)


def _make_keys(folder: Path, home: Path) -> None:
    for name in ("host_key", "user_key"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name]
        subprocess.run(command, check=True)
    allowed = home / ".ssh" / "authorized_keys"
    allowed.parent.mkdir(mode=0o700)
    shutil.copy(folder / "user_key.pub", allowed)


def _wait_for(path: Path, process: subprocess.Popen[bytes]) -> None:
    while not path.exists():
        assert process.poll() is None, f"the machine did not start: {process.returncode}"
        time.sleep(0.05)


def _ip(machine: Machine, *arguments: str) -> None:
    enter = ["nsenter", f"--target={machine.process}", "--net", "--"]
    subprocess.run([*enter, "ip", *arguments], check=True)
