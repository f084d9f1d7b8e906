"""Slow clients: `python -m tests.chaos.slow PORT FILE ALL` keeps ALL of them connected.

It is a separate process, so that its work does not affect the measured times. It writes a line of JSON each second: the
number of clients of each kind, the number of disconnects since the start, failures, and the lowest and highest version
that its watchers have.
"""

import asyncio
import base64
import json
import os
import random
import resource
import socket
import sys
from collections import Counter
from contextlib import suppress

from tests.sample import LIVE, SITE_POST
from tests.stacks import addresses

# Shares of all clients.
KINDS = {
    "idle": 0.2,
    "silent": 0.15,
    "slow header": 0.15,
    "slow body": 0.15,
    "slow reader": 0.15,
    "events": 0.1,
    "socket": 0.1,
}


class Slow:
    def __init__(self, port: int, file: str) -> None:
        self.port = port
        get, host = "GET {} HTTP/1.1\r\n", f"Host: 127.0.0.1:{port}\r\n"
        body = "Content-Type: application/json\r\nContent-Length: 60000\r\n\r\n{"
        upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "
        self.requests = {
            "idle": get.format("/_errors/error.css") + host + "\r\n",
            "silent": "",
            "slow header": get.format("/") + host + "X-Slow: ",
            "slow body": f"POST {SITE_POST} HTTP/1.1\r\n{host}{body}",
            "slow reader": get.format(file) + host + "\r\n",
            "events": get.format(f"{LIVE}/events") + host + "\r\n",
            "socket": get.format(f"{LIVE}/socket")
            + f"{host}{upgrade}{base64.b64encode(os.urandom(16)).decode()}\r\n\r\n",
        }
        self.here: Counter[str] = Counter()
        self.cut: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self.versions: dict[int, int] = {}

    async def client(self, number: int, kind: str) -> None:
        """Connect one client after another, and reconnect those that the server disconnects."""
        loop = asyncio.get_running_loop()
        address = next(addresses)
        while True:
            with socket.socket() as connection:
                connection.setblocking(False)
                if kind == "slow reader":
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                try:
                    connection.bind((address, 0))
                    await loop.sock_connect(connection, ("127.0.0.1", self.port))
                    await loop.sock_sendall(connection, self.requests[kind].encode())
                except OSError as error:
                    self.failed[f"{kind}: {error.strerror}"] += 1
                    await asyncio.sleep(1)
                    continue
                self.here[kind] += 1
                with suppress(OSError):
                    await self.stay(connection, kind, number)
                self.here[kind] -= 1
                self.cut[kind] += 1

    async def stay(self, connection: socket.socket, kind: str, number: int) -> None:
        """Return when the server has closed the connection."""
        loop = asyncio.get_running_loop()
        if kind in ("slow header", "slow body"):
            while True:
                await asyncio.sleep(random.uniform(2, 6))
                await loop.sock_sendall(connection, b"x")
        if kind == "slow reader":
            while await loop.sock_recv(connection, 1000):  # noqa: ASYNC110
                await asyncio.sleep(random.uniform(2, 6))
            return
        first = True
        while received := await loop.sock_recv(connection, 2**16):
            if first and kind != "silent" and received[9:12] not in (b"200", b"101"):
                self.failed[f"{kind}: {received[9:12].decode()}"] += 1
            first = False
            _, found, version = received.rpartition(b'"version":')
            if found:
                self.versions[number] = int(version.partition(b",")[0])


async def main(port: int, file: str, all: int) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    slow = Slow(port, file)
    kinds = [kind for kind, share in KINDS.items() for _ in range(round(share * all))]
    random.shuffle(kinds)
    tasks = []
    for number, kind in enumerate(kinds):
        tasks.append(asyncio.create_task(slow.client(number, kind)))
        if number % 50 == 0:
            await asyncio.sleep(0.02)
    while True:
        versions = sorted(slow.versions.values()) or [-1]
        state = {"here": slow.here, "cut": slow.cut, "failed": slow.failed, "versions": [versions[0], versions[-1]]}
        print(json.dumps(state), flush=True)
        for task in tasks:
            if task.done():
                task.result()
        await asyncio.sleep(1)


if __name__ == "__main__":
    port, file, all = sys.argv[1:]
    asyncio.run(main(int(port), file, int(all)))
