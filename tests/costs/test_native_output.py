"""What native libraries print goes to the standard error, for as long as it is said."""

from __future__ import annotations

import ctypes
import os
import sys
import threading

import pytest

from raynas.costs.native_output import stdout_on_stderr

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the C library is found otherwise")


def say(text: str) -> None:
    """Print as a C library does: into a buffer of its own."""
    ctypes.CDLL(None).printf(f"{text}\n".encode())


def test_native_lines_go_to_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    say("before")
    with stdout_on_stderr():
        say("during")
    say("after")
    ctypes.CDLL(None).fflush(None)
    shown = capfd.readouterr()
    assert (shown.out, shown.err) == ("before\nafter\n", "during\n")


def test_stdout_comes_back_after_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyError), stdout_on_stderr():
        raise KeyError
    os.write(1, b"here\n")
    assert capfd.readouterr().out == "here\n"


def test_threads_leave_each_other_the_standard_output(capfd: pytest.CaptureFixture[str]) -> None:
    def work() -> None:
        for _ in range(50):
            with stdout_on_stderr():
                say("native")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    os.write(1, b"result\n")
    shown = capfd.readouterr()
    assert shown.out == "result\n"
    assert shown.err.splitlines() == ["native"] * 200


def test_a_process_without_stdout_goes_on() -> None:
    code = (
        "import os; os.close(1)\n"
        "from raynas.costs.native_output import stdout_on_stderr\n"
        "with stdout_on_stderr(): pass"
    )
    assert os.spawnv(os.P_WAIT, sys.executable, [sys.executable, "-c", code]) == 0
