"""Two-way WebSockets: which clients may connect, and what a misbehaving client causes."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.api.framework.sample import EchoHandler, fresh
from tests.api.framework.test_live import HANDSHAKE, raw
from tests.api.framework.waiting import until
from tests.api.served import Served
from tests.api.tokens import bearer, token
from tornado_api import limits, live, websocket

pytestmark = [pytest.mark.slow, pytest.mark.any_data]

ECHO = "/api/v1/sockets/echo"


def socket_of(api: Served, **options: Any) -> connect:
    return connect(f"ws://{api.address}{ECHO}", **({"additional_headers": bearer(7)} | options))


async def receive(connection: ClientConnection) -> str | bytes:
    return await asyncio.wait_for(connection.recv(), 10)


async def closed(connection: ClientConnection) -> tuple[int | None, str | None]:
    async with asyncio.timeout(10):
        await connection.wait_closed()
    return connection.close_code, connection.close_reason


@pytest.fixture
async def other(api: Served) -> AsyncIterator[ClientConnection]:
    """Another client, which must not notice anything."""
    async with socket_of(api) as connection:
        await receive(connection)
        yield connection
        await connection.send("still here")
        assert await receive(connection) == "still here"


async def test_both_sides_send(api: Served) -> None:
    async with socket_of(api) as connection:
        assert await receive(connection) == "hello 7"
        for message in ("one", "", "é", b"\x00\xff"):
            await connection.send(message)
            assert await receive(connection) == message
        await asyncio.wait_for(await connection.ping(), 10)
        assert (await api.client.get("/health/stats")).json()["watchers"] == 1
    await until(lambda: api.app.hub.watchers == 0)
    assert api.app.hub.closers == set()


async def test_token_in_the_subprotocols(api: Served) -> None:
    """For browsers, which cannot set the Authorization header. The server does not send the token back."""
    async with socket_of(api, additional_headers={}, subprotocols=["bearer", token(9)]) as connection:
        assert await receive(connection) == "hello 9"
        assert connection.subprotocol == "bearer"


@pytest.mark.parametrize(
    "options",
    [
        {"additional_headers": {}},
        {"additional_headers": {"Authorization": "Bearer x"}},
        {"additional_headers": {}, "subprotocols": ["bearer"]},
        {"additional_headers": {}, "subprotocols": ["bearer", "x"]},
        {"additional_headers": {}, "subprotocols": ["bearer", token(exp=1)]},
        {"additional_headers": {}, "subprotocols": [token(), "bearer"]},
    ],
)
async def test_rejected_tokens(api: Served, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidStatus) as refused:
        await socket_of(api, **options)
    response = refused.value.response
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Bearer")
    assert json.loads(response.body or b"")["status"] == 401
    assert api.app.hub.watchers == 0


async def test_token_that_expires(api: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tornado_api.auth.LEEWAY", 0)
    headers = {"Authorization": f"Bearer {token(exp=int(time.time()) + 2)}"}
    async with socket_of(api, additional_headers=headers) as connection:
        await receive(connection)
        assert await closed(connection) == (1008, "the token has expired")


async def test_page_of_another_site(api: Served) -> None:
    async with socket_of(api, origin=f"http://{api.address}") as connection:
        await receive(connection)
    for headers in ({"Origin": "https://evil.example"}, {"Origin": "null"}):
        with pytest.raises(InvalidStatus) as refused:
            await socket_of(api, additional_headers=bearer() | headers)
        assert refused.value.response.status_code == 403


async def test_no_handshake(api: Served) -> None:
    response = await api.client.get(ECHO, headers=bearer())
    assert (response.status_code, response.headers["Upgrade"]) == (426, "websocket")


@pytest.mark.usefixtures("other")
@pytest.mark.parametrize("size", [limits.MAX_MESSAGE + 1, 10 * limits.MAX_MESSAGE, 5_000_000])
async def test_message_that_is_too_large(api: Served, size: int) -> None:
    async with socket_of(api) as connection:
        await receive(connection)
        await connection.send("x" * limits.MAX_MESSAGE)
        assert len(await receive(connection)) == limits.MAX_MESSAGE
        with suppress(ConnectionClosed):
            await connection.send("x" * size)
        assert (await closed(connection))[0] == 1009


@pytest.mark.usefixtures("other")
async def test_too_many_messages(api: Served) -> None:
    async with socket_of(api) as connection:
        await receive(connection)
        for _ in range(limits.MESSAGE_BURST):
            await connection.send("x")
        for _ in range(limits.MESSAGE_BURST):
            assert await receive(connection) == "x"
        for _ in range(limits.MESSAGE_BURST):
            await connection.send("x")
        assert await closed(connection) == (1008, "too many messages")
    # At the rate they may go on.
    async with socket_of(api) as connection:
        await receive(connection)
        for _ in range(2 * limits.MESSAGE_BURST):
            await connection.send("x")
            await receive(connection)
            await asyncio.sleep(1.1 / limits.MESSAGE_RATE)


@pytest.mark.usefixtures("other")
async def test_client_that_does_not_read(api: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    handlers: list[EchoHandler] = []

    async def opened(handler: EchoHandler) -> None:
        handlers.append(handler)

    monkeypatch.setattr(EchoHandler, "opened", opened)
    _, writer = await raw(api, ECHO, *HANDSHAKE, *(f"{name}: {value}" for name, value in bearer().items()))
    await until(lambda: handlers)
    [handler] = handlers
    # If send() waited for the client, this would never end.
    while handler.ws_connection:
        handler.send("x" * 10_000)
        assert handler.unread <= limits.MAX_UNREAD
    await until(lambda: api.app.hub.watchers == 1)
    writer.close()


@pytest.mark.usefixtures("other")
async def test_handler_that_fails(api: Served, caplog: pytest.LogCaptureFixture) -> None:
    async with socket_of(api) as connection:
        await receive(connection)
        await connection.send("fail")
        assert await closed(connection) == (1011, "the fault is ours")
    assert "as the test asked" in caplog.text


@pytest.mark.usefixtures("other")
async def test_message_that_takes_too_long(api: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "MESSAGE_DEADLINE", 0.1)
    async with socket_of(api) as connection:
        await receive(connection)
        await connection.send("wait")
        assert (await closed(connection))[0] == 1011


async def test_drain(api: Served) -> None:
    """The api finishes the current message. Clients that connect later are disconnected too."""
    async with socket_of(api) as busy, socket_of(api) as idle:
        for connection in busy, idle:
            await receive(connection)
        await busy.send("wait")
        await asyncio.sleep(0.1)
        await busy.send("too late")
        api.app.hub.drain()
        assert (await closed(idle))[0] == 1012
        assert await receive(busy) == "wait"
        assert (await closed(busy))[0] == 1012
    async with socket_of(api) as late:
        assert await receive(late) == "hello 7"
        assert (await closed(late))[0] == 1012
    await until(lambda: api.app.hub.watchers == 0)


async def test_too_many_connections(api: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "MAX_WATCHERS", 1)
    subject = await fresh(api)
    async with socket_of(api) as connection:
        await receive(connection)
        with pytest.raises(InvalidStatus) as refused:
            await socket_of(api)
        assert refused.value.response.status_code == 503
        assert (await api.client.get(subject.long_poll)).status_code == 503
