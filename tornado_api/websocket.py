"""Base classes of WebSockets: the handshake and its Origin check, and WebSockets on which clients send messages too."""

import asyncio
import sys
import time
from contextlib import suppress

import tornado.websocket
from tornado.websocket import WebSocketClosedError

from .handler import Handler
from .limits import MAX_MESSAGE, MAX_UNREAD, MESSAGE_BURST, MESSAGE_DEADLINE, MESSAGE_RATE
from .problem import ProblemError

# Close codes of RFC 6455, 7.4.1, and of https://www.iana.org/assignments/websocket, with their reasons.
RESTARTING = (1012, "restarting, come back")
FOREIGN = ProblemError(403, "A page of another site may not open this.")


class SocketHandler(Handler, tornado.websocket.WebSocketHandler):
    """Any WebSocket. Tornado sends pings every HEARTBEAT seconds and closes the connection without a pong."""

    deadline = None

    async def upgrade(self, *args: object) -> None:
        """Open the WebSocket and return when it is closed. Raises ProblemError: 403, 426."""
        headers = self.request.headers
        if headers.get("Upgrade", "").lower() != "websocket" or headers.get("Sec-WebSocket-Version") != "13":
            raise ProblemError(426, "This is a WebSocket.", headers={"Upgrade": "websocket"})
        # Tornado compares the host only. A page over plain HTTP may be anybody's, where this is HTTPS.
        if (
            origin := headers.get("Origin")
        ) and origin.lower() != f"{self.request.protocol}://{self.request.host}".lower():
            raise FOREIGN
        # Tornado reports other errors of a handshake as plain text.
        self.set_header("Content-Type", "text/plain")
        await tornado.websocket.WebSocketHandler.get(self, *args)

    def check_origin(self, origin: str) -> bool:
        """Tornado calls this if Origin is not this Host, or Sec-Fetch-Site names another site."""
        raise FOREIGN


class TwoWayWebSocketHandler(SocketHandler):
    """A WebSocket on which both sides send: the base class of a project's own, which implements `received`.

        class RoomHandler(TwoWayWebSocketHandler):
            async def opened(self) -> None:
                self.members = rooms.setdefault(self.path_args[0], set())
                self.members.add(self)

            async def received(self, message: str | bytes) -> None:
                for member in self.members:
                    member.send(message)

            def on_close(self) -> None:
                self.members.discard(self)

        ROUTES = [("/api/v1/sockets/rooms/([0-9]+)", RoomHandler)]

    Its address is below /api/v1/sockets/, for which nginx has a location.

    A client authenticates with a bearer token when it connects. Browsers cannot set the Authorization header of a
    WebSocket, so the token may also be the second of two subprotocols: `new WebSocket(url, ["bearer", token])`. The
    server answers with the subprotocol "bearer", never with the token. A token in the URL would end up in logs. A token
    in a first message would let clients without one hold a connection.

    The server closes with 1008 when the token expires, within a minute after it is revoked or its user is deactivated,
    and when the client sends too fast or reads too slowly, 1009 after a message above `max_message_size`, 1011 when
    `received` fails, and 1012 when the process stops: the message that is being handled is finished first. The
    connection counts as a watcher.
    """

    max_message_size = MAX_MESSAGE
    busy = False
    unread = 0
    # The time by which the messages received so far would have come at MESSAGE_RATE.
    due = 0.0

    async def get(self, *path: str) -> None:
        token = self.token()
        self.user_id = token.user_id
        expiry = asyncio.get_running_loop().call_later(
            token.expires_at - time.time(), self.close, 1008, "the token has expired"
        )
        try:
            with self.application.hub.hold(self.drain), self.application.revocations.hold(token, self.revoke):
                await self.upgrade(*path)
        finally:
            expiry.cancel()

    @property
    def authorization(self) -> str:
        headers = self.request.headers
        protocol, _, token = headers.get("Sec-WebSocket-Protocol", "").partition(",")
        subprotocol = f"Bearer {token}" if protocol.strip() == "bearer" else ""
        return headers.get("Authorization", subprotocol)

    def revoke(self) -> None:
        self.close(1008, "the token was revoked")

    def select_subprotocol(self, subprotocols: list[str]) -> str | None:
        return "bearer" if "bearer" in subprotocols else None

    async def open(self, *path: str) -> None:
        await self.opened()
        if self.application.hub.draining:
            self.drain()

    async def opened(self) -> None:
        """Prepare for messages. `self.path_args` are the groups of the route's pattern."""

    async def received(self, message: str | bytes) -> None:
        """Handle a message. The next one waits until this returns, at most MESSAGE_DEADLINE seconds."""
        raise NotImplementedError

    async def on_message(self, message: str | bytes) -> None:
        if self.ws_connection is None:
            return  # it was closed, and the client does not know yet
        now = time.monotonic()
        self.due = max(self.due, now) + 1 / MESSAGE_RATE
        if self.due - now > MESSAGE_BURST / MESSAGE_RATE:
            self.close(1008, "too many messages")
            return
        self.busy = True
        try:
            async with asyncio.timeout(MESSAGE_DEADLINE):
                await self.received(message)
        except Exception:
            self.log_exception(*sys.exc_info())
            self.close(1011, "the fault is ours")
        self.busy = False
        if self.application.hub.draining:
            self.drain()

    def send(self, message: str | bytes) -> None:
        """Send text (str) or bytes without waiting. Does nothing if the connection is closed.

        Closes the connection if more than MAX_UNREAD bytes would wait for the client to read them.
        """
        size = len(message.encode() if isinstance(message, str) else message)
        if self.unread + size > MAX_UNREAD:
            self.close(1008, "too slow")
            return
        with suppress(WebSocketClosedError):
            written = self.write_message(message, binary=isinstance(message, bytes))
            self.unread += size
            written.add_done_callback(lambda _: self.sent(written, size))

    def sent(self, written: asyncio.Future[None], size: int) -> None:
        self.unread -= size
        # Retrieves WebSocketClosedError, which asyncio would log otherwise: the client disconnected.
        written.cancelled() or written.exception()

    def drain(self) -> None:
        if not self.busy:
            self.close(*RESTARTING)
