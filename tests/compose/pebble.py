"""Pebble, Let's Encrypt's certificate authority for tests, with a name server for it."""

import json
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx

from tests import servers
from tests.faults import self_signed
from tests.servers import free_port, program
from tests.stacks import outside


class Pebble:
    """An authority at `address`, which this machine has. It finds every name at `names_at`, with port 80 at `web`."""

    def __init__(self, directory: Path, address: str, web: str, names_at: str = "127.0.0.1") -> None:
        self.directory, self.address, self.web, self.names_at = directory, address, web, names_at
        self.port, self.management, self.names = free_port(), free_port(), free_port()
        self.files = self_signed(directory, address)

    @property
    def variables(self) -> dict[str, str]:
        """The settings of a stack that uses it."""
        url = f"https://{self.address}:{self.port}/dir"
        return {"ACME_EMAIL": "admin@example.org", "ACME_DIRECTORY": url, "CA_FILE": self.files["TLS_CERTIFICATE"]}

    @contextmanager
    def running(self) -> Iterator[None]:
        challenges, pebble = (program(name, "pebble") for name in ("pebble-challtestsrv", "pebble"))
        off = ["-http01", "", "-https01", "", "-tlsalpn01", "", "-defaultIPv6", ""]
        off += ["-defaultIPv4", self.names_at]
        # Newer versions answer over HTTPS too.
        if "-doh " in subprocess.run([challenges, "-help"], capture_output=True, text=True, check=False).stderr:
            off += ["-doh", ""]
        management = free_port()
        config = {
            "listenAddress": f"{self.address}:{self.port}",
            "managementListenAddress": f"127.0.0.1:{self.management}",
            "certificate": self.files["TLS_CERTIFICATE"],
            "privateKey": self.files["TLS_KEY"],
            "httpPort": int(self.web),
        }
        file = self.directory / "pebble.json"
        file.write_text(json.dumps({"pebble": config}))
        names = [challenges, "-dns01", f"127.0.0.1:{self.names}", "-management", f"127.0.0.1:{management}", *off]
        # Pebble waits before it connects, and rejects some requests, to find clients that do not expect it.
        authority = ["env", "PEBBLE_VA_NOSLEEP=1", pebble, "-config", str(file)]
        authority += ["-dnsserver", f"127.0.0.1:{self.names}"]
        with ExitStack() as started:
            # A test may be in nginx's network.
            with outside():
                started.enter_context(servers.running(names, management))
                started.enter_context(servers.running(authority, self.port, connect=self.connect))
            yield

    def connect(self, port: int) -> None:
        socket.create_connection((self.address, port), timeout=1).close()

    def root(self) -> str:
        """Return the root certificate, which each start makes again."""
        trusted = ssl.create_default_context(cafile=self.files["TLS_CERTIFICATE"])
        with outside():
            return httpx.get(f"https://127.0.0.1:{self.management}/roots/0", verify=trusted).text
