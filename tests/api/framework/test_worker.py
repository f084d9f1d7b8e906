"""The real gunicorn with its own configuration: sockets, draining, recycling, and kills."""

import asyncio
import contextlib
import json
import os
import random
import signal
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

from deploy.core.apps import find
from tests.api.framework.sample import ALL, Subject, fresh
from tests.api.framework.waiting import until
from tests.api.served import PROJECT, serve
from tests.api.tokens import token
from tests.api.watching import blocks, news

pytestmark = [pytest.mark.slow, pytest.mark.any_data]

GUNICORN = str(PROJECT / ".venv/bin/gunicorn")
CONFIG = "deploy/gunicorn/config.py"


class Instance:
    """gunicorn, started as the process manager starts it, with the sample's app or (None) the registry's."""

    def __init__(
        self,
        directory: Path,
        database_url: str,
        *options: str,
        name: str = "api-a",
        cores: int = 1,
        application: str | None = "tests.api.framework.sample:application()",
        **variables: str,
    ) -> None:
        self.name = name
        self.cores = cores
        self.run = directory / "run"
        self.run.mkdir(exist_ok=True)
        self.log = directory / f"{name}.log"
        own = {"VAR_DIR": str(directory), "INSTANCE": name, "CORES": str(cores), "DATABASE_URL": database_url}
        # gunicorn closes idle connections, as no nginx does it here. The application is last: it overrides the file's.
        command = [GUNICORN, "--config", CONFIG, "--keep-alive", "1", *options, *([application] if application else [])]
        with self.log.open("a") as log:
            self.process = subprocess.Popen(command, cwd=PROJECT, env=os.environ | own | variables, stderr=log)

    def socket(self, slot: int) -> Path:
        return self.run / f"{self.name}-{slot}.sock"

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
        """Another process, or none, listens on slot 0's address."""
        try:
            return bool((await self.stats())["pid"] != pid)
        except httpx.TransportError:
            return True

    async def ready(self, unlike: int = 0) -> "Instance":
        """Return when all workers answer and none of them is the process `unlike`."""
        async with asyncio.timeout(40):
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
    # Not tmp_path, whose path is too long for a socket.
    with tempfile.TemporaryDirectory(prefix="api-") as name:
        yield Path(name)


@asynccontextmanager
async def running(directory: Path, database_url: str, *options: str, **how: Any) -> AsyncIterator[Instance]:
    instance = Instance(directory, database_url, *options, **how)
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
async def subject(database_url: str) -> Subject:
    async with serve(database_url, features=ALL) as served:
        return await fresh(served)


async def test_each_worker_has_its_own_socket(directory: Path, database_url: str) -> None:
    async with running(directory, database_url, cores=2, application=None) as instance:
        workers = [await instance.stats(slot) for slot in range(2)]
        assert [(worker["instance"], worker["slot"]) for worker in workers] == [("api-a", 0), ("api-a", 1)]
        assert len({worker["pid"] for worker in workers}) == 2
        assert sorted(path.name for path in instance.run.glob("*.sock")) == ["api-a-0.sock", "api-a-1.sock"]
    assert list(instance.run.glob("*.sock")) == []
    assert instance.process.returncode == 0


async def test_tcp(directory: Path, database_url: str) -> None:
    # All of 127.0.0.0/8 is this machine: an address that no other test listens on.
    host = f"127.{random.randint(1, 254)}.{random.randint(1, 254)}.1"
    ports = find("api-b").ports(2)
    instance = Instance(directory, database_url, name="api-b", cores=2, BIND=host)
    try:
        async with asyncio.timeout(40), httpx.AsyncClient() as client:
            for slot, port in enumerate(ports):
                while True:
                    with contextlib.suppress(httpx.TransportError):
                        stats = (await client.get(f"http://{host}:{port}/health/stats")).json()
                        break
                    await asyncio.sleep(0.05)
                assert (stats["instance"], stats["slot"]) == ("api-b", slot)
    finally:
        instance.process.terminate()
        assert await instance.stopped() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
async def test_drain(directory: Path, subject: Subject, database_url: str, number: signal.Signals) -> None:
    """A stream, two WebSockets, a long-poll and a connection that is between two requests lose nothing."""
    headers = {"Authorization": f"Bearer {token(1)}"}
    # On a busy machine a second may pass before the idle connection is used again.
    running_longer = running(directory, database_url, "--keep-alive", "8")
    async with running_longer as instance, instance.client() as client, instance.client() as idle:
        before = await instance.stats()
        assert (await idle.get(subject.newest)).status_code == 200
        waiting = asyncio.ensure_future(client.get(subject.long_poll, params={"after": 0}))
        watching = unix_connect(str(instance.socket(0)), f"ws://api{subject.socket}")
        echoing = unix_connect(str(instance.socket(0)), "ws://api/api/v1/sockets/echo", additional_headers=headers)
        async with client.stream("GET", subject.events) as response, watching as connection, echoing as echo:
            events = blocks(response)
            await news(events)
            await connection.recv()
            await echo.recv()
            await until(partial(instance.has_watchers, 4))
            await echo.send("wait")
            await asyncio.sleep(0.1)
            instance.process.send_signal(number)
            await until(partial(instance.has_left, before["pid"]))
            last = [block async for block in events]
            assert "retry" in last[-1]
            # nginx may use a kept connection until it notices that the worker closed it.
            written = await idle.post(**subject.request(user=8 if number == signal.SIGTERM else 9))
            assert (written.status_code, written.headers["Connection"]) == (201, "close")
            assert await echo.recv() == "wait", "a message in work was not finished"
            for each in connection, echo:
                await each.wait_closed()
                assert each.close_code == 1012
        answer = await waiting
        assert answer.status_code in (200, 204)
        if number == signal.SIGTERM:
            assert await instance.stopped() == 0
        else:
            await instance.ready(unlike=before["pid"])
        await until(lambda: '"drained: 0 connections and 0 watchers left"' in instance.log.read_text())


async def test_message_of_a_two_way_websocket_is_finished(directory: Path, database_url: str) -> None:
    """The worker waits for a client whose other connections it does not hold."""
    headers = {"Authorization": f"Bearer {token(1)}"}
    async with running(directory, database_url) as instance:
        path = str(instance.socket(0))
        async with unix_connect(path, "ws://api/api/v1/sockets/echo", additional_headers=headers) as echo:
            await echo.recv()
            await echo.send("wait")
            await asyncio.sleep(0.1)
            instance.process.send_signal(signal.SIGTERM)
            assert await echo.recv() == "wait"
            await echo.wait_closed()
            assert echo.close_code == 1012
        assert await instance.stopped() == 0


async def test_a_stopping_worker_is_replaced(directory: Path, subject: Subject, database_url: str) -> None:
    async with running(directory, database_url) as instance, instance.client() as client:
        before = await instance.stats()
        waiting = asyncio.ensure_future(client.get(subject.long_poll, params={"after": 0, "wait": 15}))
        await until(partial(instance.has_watchers, 1))
        os.kill(before["pid"], signal.SIGTERM)
        assert (await waiting).status_code == 204
        await instance.ready(unlike=before["pid"])
        assert (await instance.stats())["slot"] == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT])
async def test_stopping_at_once(directory: Path, subject: Subject, database_url: str, number: signal.Signals) -> None:
    async with running(directory, database_url) as instance, instance.client() as client:
        waiting = asyncio.ensure_future(client.get(subject.long_poll, params={"after": 0}))
        await until(partial(instance.has_watchers, 1))
        instance.process.send_signal(number)
        assert await asyncio.wait_for(instance.stopped(), 10) == 0
        with contextlib.suppress(httpx.TransportError):
            await waiting
        assert not instance.socket(0).exists()


async def test_killed_worker(directory: Path, database_url: str) -> None:
    """Another worker takes its slot and its address."""
    async with running(directory, database_url, cores=2) as instance:
        first, second = [await instance.stats(slot) for slot in range(2)]
        os.kill(first["pid"], signal.SIGKILL)
        await instance.ready(unlike=first["pid"])
        again = [await instance.stats(slot) for slot in range(2)]
        assert again[0]["pid"] not in (first["pid"], second["pid"])
        assert again[1]["pid"] == second["pid"]


async def test_killed_master(directory: Path, database_url: str) -> None:
    """Its workers notice and stop. They leave the sockets of a new master's workers in place."""
    async with running(directory, database_url, cores=2) as old:
        workers = psutil.Process(old.process.pid).children()
        for worker in workers:
            # So that they do not notice it yet.
            worker.suspend()
        old.process.kill()
        await old.stopped()
        async with running(directory, database_url, cores=2) as new:
            for worker in workers:
                worker.resume()
            _, alive = await asyncio.to_thread(psutil.wait_procs, workers, 10)
            assert not alive
            assert [(await new.stats(slot))["slot"] for slot in range(2)] == [0, 1]


async def test_recycling(directory: Path, subject: Subject, database_url: str) -> None:
    """After this many requests, on any number of connections, a new worker replaces this one. No request fails."""
    options = ("--max-requests", "50", "--max-requests-jitter", "0")
    async with running(directory, database_url, *options) as instance, instance.client() as client:
        first = await instance.stats()
        for _ in range(50):
            assert (await client.get(subject.newest)).status_code == 200
        # Health checks do not count.
        assert (await instance.stats())["requests"] == 50
        await instance.ready(unlike=first["pid"])
        assert (await instance.stats())["requests"] == 0


async def test_blocked_worker_is_killed_and_says_where(directory: Path, database_url: str) -> None:
    (directory / "blocking.py").write_text(
        "import time\n"
        "from tests.api.framework.sample import application\n"
        "from tornado_api.handler import Handler\n"
        "class Blocks(Handler):\n"
        "    def get(self):\n"
        "        time.sleep(60)\n"
        "def make():\n"
        "    app = application()\n"
        "    app.add_handlers('.*', [('/blocks', Blocks)])\n"
        "    return app\n"
    )
    options = ("--timeout", "2", "--pythonpath", str(directory))
    async with running(directory, database_url, *options, application="blocking:make()") as instance:
        first = await instance.stats()
        with pytest.raises(httpx.TransportError):
            await instance.get("/blocks")
        await instance.ready(unlike=first["pid"])
    log = instance.log.read_text()
    assert "WORKER TIMEOUT" in log
    assert 'blocking.py", line 6 in get' in log


async def test_directory_that_is_not_there(directory: Path, database_url: str) -> None:
    instance = Instance(directory, database_url, VAR_DIR="/nowhere")
    assert await instance.stopped() != 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, None) for name in ("TOKEN_KEYS", "VAR_DIR", "DATABASE_URL", "APP", "INSTANCE")),
        ("TOKEN_KEYS", "a:short"),
        ("TOKEN_KEYS", "a:" + "x" * 32 + ",a:" + "y" * 32),
        ("VAR_DIR", "var"),
        ("DATABASE_URL", "mysql://localhost/x"),
        ("DATABASE_URL", "postgresql://localhost:port/x"),
        ("DATABASE_URL", "postgresql:///x?host=one,two&port=5432,port"),
        ("DATABASE_POOLER", "perhaps"),
        ("REDIS_URL", "localhost:6379"),
        ("BIND", "localhost"),
        ("BIND", "127.0.0.1:8000"),
        ("LOG_LEVEL", "LOUD"),
        ("INSTANCE", "web"),
        ("INSTANCE", "api-1"),
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
    assert line.startswith(
        f"{environment.get('APP', 'tornado_api')}: {name}: {'malformed' if value else 'not set'}; should be "
    )
    assert value is None or value not in line


async def test_log(directory: Path, subject: Subject, database_url: str) -> None:
    async with running(directory, database_url) as instance, instance.client() as client:
        headers = {"X-Request-ID": "0123456789abcdef"}
        await client.get(f"{subject.newest}?secret=1", headers=headers)
        await client.get("/health/live")
    lines = [json.loads(line) for line in instance.log.read_text().splitlines()]
    assert all(line["app"] == "api" and line["instance"] == "api-a" and line["time"] and line["pid"] for line in lines)
    [access] = [line for line in lines if line["logger"] == "access"]
    assert access["request_id"] == "0123456789abcdef"
    assert (access["method"], access["path"], access["status"]) == ("GET", subject.newest, 200)
    assert access["duration_ms"] > 0
    assert "secret" not in instance.log.read_text()
