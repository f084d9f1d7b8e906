"""End what a run of the tests leaves behind, also a run that is killed: `python -m tests.cleanup DIRECTORY`.

tests/conftest.py starts this beside pytest and holds the pipe to its stdin, which closes when pytest ends, however it
ends. DIRECTORY has all temporary files of the run, so its processes and its containers mention it.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

LABELS = ["com.docker.compose.project", "com.docker.compose.project.config_files"]


@contextmanager
def temporary_directory() -> Iterator[Path]:
    """For the block, make all temporary files in one new directory, and clean up when this process ends."""
    directory = Path(tempfile.mkdtemp(prefix="tests-"))
    # As /tmp: root's tests start programs as other users.
    directory.chmod(0o1777)
    os.environ["TMPDIR"] = tempfile.tempdir = str(directory)
    # A session of its own: Ctrl-C in a terminal ends the processes of the terminal's.
    cleanup = subprocess.Popen(
        [sys.executable, "-m", "tests.cleanup", directory],
        cwd=Path(__file__).parents[1],
        stdin=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        yield directory
    finally:
        cleanup.communicate()


def mentioning(directory: Path) -> list[psutil.Process]:
    """Return the other processes that have a directory in their command or environment, or work in it."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            words = [*process.cmdline(), *process.environ().values(), process.cwd()]
            if process.pid != os.getpid() and any(str(directory) in word for word in words):
                found.append(process)
    return found


def kill(directory: Path) -> None:
    """Kill all processes that mention a directory. Repeat for processes that started in between."""
    deadline = time.monotonic() + 30
    while (found := mentioning(directory)) and time.monotonic() < deadline:
        for process in found:
            with suppress(psutil.Error):
                process.kill()
        time.sleep(0.1)


def docker(*command: str) -> list[str]:
    """Return the lines that a docker command prints; none without a Docker engine."""
    if not shutil.which("docker"):
        return []
    return subprocess.run(["docker", *command], capture_output=True, text=True, check=False).stdout.splitlines()


def remove_containers(directory: Path) -> None:
    """Remove the compose projects that have a file in a directory, with their volumes and networks."""
    fields = "\t".join(f'{{{{.Label "{label}"}}}}' for label in LABELS)
    listed = [line.split("\t") for line in docker("ps", "--all", f"--format={fields}")]
    for project in {project for project, files in listed if str(directory) in files}:
        of_it = f"--filter=label={LABELS[0]}={project}"
        for kind, every in (("container", ["--all"]), ("volume", []), ("network", [])):
            if ids := docker(kind, "ls", "--quiet", *every, of_it):
                docker(kind, "rm", "--force", *ids)


def main() -> None:
    directory = Path(sys.argv[1])
    sys.stdin.read()
    remove_containers(directory)
    kill(directory)
    shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
