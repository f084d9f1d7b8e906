"""The app in this process, on a real socket and a real database."""

import os
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets

from tornado_api.app import assemble
from tornado_api.application import Application, Feature
from tornado_api.features import ABOUT, FEATURES
from tornado_api.limits import MAX_BODY
from tornado_api.openapi import About

PROJECT = Path(__file__).resolve().parents[2]


class Served:
    """A listening app."""

    def __init__(self, app: Application, server: HTTPServer, port: int) -> None:
        self.app = app
        self.server = server
        self.address = f"127.0.0.1:{port}"
        self.client = httpx.AsyncClient(base_url=f"http://{self.address}", timeout=30)

    async def ready(self) -> bool:
        return (await self.client.get("/health/ready")).status_code == 200


@asynccontextmanager
async def serve(
    database_url: str,
    redis_url: str = "",
    features: Sequence[Feature] = FEATURES,
    about: About = ABOUT,
) -> AsyncIterator[Served]:
    """Serve the project's own app, or another one, until the block ends."""
    app = assemble(
        features,
        about,
        name="api",
        instance="api-a",
        database_url=database_url,
        redis_url=redis_url,
        token_keys=dict(pair.split(":") for pair in os.environ["TOKEN_KEYS"].split(",")),
    )
    await app.start()
    server = HTTPServer(app, xheaders=True, max_body_size=16 * MAX_BODY)
    sockets = bind_sockets(0, "127.0.0.1")
    # A small buffer, so that a client that does not read soon counts as slow.
    sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 32 * 1024)
    server.add_sockets(sockets)
    served = Served(app, server, sockets[0].getsockname()[1])
    try:
        yield served
    finally:
        await served.client.aclose()
        server.stop()
        app.hub.drain()
        await server.close_all_connections()
        await app.stop()
