"""Runs a server, and starts it anew when a file that matches a pattern is saved; for compose.dev.yml.

uWSGI's py-autoreload and gunicorn's --reload look at the modules that are loaded: not at one that could not be, for its
syntax error, at no template, and not at what the master itself has imported.
"""

import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

# Seconds between two looks. Not inotify: saves on another system's disk, a Mac's or Windows', may not reach it.
LOOK = 0.5


def files(patterns: list[str]) -> set[tuple[Path, int]]:
    """Each file that matches, with the time of its last change."""
    found = set()
    for pattern in patterns:
        for file in Path().glob(pattern):
            # Editors replace files.
            with suppress(FileNotFoundError):
                found.add((file, file.stat().st_mtime_ns))
    return found


def main(arguments: list[str]) -> None:
    end = arguments.index("--")
    patterns, command = arguments[:end], arguments[end + 1 :]
    while True:
        before = files(patterns)
        server = subprocess.Popen(command)
        try:
            while not (changed := files(patterns) ^ before):
                time.sleep(LOOK)
        finally:
            server.send_signal(signal.SIGINT)
            server.wait()
        print("Saved:", *sorted({str(file) for file, _ in changed}), flush=True)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main(sys.argv[1:])
