"""Run a server, and restart it when you save a file: `python3 -m deploy.docker.reload PATTERN… -- COMMAND`.

uWSGI's py-autoreload and gunicorn's --reload watch only loaded modules. They miss templates, a module with a syntax
error, and what the master itself has imported.
"""

import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

# Seconds between two checks. inotify may miss files that are saved on macOS or Windows and mounted here.
LOOK = 0.5


def files(patterns: list[str]) -> set[tuple[Path, int]]:
    """Return each file that matches, with the time of its last change."""
    found = set()
    for pattern in patterns:
        for file in Path().glob(pattern):
            # An editor that replaces a file removes it for a moment.
            with suppress(FileNotFoundError):
                if file.is_file():
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
