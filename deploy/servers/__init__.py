"""What differs between the servers that run apps: sockets, readiness, idleness and units. One object for each kind."""

from .base import Server
from .command import Command
from .gunicorn import Gunicorn
from .uwsgi import Uwsgi

SERVERS: dict[str, Server] = {"uwsgi": Uwsgi(), "gunicorn": Gunicorn(), "command": Command()}

__all__ = ["SERVERS", "Server"]
