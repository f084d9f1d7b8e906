"""A real SMTP server that accepts, hangs, refuses, rejects or disconnects, as a test wants."""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes
from email.message import Message
from typing import Any, cast

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

from tests.servers import free_port


class Server:
    """`received` are its messages, each with its recipient. `answers` has other answers to a command or a recipient."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"smtp://me:p%2Fw%40d@127.0.0.1:{port}"
        self.received: list[tuple[str, Message]] = []
        self.logins: list[tuple[str, str]] = []
        self.answers: dict[str, str] = {}
        # To accept a message.
        self.seconds = 0.0

    async def answer(self, server: SMTP, *names: str) -> str:
        found = next((self.answers[name] for name in names if name in self.answers), "250 OK")
        if found == "hang":
            await asyncio.sleep(3600)
        if found == "drop":
            cast(asyncio.Transport, server.transport).abort()
        return found

    async def handle_MAIL(self, server: SMTP, session: Any, envelope: Any, address: str, options: Any) -> str:
        envelope.mail_from = address
        return await self.answer(server, "MAIL")

    async def handle_RCPT(self, server: SMTP, session: Any, envelope: Any, address: str, options: Any) -> str:
        envelope.rcpt_tos.append(address)
        return await self.answer(server, address, "RCPT")

    async def handle_DATA(self, server: SMTP, session: Any, envelope: Any) -> str:
        found = await self.answer(server, "DATA")
        if found.startswith("250"):
            await asyncio.sleep(self.seconds)
            self.received += [(to, message_from_bytes(envelope.content)) for to in envelope.rcpt_tos]
        return found

    def authenticate(self, server: SMTP, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)
        self.logins.append((data.login.decode(), data.password.decode()))
        return AuthResult(success="AUTH" not in self.answers)


@contextmanager
def smtp_server(port: int = 0, **more: Any) -> Iterator[Server]:
    """A server for this machine; with a port, for all networks. `more` are options of aiosmtpd's Controller."""
    # The log line of each command would hide a failed test's message.
    logging.getLogger("mail.log").setLevel(logging.WARNING)
    host = "0.0.0.0" if port else "127.0.0.1"  # noqa: S104
    server = Server(port or free_port())
    options: dict[str, Any] = {"auth_require_tls": False, "authenticator": server.authenticate}
    controller = Controller(server, hostname=host, port=server.port, **options | more)
    controller.start()
    try:
        yield server
    finally:
        controller.stop(no_assert=True)
