"""The real gunicorn with its own configuration: sockets, draining, recycling, and what it does when killed."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from websockets.asyncio.client import unix_connect

from tests.api.served import PROJECT, blocks, news, until

GUNICORN = str(PROJECT / ".venv/bin/gunicorn")
CONFIG = "deploy/gunicorn/api.py"


class Instance:
    """gunicorn, as the process manager starts it."""

    def __init__(self, directory: Path, *options: str, instance: str = "a", cores: int = 1, **variables: str) -> None:
        self.instance = instance
        self.cores = cores
        self.run = directory / "run"
        self.run.mkdir(exist_ok=True)
        self.log = directory / f"{instance}.log"
        bind = f"unix:{self.run}/api-{{instance}}-{{slot}}.sock"
        own = {"VAR_DIR": str(directory), "INSTANCE": instance, "CORES": str(cores), "API_BIND": bind, **variables}
        with self.log.open("a") as log:
            # Shorter than nginx's, as here nobody else closes a connection that is not used.
            command = [GUNICORN, "--config", CONFIG, "--keep-alive", "1", *options]
            self.process = subprocess.Popen(command, cwd=PROJECT, env=os.environ | own, stderr=log)

    def socket(self, slot: int) -> Path:
        return self.run / f"api-{self.instance}-{slot}.sock"

    def client(self, slot: int = 0) -> httpx.AsyncClient:
        transport = httpx.AsyncHTTPTransport(uds=str(self.socket(slot)))
        return httpx.AsyncClient(transport=transport, base_url="http://api", timeout=30)

    async def get(self, path: str, slot: int = 0) -> httpx.Response:
        async with self.client(slot) as client:
            return await client.get(path)

    async def stats(self, slot: int = 0) -> dict[str, Any]:
        async with self.client(slot) as client:
            found: dict[str, Any] = (await client.get("/health/stats", timeout=1)).json()
        return found

    async def has_watchers(self, number: int) -> bool:
        return bool((await self.stats())["watchers"] == number)

    async def has_left(self, pid: int) -> bool:
        """The process is not at slot 0's address any more."""
        try:
            return bool((await self.stats())["pid"] != pid)
        except httpx.TransportError:
            return True

    async def ready(self, unlike: int = 0) -> "Instance":
        """Until all answer, none of them the process `unlike`."""
        async with asyncio.timeout(20):
            for slot in range(self.cores):
                while True:
                    with contextlib.suppress(httpx.TransportError):
                        if (await self.stats(slot))["pid"] != unlike:
                            break
                    assert self.process.poll() is None, self.log.read_text()
                    await asyncio.sleep(0.05)
        return self

    async def stopped(self) -> int:
        return await asyncio.to_thread(self.process.wait, 40)


@pytest.fixture
def directory() -> Iterator[Path]:
    # Not tmp_path, which is too long for the path of a socket.
    with tempfile.TemporaryDirectory(prefix="api-") as name:
        yield Path(name)


@asynccontextmanager
async def running(directory: Path, *options: str, cores: int = 1) -> AsyncIterator[Instance]:
    instance = Instance(directory, *options, cores=cores)
    family = []
    try:
        yield await instance.ready()
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            family = psutil.Process(instance.process.pid).children()
        instance.process.terminate()
        try:
            await instance.stopped()
        finally:
            for process in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()


@pytest.fixture
async def subject(database_url: str) -> Any:
    from tests.api.served import serve

    async with serve(database_url) as served:
        return await served.fresh()


async def test_each_worker_has_its_own_socket(directory: Path, database_url: str) -> None:
    async with running(directory, cores=2) as instance:
        workers = [await instance.stats(slot) for slot in range(2)]
        assert [(worker["instance"], worker["slot"]) for worker in workers] == [("a", 0), ("a", 1)]
        assert len({worker["pid"] for worker in workers}) == 2
        assert sorted(path.name for path in instance.run.glob("*.sock")) == ["api-a-0.sock", "api-a-1.sock"]
    assert list(instance.run.glob("*.sock")) == []
    assert instance.process.returncode == 0


def free(port: int) -> bool:
    with socket.socket() as listener:
        return listener.connect_ex(("127.0.0.1", port)) != 0


async def test_tcp(directory: Path, database_url: str) -> None:
    # It takes four in a row: a-0, b-0, a-1, b-1.
    port = next(port for port in range(20_000, 30_000, 4) if all(map(free, range(port, port + 4))))
    instance = Instance(directory, instance="b", cores=2, API_BIND=f"127.0.0.1:{port}")
    try:
        async with asyncio.timeout(20), httpx.AsyncClient() as client:
            for slot in range(2):
                while True:
                    with contextlib.suppress(httpx.TransportError):
                        stats = (await client.get(f"http://127.0.0.1:{port + 2 * slot + 1}/health/stats")).json()
                        break
                    await asyncio.sleep(0.05)
                assert (stats["instance"], stats["slot"]) == ("b", slot)
    finally:
        instance.process.terminate()
        assert await instance.stopped() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
async def test_drain(directory: Path, subject: Any, number: signal.Signals) -> None:
    """A stream, a WebSocket, a long-poll and a connection that is between two requests lose nothing."""
    async with running(directory) as instance, instance.client() as client, instance.client() as idle:
        before = await instance.stats()
        assert (await idle.get(subject.newest)).status_code == 200
        poll = asyncio.ensure_future(client.get(subject.poll, params={"after": 0}))
        watching = unix_connect(str(instance.socket(0)), f"ws://api{subject.socket}")
        async with client.stream("GET", subject.events) as response, watching as connection:
            events = blocks(response)
            await news(events)
            await connection.recv()
            await until(partial(instance.has_watchers, 3))
            instance.process.send_signal(number)
            await until(partial(instance.has_left, before["pid"]))
            last = [block async for block in events]
            assert "retry" in last[-1]
            # nginx may use a connection that it has, until it finds that it is closed.
            written = await idle.post(**subject.request(user=8 if number == signal.SIGTERM else 9))
            assert (written.status_code, written.headers["Connection"]) == (201, "close")
            await connection.wait_closed()
            assert connection.close_code == 1012
        answer = await poll
        assert answer.status_code in (200, 204)
        if number == signal.SIGTERM:
            assert await instance.stopped() == 0
        else:
            await instance.ready(unlike=before["pid"])
        await until(lambda: '"drained: 0 connections and 0 watchers left"' in instance.log.read_text())


async def test_worker_that_is_told_to_stop_is_replaced(directory: Path, subject: Any) -> None:
    async with running(directory) as instance, instance.client() as client:
        before = await instance.stats()
        poll = asyncio.ensure_future(client.get(subject.poll, params={"after": 0, "wait": 15}))
        await until(partial(instance.has_watchers, 1))
        os.kill(before["pid"], signal.SIGTERM)
        assert (await poll).status_code == 204
        await instance.ready(unlike=before["pid"])
        assert (await instance.stats())["slot"] == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT])
async def test_stopping_at_once(directory: Path, subject: Any, number: signal.Signals) -> None:
    async with running(directory) as instance, instance.client() as client:
        poll = asyncio.ensure_future(client.get(subject.poll, params={"after": 0}))
        await until(partial(instance.has_watchers, 1))
        instance.process.send_signal(number)
        assert await asyncio.wait_for(instance.stopped(), 5) == 0
        with contextlib.suppress(httpx.TransportError):
            await poll
        assert not instance.socket(0).exists()


async def test_killed_worker(directory: Path, database_url: str) -> None:
    """Another takes its slot and its address, although it could take neither away."""
    async with running(directory, cores=2) as instance:
        first, second = [await instance.stats(slot) for slot in range(2)]
        os.kill(first["pid"], signal.SIGKILL)
        await instance.ready(unlike=first["pid"])
        again = [await instance.stats(slot) for slot in range(2)]
        assert again[0]["pid"] not in (first["pid"], second["pid"])
        assert again[1]["pid"] == second["pid"]


async def test_killed_master(directory: Path, database_url: str) -> None:
    """Its workers notice and go, and leave alone the addresses that a new master's workers have taken."""
    async with running(directory, cores=2) as old:
        workers = psutil.Process(old.process.pid).children()
        for worker in workers:
            # They notice nothing yet.
            worker.suspend()
        old.process.kill()
        await old.stopped()
        async with running(directory, cores=2) as new:
            for worker in workers:
                worker.resume()
            _, alive = await asyncio.to_thread(psutil.wait_procs, workers, 10)
            assert not alive
            assert [(await new.stats(slot))["slot"] for slot in range(2)] == [0, 1]


async def test_recycling(directory: Path, subject: Any) -> None:
    """After so many requests, on however few connections, a worker makes room for a new one, and nobody loses one."""
    options = ("--max-requests", "50", "--max-requests-jitter", "0")
    async with running(directory, *options) as instance, instance.client() as client:
        first = await instance.stats()
        for _ in range(50):
            assert (await client.get(subject.newest)).status_code == 200
        # Asking for its health does not count.
        assert (await instance.stats())["requests"] == 50
        await instance.ready(unlike=first["pid"])
        assert (await instance.stats())["requests"] == 0


async def test_blocked_worker_is_killed_and_says_where(directory: Path, database_url: str) -> None:
    (directory / "blocking.py").write_text(
        "import time\n"
        "from tornado_api.app import make as api\n"
        "from tornado_api.handlers import Handler\n"
        "class Blocks(Handler):\n"
        "    def get(self):\n"
        "        time.sleep(60)\n"
        "def make():\n"
        "    app = api()\n"
        "    app.add_handlers('.*', [('/blocks', Blocks)])\n"
        "    return app\n"
    )
    # After --config: the last word is the command line's.
    options = ("--timeout", "2", "--pythonpath", str(directory), "blocking:make()")
    async with running(directory, *options) as instance:
        first = await instance.stats()
        with pytest.raises(httpx.TransportError):
            await instance.get("/blocks")
        await instance.ready(unlike=first["pid"])
    log = instance.log.read_text()
    assert "WORKER TIMEOUT" in log
    assert 'blocking.py", line 6 in get' in log


async def test_directory_that_is_not_there(directory: Path, database_url: str) -> None:
    instance = Instance(directory, API_BIND="unix:/nowhere/{instance}-{slot}.sock")
    assert await instance.stopped() != 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, None) for name in ("TOKEN_KEYS", "VAR_DIR", "DATABASE_URL", "API_BIND", "INSTANCE")),
        ("TOKEN_KEYS", "a:short"),
        ("TOKEN_KEYS", "a:" + "x" * 32 + ",a:" + "y" * 32),
        ("VAR_DIR", "var"),
        ("DATABASE_URL", "mysql://localhost/x"),
        ("DATABASE_URL", "postgresql://localhost:port/x"),
        ("REDIS_URL", "localhost:6379"),
        ("API_BIND", "unix:/run/api.sock"),
        ("API_BIND", "unix:/run/{other}-{instance}-{slot}.sock"),
        ("API_BIND", "8000"),
        ("LOG_LEVEL", "LOUD"),
        ("INSTANCE", "c"),
    ],
)
def test_setting_that_is_wrong(directory: Path, name: str, value: str | None) -> None:
    environment = dict(os.environ)
    environment.pop(name, None)
    if value is not None:
        environment[name] = value
    command = [GUNICORN, "--config", CONFIG]
    done = subprocess.run(
        command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False, timeout=30
    )
    assert done.returncode != 0
    [line] = done.stderr.splitlines()
    assert line.startswith(f"api: {name}: {'malformed' if value else 'not set'}; should be ")
    assert value is None or value not in line


async def test_log(directory: Path, subject: Any) -> None:
    async with running(directory) as instance, instance.client() as client:
        headers = {"X-Request-ID": "0123456789abcdef"}
        await client.get(f"{subject.newest}?secret=1", headers=headers)
        await client.get("/health/live")
    lines = [json.loads(line) for line in instance.log.read_text().splitlines()]
    assert all(line["app"] == "api" and line["instance"] == "a" and line["time"] and line["pid"] for line in lines)
    [access] = [line for line in lines if line["logger"] == "access"]
    assert access["request_id"] == "0123456789abcdef"
    assert (access["method"], access["path"], access["status"]) == ("GET", subject.newest, 200)
    assert access["duration_ms"] > 0
    assert "secret" not in instance.log.read_text()
