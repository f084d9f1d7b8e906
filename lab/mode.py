"""A mode is one way to deploy, and one file in modes/: a page to read, whose fenced blocks are what runs.

The first block, `toml`, says what it is. Each block with a file's name after its language is written as that file, and
of the block `sh run` every line is a process, started in the directory of those files. Words in capitals and braces
are filled in, and are in the processes' environment too: PORT to listen on, APP as module:application, PROCESSES, …
"""

import contextlib
import functools
import http.client
import importlib.metadata
import itertools
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from deploy.cores import cores
from deploy.env import PROJECT
from deploy.nginx import Words
from deploy.terminal import Failed
from lab import site

LAB = PROJECT / "lab"
# The order of the report.
FAMILIES = (
    "CGI",
    "FastCGI and SCGI",
    "uwsgi protocol",
    "WSGI servers",
    "embedded",
    "ASGI",
    "async api",
    "from scratch",
)
# Two per core, as the reference has.
CORES = cores()
PROCESSES = 2 * CORES
# Of the load: more than any mode has processes.
CONNECTIONS = 32
# Seconds for a mode to answer: most need one, on a machine that is busy half a minute.
START = 60
# Seconds to end before it is killed: nothing is lost, and there are hundreds of ends.
STOP = 0.5
# Ports below those that the kernel gives to clients, ten for each start: a port that was used a moment ago may have
# connections in TIME_WAIT, over which not every server binds.
first = os.getpid() % 1200
ports = itertools.islice(itertools.cycle(range(20_000, 32_000, 10)), first, None)


@dataclass(frozen=True)
class Job:
    """What a mode is asked for: `path`, whose answer has `marker` in it, and is the same each time but for what the Lua
    pattern `varies` finds in it. `reference` is the mode that the others are measured against.
    """

    path: str
    app: str
    asgi: str
    marker: bytes
    varies: str = ""
    reference: str = "reference"


JOBS = {
    "hello": Job("/", "hello:application", "hello_asgi:application", b"Hello, world!\n"),
    "page": Job(
        "/questions/1/", "config.wsgi:application", "page_asgi:application", b"Log in to vote", "as of %d%d:%d%d:%d%d"
    ),
    "static": Job("/static/site.css", "static:application", "", b"color-scheme"),
    "slow": Job("/", "hello:application", "hello_asgi:application", b"Hello, world!\n"),
    "json": Job("/api/v1/questions/1/results", "", "", b'"total":0', reference="reference-api"),
    "live": Job("/api/v1/questions/1/results", "", "", b'"total":0', reference="reference-api"),
}


@dataclass(frozen=True)
class Mode:
    """`needs` has the Debian package of each program, or file by its whole path; `python` names distributions.

    `connections`: of the load, fewer where an answer takes so long that most would wait for it in vain.
    """

    name: str
    page: str
    title: str
    family: str
    jobs: tuple[str, ...]
    needs: Mapping[str, str]
    python: tuple[str, ...]
    files: Mapping[str, str]
    run: tuple[str, ...]
    choose: str
    connections: int = CONNECTIONS
    debian_python: bool = False
    behind_nginx: bool = False

    def missing(self) -> list[str]:
        """What to install first, in words; empty when it can run."""
        packages = [package for program, package in self.needs.items() if not find(program)]
        found = [f"apt-get install {' '.join(dict.fromkeys(packages))}"] if packages else []
        if absent := [name for name in self.python if not version(name)]:
            found.append(f"{' '.join(absent)} from PyPI, in the versions of uv.lock")
        if self.debian_python and Path(sys.executable).resolve().parent != Path("/usr/bin"):
            found.append("a .venv made with Debian's own python3, for which the module is built")
        return found

    def versions(self) -> dict[str, str]:
        debian = {package: debian_version(package) for package in self.needs.values()}
        return debian | {name: version(name) for name in self.python}

    @contextlib.contextmanager
    def up(self, job: str, var: Path) -> Iterator["Running"]:
        """In the block the mode answers, and nothing of it left afterwards. Raises Failed, with the end of its log."""
        directory = var / f"modes/{self.name}"
        shutil.rmtree(directory, ignore_errors=True)
        site.lay_out(directory, var)
        base = free_port()
        front = base + self.behind_nginx
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"], "/usr/sbin"])
        words = site.variables(var) | {
            "VAR_DIR": str(directory),
            "API_BIND": f"unix:{directory}/run/api-{{instance}}-{{slot}}.sock",
            "PROJECT": str(PROJECT),
            "VENV": sys.prefix,
            "PYTHONPATH": os.pathsep.join(map(str, (LAB / "apps", PROJECT / "django_site", PROJECT))),
            "PORT": str(base),
            "FRONT": str(front),
            "BACKEND": str(base + 2),
            "PROCESSES": str(PROCESSES),
            "CORES": str(CORES),
            "APP": JOBS[job].app,
            "ASGI": JOBS[job].asgi,
            "DJANGO_SETTINGS_MODULE": "config.settings",
        }
        for name, text in (frames() | dict(self.files)).items():
            file = directory / name
            file.write_text(Words(text).safe_substitute(words))
            file.chmod(0o755 if text.startswith("#!") else 0o644)
        # A server may open it again, as /dev/stderr.
        (directory / "output").touch()
        site.hand_over(directory)
        environment = {name: os.environ[name] for name in ("HOME", "LANG", "TZ") if name in os.environ}
        running = Running(self, job, front, directory)
        try:
            for command in self.run:
                running.start(command, environment | words | {"PATH": path})
            running.wait()
            yield running
        finally:
            running.stop()


class Running:
    """A mode that is up. `body` is the answer that each request must get."""

    body: bytes

    def __init__(self, mode: Mode, job: str, port: int, directory: Path) -> None:
        self.mode, self.job, self.port, self.directory = mode, job, port, directory
        self.log = directory / "output"
        self.leaders: list[subprocess.Popen[bytes]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{JOBS[self.job].path}"

    def start(self, command: str, environment: Mapping[str, str]) -> None:
        # A session of its own: whatever it forks is found by it.
        with self.log.open("ab") as log:
            self.leaders.append(
                subprocess.Popen(
                    ["bash", "-c", f"exec {command}" if "=" not in command.split()[0] else f"exec env {command}"],
                    cwd=self.directory,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                    **site.AS,
                )
            )

    def get(self, timeout: float = 5) -> tuple[int, bytes]:
        """Status and body; 0 with the reason when there is no answer."""
        try:
            with urllib.request.urlopen(self.url, timeout=timeout) as answer:  # noqa: S310 (http, ours)
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()
        except (OSError, http.client.HTTPException) as error:
            return 0, str(error).encode()

    def wait(self) -> None:
        deadline = time.monotonic() + START
        status = 0
        while time.monotonic() < deadline:
            status, self.body = self.get()
            if status == 200 and JOBS[self.job].marker in self.body:
                return
            for leader in self.leaders:
                if leader.poll() is not None:
                    raise Failed(f"{self.mode.name}: a process ended with {leader.returncode}\n{self.tail()}")
            time.sleep(0.05)
        raise Failed(
            f"{self.mode.name}: {self.url} answered {status} within {START} s, not as it should:\n"
            f"{self.body[:400].decode(errors='replace')}\n{self.tail()}"
        )

    def processes(self) -> list[psutil.Process]:
        sessions = {leader.pid for leader in self.leaders}
        found = []
        for pid in psutil.pids():
            with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):
                # What nobody has waited for yet is no process any more.
                if os.getsid(pid) in sessions and (process := psutil.Process(pid)).status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def memory(self) -> float:
        """Bytes: the proportional size (PSS), so that what processes share counts once."""
        total = 0
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                total += process.memory_full_info().pss
        return total

    def stop(self) -> None:
        for leader in self.leaders:
            with contextlib.suppress(ProcessLookupError):
                leader.terminate()
        deadline = time.monotonic() + STOP
        while left := self.processes():
            for process in left if time.monotonic() > deadline else ():
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            time.sleep(0.02)
        for leader in self.leaders:
            leader.wait()

    def tail(self) -> str:
        return "\n".join(line[:300] for line in self.log.read_text(errors="replace").splitlines()[-40:])


@functools.cache
def frames() -> dict[str, str]:
    """What every mode has in its directory: the rest of a server's configuration, around what a page shows."""
    return {file.name: file.read_text() for file in sorted((LAB / "frames").iterdir())}


def read(page: Path) -> list[Mode]:
    """Two with `behind_nginx = true`: itself, and behind frames/behind.conf. Raises Failed when it is not a mode's."""
    text = page.read_text()
    blocks = re.findall(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", text, re.M | re.S)
    try:
        about = tomllib.loads(blocks[0][2])
        [run] = [block for language, name, block in blocks if (language, name) == ("sh", "run")]
        [title] = re.findall(r"\A# (.+)$", text, re.M)
        [choose] = re.findall(r"^## Choose it when\n\n(.+?)(?=\n\n|\Z)", text, re.M | re.S)
        mode = Mode(
            name=page.stem,
            page=page.stem,
            title=title,
            family=about["family"],
            jobs=tuple(about["jobs"]),
            needs=about.get("needs", {}),
            python=tuple(about.get("python", [])),
            files={name: block for _, name, block in blocks[1:] if name and name != "run"},
            run=tuple(run.replace("\\\n", "").strip().splitlines()),
            choose=" ".join(choose.split()),
            connections=about.get("connections", CONNECTIONS),
            debian_python=about.get("debian_python", False),
        )
    except (IndexError, KeyError, ValueError) as error:
        raise Failed(f"{page}: not the page of a mode: {error!r}") from error
    if not about.get("behind_nginx"):
        return [mode]
    behind = replace(
        mode,
        name=f"nginx-{mode.name}",
        title=f"nginx in front of {mode.title}",
        # nginx's static files are the reference's.
        jobs=tuple(job for job in mode.jobs if job != "static"),
        needs={**mode.needs, "nginx": "nginx"},
        files={**mode.files, "site.conf": frames()["behind.conf"]},
        run=(*mode.run, "nginx -p . -e stderr -c nginx.conf"),
        behind_nginx=True,
    )
    return [mode, behind]


def read_all() -> dict[str, Mode]:
    """By name, in the report's order: by family, and there the reference first."""
    found = [mode for page in (LAB / "modes").glob("*.md") for mode in read(page)]
    found.sort(key=lambda mode: (FAMILIES.index(mode.family), "reference" not in mode.name, mode.name))
    return {mode.name: mode for mode in found}


def find(program: str) -> bool:
    if program.startswith("/"):
        return Path(program).exists()
    return shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin") is not None


def version(distribution: str) -> str:
    """Empty when it is not installed."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""


@functools.cache
def debian_version(package: str) -> str:
    """Empty where dpkg does not know it."""
    with contextlib.suppress(OSError):
        command = ["dpkg-query", "--show", "--showformat=${Version}", package]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return ""


def free_port() -> int:
    """The first of ten that nobody listens on."""
    for base in ports:
        with contextlib.suppress(OSError), contextlib.ExitStack() as held:
            for port in range(base, base + 10):
                held.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return base
    raise AssertionError
