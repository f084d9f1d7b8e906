"""An HTTP/1.1 client that behaves like a browser: it keeps connections, and reports exactly how a connection ended."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

import h11

from tests.stacks import Stack

# Seconds without data before a test gives up: longer than any deadline of the stack. It bounds a hang.
PATIENCE = 40


class Lost(Exception):
    """A connection ended before its response did.

    `unheard`: the connection was kept from an earlier request, and no byte of the response came. A server may close
    such a
    connection at any moment, so RFC 9112, 9.3.1, lets a client repeat a safe request. Browsers do.
    """

    def __init__(self, reason: str, unheard: bool = False) -> None:
        super().__init__(reason)
        self.unheard = unheard


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes = b""


class Connection:
    """A client's connection to nginx, kept alive between requests."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.address = next(stack.addresses)
        self.writer: asyncio.StreamWriter | None = None

    async def open(self) -> None:
        """Raises Lost."""
        self.close()
        try:
            self.reader, self.writer = await asyncio.open_connection(
                self.stack.host, self.stack.port, ssl=self.stack.tls, local_addr=(self.address, 0)
            )
        except OSError as error:
            raise Lost(f"no connection: {error.strerror}") from error
        self.http = h11.Connection(h11.CLIENT)

    def close(self) -> None:
        if self.writer:
            self.writer.transport.abort()
            self.writer = None

    async def begin(self, method: str, target: str, headers: Mapping[str, str] = {}, body: bytes = b"") -> Answer:
        """Send a request. Return its response without the body, which data() yields. Raises Lost."""
        kept = bool(self.writer) and self.http.states == {h11.CLIENT: h11.DONE, h11.SERVER: h11.DONE}
        # A client that has read the end of the connection does not send on it.
        kept = kept and not self.reader.at_eof()
        if kept:
            self.http.start_next_cycle()
        else:
            await self.open()
        assert self.writer
        self.heard = False
        sent = {"Host": self.stack.authority, "Content-Length": str(len(body)), **headers}
        if method == "POST":
            sent["Origin"] = self.stack.url
        parts = [h11.Request(method=method, target=target, headers=[*sent.items()]), h11.Data(body), h11.EndOfMessage()]
        try:
            self.writer.write(b"".join(self.http.send(part) or b"" for part in parts))
            await self.writer.drain()
            event = await self.event()
        except (OSError, h11.RemoteProtocolError) as error:
            raise Lost(type(error).__name__, unheard=kept and not self.heard) from error
        assert isinstance(event, h11.Response), event
        return Answer(event.status_code, {name.decode(): value.decode() for name, value in event.headers})

    async def data(self) -> AsyncIterator[bytes]:
        """Yield the data of the response's body until its regular end. Raises Lost."""
        try:
            while not isinstance(event := await self.event(), h11.EndOfMessage):
                assert isinstance(event, h11.Data), event
                yield bytes(event.data)
        except (OSError, h11.RemoteProtocolError) as error:
            raise Lost(f"{type(error).__name__} in the body") from error

    async def event(self) -> h11.Event:
        while (event := self.http.next_event()) is h11.NEED_DATA:
            try:
                async with asyncio.timeout(PATIENCE):
                    received = await self.reader.read(2**16)
            except TimeoutError:
                self.close()
                raise Lost(f"nothing for {PATIENCE} s") from None
            self.heard = self.heard or bool(received)
            self.http.receive_data(received)
        assert isinstance(event, h11.Event), event
        return event

    async def ask(self, method: str, target: str, headers: Mapping[str, str] = {}, body: bytes = b"") -> Answer:
        """Raises Lost."""
        answer = await self.begin(method, target, headers, body)
        answer.body = b"".join([piece async for piece in self.data()])
        return answer


async def blocks(pieces: AsyncIterator[bytes]) -> AsyncIterator[dict[str, str]]:
    """Yield the blocks of an event stream, each as its fields. A comment has the name "" (HTML standard, 9.2.6)."""
    text = ""
    async for piece in pieces:
        *whole, text = (text + piece.decode()).split("\n\n")
        for block in whole:
            fields = (line.partition(":") for line in block.split("\n"))
            yield {name: value.removeprefix(" ") for name, _, value in fields}
