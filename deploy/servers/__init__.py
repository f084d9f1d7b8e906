"""What differs between the servers that run apps: sockets, readiness, idleness and units.

Each kind of server is a module of this package with a subclass of Server and a single object of it.
"""

import importlib
import pkgutil

from .base import Server

for module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{module.name}")
SERVERS: dict[str, Server] = {kind.kind: kind() for kind in Server.__subclasses__()}

__all__ = ["SERVERS", "Server"]
