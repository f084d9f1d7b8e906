"""HTTP/1.1 on a connection: where requests begin and end, and which ones the server rejects (RFC 9112).

Half of this file rejects requests. If a proxy and the server behind it disagree about where a request ends, one client
can add text to another client's request (request smuggling). So an ambiguous request is rejected.
"""

import contextlib
import io
import re
import socket
import sys
import time
from urllib.parse import unquote_to_bytes
from wsgiref.types import WSGIEnvironment

MAX_HEAD, MAX_BODY = 16_384, 1_048_576
# Seconds for a request to arrive, for the next one on a kept-alive connection, and for a client to read a response.
TIMEOUT = 10.0
WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # RFC 9110, 5.6.2
# The target is a path or, as for a proxy, an absolute address (3.2).
REQUEST_LINE = re.compile(rf"({WORD}) (?=\S)(?:https?://[^/?\s]+)?([/?][^\x00- \x7f]*)? HTTP/([0-9])\.([0-9])")
# No space before the colon (5.1) and no folded lines (5.2): servers interpret them differently.
FIELD = re.compile(rf"({WORD}):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*)")


class Refused(Exception):
    """The status for a request that is rejected before the application sees it. The connection then ends."""


def parse(head: str) -> WSGIEnvironment:
    """Return the headers of a request under their CGI names (RFC 3875, 4.1). Raises Refused."""
    first, *lines = head.split("\r\n")
    line = REQUEST_LINE.fullmatch(first)
    if not line:
        raise Refused("400 Bad Request")
    method, target, major, minor = line.groups()
    if major != "1":
        raise Refused("505 HTTP Version Not Supported")
    path, _, query = (target or "/").partition("?")
    environ: WSGIEnvironment = {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        # Bytes as a latin-1 string, as everywhere in WSGI (PEP 3333, "Unicode Issues").
        "PATH_INFO": unquote_to_bytes(path.encode("latin-1")).decode("latin-1") or "/",
        "QUERY_STRING": query,
        "SERVER_PROTOCOL": f"HTTP/1.{minor}",
    }
    for each in lines:
        field = FIELD.fullmatch(each)
        if not field:
            raise Refused("400 Bad Request")
        # X_User and X-User would become the same variable, and a proxy in front may have removed only X-User.
        if "_" in field[1]:
            continue
        name = field[1].upper().replace("-", "_")
        name = name if name in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{name}"
        if name == "HTTP_HOST" and name in environ:
            raise Refused("400 Bad Request")
        value = field[2].rstrip(" \t")
        environ[name] = f"{environ[name]}, {value}" if name in environ else value
    if minor != "0" and "HTTP_HOST" not in environ:  # 3.2
        raise Refused("400 Bad Request")
    # A server may require the length instead of chunks (6.3), and answers that it does not know other codings (6.1).
    coding = environ.get("HTTP_TRANSFER_ENCODING")
    if coding is not None:
        raise Refused("411 Length Required" if coding.lower() == "chunked" else "501 Not Implemented")
    # Two values arrive here as "1, 2", and are therefore rejected.
    if not re.fullmatch("[0-9]{1,18}", environ.get("CONTENT_LENGTH", "0")):
        raise Refused("400 Bad Request")
    if int(environ.get("CONTENT_LENGTH", "0")) > MAX_BODY:
        raise Refused("413 Content Too Large")
    return environ


class Connection:
    """Received bytes that are not answered yet. `environ` belongs to a request whose body is still incomplete."""

    def __init__(self, client: socket.socket, address: str) -> None:
        self.client = client
        host, port = client.getsockname()
        self.about = {"SERVER_NAME": host, "SERVER_PORT": str(port), "REMOTE_ADDR": address}
        self.received = bytearray()
        self.environ: WSGIEnvironment | None = None
        self.refused = False
        self.since = time.monotonic()
        # Only writes may wait for the client. Reads happen when select() reports data.
        client.settimeout(TIMEOUT)

    @property
    def idle(self) -> bool:
        return not self.received and not self.environ and not self.refused

    @property
    def overdue(self) -> bool:
        return time.monotonic() > self.since + TIMEOUT

    def receive(self) -> bool:
        """Receive available data. Return False if the client disconnected."""
        try:
            data = self.client.recv(65_536)
        except OSError:
            return False
        if self.idle:
            self.since = time.monotonic()
        if not self.refused:
            self.received += data
        return bool(data)

    def next_request(self) -> WSGIEnvironment | None:
        """Return the next request once it is complete. Raises Refused."""
        if self.environ is None:
            while self.received.startswith(b"\r\n"):  # 2.2: some clients send one after a body
                del self.received[:2]
            end = self.received.find(b"\r\n\r\n")
            if max(end, len(self.received) if end < 0 else 0) > MAX_HEAD:
                raise Refused("431 Request Header Fields Too Large")
            if end < 0:
                return None
            self.environ = parse(self.received[:end].decode("latin-1")) | self.about
            del self.received[: end + 4]
            # The client asks for permission to send the body, and waits (RFC 9110, 10.1.1).
            if self.environ.get("HTTP_EXPECT", "").lower() == "100-continue" and not self.received:
                with contextlib.suppress(OSError):
                    self.client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        length = int(self.environ.get("CONTENT_LENGTH") or 0)
        if len(self.received) < length:
            return None
        body, self.received = bytes(self.received[:length]), self.received[length:]
        environ, self.environ = self.environ, None
        return environ | {
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(body),
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": False,
            "wsgi.multiprocess": True,
            "wsgi.run_once": False,
        }

    def refuse(self, status: str) -> None:
        """Send the response, and wait until the client disconnects.

        Closing while the client sends would reset the connection, and the client might lose the response (9.6).
        """
        body = f"{status}\n"
        fields = f"Content-Type: text/plain\r\nContent-Length: {len(body)}\r\nConnection: close"
        self.refused, self.since = True, time.monotonic()
        self.received.clear()
        with contextlib.suppress(OSError):
            self.client.sendall(f"HTTP/1.1 {status}\r\n{fields}\r\n\r\n{body}".encode())
            self.client.shutdown(socket.SHUT_WR)
