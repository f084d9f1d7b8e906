"""`make status WATCH=1` in a narrow terminal of 8 bits, until Ctrl-C."""

import contextlib
import os
import pty
import signal
import subprocess
import termios

from deploy.core.apps import SERVICES
from tests.stacks import Stack
from tests.stacks.network import HOME, enter


def in_terminal() -> None:
    """Make the terminal the process's own, which Ctrl-C needs. A job in the background may ignore Ctrl-C."""
    os.close(os.open(os.ttyname(0), os.O_RDWR))
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def watch(stack: Stack, until: bytes) -> bytes:
    """Return what the terminal got until it had `until` twice, and Ctrl-C."""
    enter(HOME)
    controller, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (30, 60))
    process = subprocess.Popen(
        ["make", "status", "WATCH=1"],
        cwd=stack.project,
        env=stack.environment | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "TERM": "xterm"},
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
        preexec_fn=in_terminal,
    )
    os.close(terminal)
    shown, ended = b"", False
    with contextlib.suppress(OSError):
        while more := os.read(controller, 65536):
            shown += more
            if not ended and shown.count(until) >= 2:
                os.write(controller, b"\x03")
                ended = True
    process.wait()
    os.close(controller)
    return shown


def test_watch(secure: Stack) -> None:
    shown = watch(secure, SERVICES[-1].encode())
    assert b"Traceback" not in shown
    if "METRICS_PORT" not in secure.environment:
        assert b"set METRICS_PORT" in shown
        return
    text = shown.decode("ascii")
    for service in SERVICES:
        assert service in text
    assert "in rotation" in text
    # The cursor is back.
    assert "\x1b[?25h" in text
