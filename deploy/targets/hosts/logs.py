"""Follow several logs at once, each line with the name of its log."""

import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence

from deploy.core.console import readable


def follow(commands: Mapping[str, Sequence[str]]) -> None:
    """Print the lines of commands until all of them end. The keys are the names that the lines get."""
    width = max(map(len, commands))
    processes = {
        name: subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, errors="replace")
        for name, command in commands.items()
    }
    # End with the process at the other end of an ssh connection.
    signal.signal(signal.SIGHUP, lambda *_: sys.exit())
    threads = [
        threading.Thread(target=show, args=(name.ljust(width), process), daemon=True)
        for name, process in processes.items()
    ]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    except KeyboardInterrupt:
        pass
    finally:
        for process in processes.values():
            process.terminate()


def show(name: str, process: "subprocess.Popen[str]") -> None:
    assert process.stdout
    for line in process.stdout:
        if line.strip():
            print(f"{name}  {readable(line.rstrip())}", flush=True)
