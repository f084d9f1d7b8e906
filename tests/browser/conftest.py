"""Debian's Chromium on the real stack. A test fails if a page logs an error or a warning to the console."""

import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright

from tests.servers import program
from tests.stacks import Stack

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
ARGUMENTS += ["--disable-component-update", "--disable-sync"]
TIMEOUT = 15_000  # milliseconds
expect.set_options(timeout=TIMEOUT)


# Not for the whole session: Playwright runs an event loop, and other tests start their own.
@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    executable = program("chromium", "chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=ARGUMENTS)
        yield browser
        browser.close()


@contextmanager
def forwarded(stack: Stack) -> Iterator[str]:
    """Forward a new port to nginx, from an address of its own. Yield its URL.

    nginx limits rates by address, and Chromium cannot choose the address that it connects from.
    """
    nginx, address = (stack.host, stack.port), next(stack.addresses)

    class Forward(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with socket.create_connection(nginx, source_address=(address, 0)) as upstream:
                upload = threading.Thread(target=copy, args=(self.request, upstream))
                upload.start()
                copy(upstream, self.request)
                upload.join()

    def copy(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Forward) as server:
        server.daemon_threads, server.block_on_close = True, False
        threading.Thread(target=server.serve_forever, args=(0.05,)).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()


@pytest.fixture
def visitor(stack: Stack, chromium: Browser) -> Iterator[Callable[..., Page]]:
    """`visitor()` opens a page in a new browser without cookies. Its options are those of a Playwright context."""
    complaints: list[str] = []

    def open_browser(**options: Any) -> Page:
        url = closing.enter_context(forwarded(stack))
        # Without animations, what a test measures on a page is final.
        options = {"base_url": url, "reduced_motion": "reduce"} | options
        context: BrowserContext = closing.enter_context(chromium.new_context(**options))
        context.set_default_timeout(TIMEOUT)
        page = context.new_page()
        page.on("console", record)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        return page

    def record(message: ConsoleMessage) -> None:
        # A browser logs this for every status from 400, which a test may expect.
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            complaints.append(f"{message.location}: {message.text}")

    with ExitStack() as closing:
        yield open_browser
    assert not complaints
