"""Read, start and stop the modes. A mode is one way to deploy, and one page in modes/ whose fenced blocks run.

The first block, `toml`, describes the mode. A block with a file name after its language becomes that file. Every line
of the block `sh run` starts a process in the directory of those files. Words such as ${PORT} are filled in, and the
processes have them in their environment: PORT to listen on, APPLICATION as module:name, PROCESSES, …
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

from deploy.core.apps import PROJECT
from deploy.core.console import Failed
from deploy.core.cores import cores
from deploy.core.settings import Words
from lab import data

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
# Two per core, like the reference.
CORES = cores()
PROCESSES = 2 * CORES
# Connections of the load generator: more than the processes of any mode.
CONNECTIONS = 32
# Seconds until a mode must answer. Most need one; on a busy machine, half a minute.
START = 60
# Seconds to stop before the processes are killed. There is nothing to lose, and a run stops hundreds of modes.
STOP = 0.5
# Ports below the ephemeral range, ten for each start. A port that was just in use may have connections in TIME_WAIT,
# and not every server can bind to it then.
first = os.getpid() % 1200
ports = itertools.islice(itertools.cycle(range(20_000, 32_000, 10)), first, None)


@dataclass(frozen=True)
class Job:
    """One kind of request. The response to `path` contains `marker`, and varies only in the Lua pattern `varies`.

    The servers load `application` or `asgi`, with the name of `app`. The other modes are compared with `reference`.
    """

    path: str
    application: str
    asgi: str
    marker: bytes
    varies: str = ""
    app: str = "site"
    reference: str = "reference"


JOBS = {
    "hello": Job("/", "hello:application", "hello_asgi:application", b"Hello, world!\n"),
    "page": Job(
        "/questions/1/", "config.wsgi:application", "page_asgi:application", b"Log in to vote", "as of %d%d:%d%d:%d%d"
    ),
    "static": Job("/static/site.css", "static:application", "", b"color-scheme"),
    "slow": Job("/", "hello:application", "hello_asgi:application", b"Hello, world!\n"),
    "json": Job("/api/v1/questions/1/results", "", "", b'"total":0', app="api", reference="reference-api"),
    "live": Job("/api/v1/questions/1/results", "", "", b'"total":0', app="api", reference="reference-api"),
}


@dataclass(frozen=True)
class Mode:
    """One page of modes/. `needs` maps programs and absolute paths to Debian packages. `python` names distributions.

    `connections` is the number of the load generator's connections: fewer where most of them would time out.
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
        """Describe what to install first. Return an empty list if the mode can run."""
        packages = [package for program, package in self.needs.items() if not is_installed(program)]
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
    def start(self, job: str, var: Path, **given: str) -> Iterator["Running"]:
        """Start the mode, wait until it answers, and stop it after the block. `given` are more words, by name.

        Raises Failed with the end of its log.
        """
        directory = var / f"modes/{self.name}"
        shutil.rmtree(directory, ignore_errors=True)
        data.make_var(directory, var)
        base = free_port()
        front = base + self.behind_nginx
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"], "/usr/sbin"])
        words = data.settings(var) | {
            "VAR_DIR": str(directory),
            "PROJECT": str(PROJECT),
            "VENV": sys.prefix,
            "PYTHONPATH": os.pathsep.join(map(str, (LAB / "apps", PROJECT / "django_site", PROJECT))),
            "PORT": str(base),
            "FRONT": str(front),
            "BACKEND": str(base + 2),
            "PROCESSES": str(PROCESSES),
            "CORES": str(CORES),
            "APP": JOBS[job].app,
            "INSTANCE": f"{JOBS[job].app}-a",
            "APPLICATION": JOBS[job].application,
            "ASGI": JOBS[job].asgi,
            "DJANGO_SETTINGS_MODULE": "config.settings",
            **given,
        }
        for name, text in (frames() | dict(self.files)).items():
            file = directory / name
            file.write_text(Words(text).safe_substitute(words))
            file.chmod(0o755 if text.startswith("#!") else 0o644)
        # A server may open it again, as /dev/stderr.
        (directory / "output").touch()
        data.give_to_servers(directory)
        environment = {name: os.environ[name] for name in ("HOME", "LANG", "TZ") if name in os.environ}
        running = Running(self, job, front, directory)
        try:
            for command in self.run:
                running.start_process(command, environment | words | {"PATH": path})
            running.wait_until_ready()
            yield running
        finally:
            running.stop()


class Running:
    """A running mode. Every request must get the response `body`."""

    body: bytes

    def __init__(self, mode: Mode, job: str, port: int, directory: Path) -> None:
        self.mode, self.job, self.port, self.directory = mode, job, port, directory
        self.log = directory / "output"
        self.leaders: list[subprocess.Popen[bytes]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{JOBS[self.job].path}"

    def start_process(self, command: str, environment: Mapping[str, str]) -> None:
        # A session of its own, by which `processes` finds everything that it forks.
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
                    **data.RUN_AS,
                )
            )

    def get(self, timeout: float = 5) -> tuple[int, bytes]:
        """Return the status and the body, or 0 and the reason if there is no answer."""
        try:
            with urllib.request.urlopen(self.url, timeout=timeout) as answer:  # noqa: S310 (http, ours)
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()
        except (OSError, http.client.HTTPException) as error:
            return 0, str(error).encode()

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + START
        status = 0
        while time.monotonic() < deadline:
            status, self.body = self.get()
            if status == 200 and JOBS[self.job].marker in self.body:
                return
            for leader in self.leaders:
                if leader.poll() is not None:
                    raise Failed(f"{self.mode.name}: a process exited with status {leader.returncode}\n{self.tail()}")
            time.sleep(0.05)
        raise Failed(
            f"{self.mode.name}: {self.url} did not return the expected response within {START} s, but {status}:\n"
            f"{self.body[:400].decode(errors='replace')}\n{self.tail()}"
        )

    def processes(self) -> list[psutil.Process]:
        sessions = {leader.pid for leader in self.leaders}
        found = []
        for pid in psutil.pids():
            with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):
                # A zombie has stopped.
                if os.getsid(pid) in sessions and (process := psutil.Process(pid)).status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def memory(self) -> float:
        """Return the proportional set size (PSS) in bytes, which counts shared memory once."""
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
    """Return the files that every mode gets: the rest of a server's configuration, around what a page shows."""
    return {file.name: file.read_text() for file in sorted((LAB / "frames").iterdir())}


def read_page(page: Path) -> list[Mode]:
    """Return the mode of a page, and a second mode behind nginx if `behind_nginx` is true.

    Raises Failed if the page does not describe a mode.
    """
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
        raise Failed(f"{page}: not a mode's page: {error!r}") from error
    return [mode, put_behind_nginx(mode)] if about.get("behind_nginx") else [mode]


def put_behind_nginx(mode: Mode) -> Mode:
    """Return the same mode, as a second one, with nginx in front."""
    return replace(
        mode,
        name=f"nginx-{mode.name}",
        title=f"nginx in front of {mode.title}",
        # nginx serves static files as the reference does.
        jobs=tuple(job for job in mode.jobs if job != "static"),
        needs={**mode.needs, "nginx": "nginx"},
        files={"site.conf": frames()["behind.conf"], **mode.files},
        run=(*mode.run, "nginx -p . -e stderr -c nginx.conf"),
        behind_nginx=True,
    )


def read_all() -> dict[str, Mode]:
    """Return the modes by name, sorted by family with the reference first."""
    found = [mode for page in (LAB / "modes").glob("*.md") for mode in read_page(page)]
    found.sort(key=lambda mode: (FAMILIES.index(mode.family), "reference" not in mode.name, mode.name))
    return {mode.name: mode for mode in found}


def is_installed(program: str) -> bool:
    if program.startswith("/"):
        return Path(program).exists()
    return shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin") is not None


def version(distribution: str) -> str:
    """Return an empty string if it is not installed."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""


@functools.cache
def debian_version(package: str) -> str:
    """Return an empty string if dpkg does not know the package."""
    with contextlib.suppress(OSError):
        command = ["dpkg-query", "--show", "--showformat=${Version}", package]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return ""


def free_port() -> int:
    """Return the first of ten free ports."""
    for base in ports:
        with contextlib.suppress(OSError), contextlib.ExitStack() as held:
            for port in range(base, base + 10):
                held.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return base
    raise AssertionError
