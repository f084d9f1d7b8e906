"""The registry of apps (deploy/apps.toml) as objects. Standard library only: nginx's image has nothing else.

As a command, `python3 deploy/core/apps.py port site-a` prints a value for a server's own configuration file.
"""

import string
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path.insert(0, str(PROJECT))

from deploy.servers import SERVERS, Server  # noqa: E402

# TCP ports between the first one of an instance and the first one of the next: more workers than a host has cores.
PORTS_PER_INSTANCE = 100
KEYS = {
    "instances",
    "server",
    "port",
    "prefix",
    "source",
    "without",
    "application",
    "command",
    "manage",
    "prepare",
    "seed",
}


class RegistryError(Exception):
    """deploy/apps.toml has a mistake. The message names the app, the key and the expected value."""


@dataclass(frozen=True)
class App:
    """One entry of the registry. deploy/apps.toml explains each field."""

    name: str
    server: Server
    letters: tuple[str, ...]
    port: int = 0
    prefix: str = ""
    source: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    application: str = ""
    command: tuple[str, ...] = ()
    manage: str = ""
    prepare: Mapping[str, str] = field(default_factory=dict)
    seed: str = ""

    @cached_property
    def instances(self) -> tuple["Instance", ...]:
        return tuple(Instance(self, letter) for letter in self.letters)


@dataclass(frozen=True)
class Instance:
    """A part of an app's processes that is restarted as a unit, for example `site-a`."""

    app: App
    letter: str

    @property
    def name(self) -> str:
        return f"{self.app.name}-{self.letter}"

    def __str__(self) -> str:
        return self.name

    @property
    def server(self) -> Server:
        return self.app.server

    @property
    def number(self) -> int:
        """0 for instance a, 1 for b."""
        return string.ascii_lowercase.index(self.letter)

    def sockets(self, workers: int) -> list[str]:
        """Return the names of the sockets that nginx connects to, without `.sock`, for `workers` workers."""
        return self.server.sockets(self.name, workers)

    def port(self, worker: int = 0) -> int:
        """Return the TCP port of a socket, for nginx on another host. `worker` counts from 0."""
        return self.app.port + PORTS_PER_INSTANCE * self.number + worker

    def ports(self, workers: int) -> list[int]:
        return [self.port(worker) for worker in range(len(self.sockets(workers)))]


def parse(registry: Mapping[str, Mapping[str, Any]]) -> dict[str, App]:
    """Return the apps by name. Raises RegistryError."""
    apps: dict[str, App] = {}
    for name, entry in registry.items():
        if unknown := entry.keys() - KEYS:
            known_keys = ", ".join(sorted(KEYS))
            raise RegistryError(f"{name}: unknown key {', '.join(sorted(unknown))}; the keys are {known_keys}")
        if entry.get("server") not in SERVERS:
            raise RegistryError(f"{name}: server should be one of {', '.join(SERVERS)}")
        letters = entry.get("instances", [])
        known = [letter for letter in letters if letter in tuple(string.ascii_lowercase)]
        if not letters or known != letters or len(set(letters)) < len(letters):
            raise RegistryError(f'{name}: instances should be different letters, for example ["a", "b"]')
        server = SERVERS[entry["server"]]
        if missing := [key for key in server.required if not entry.get(key)]:
            raise RegistryError(f"{name}: {', '.join(missing)} is missing; a {entry['server']} app needs it")
        fields: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()
        }
        del fields["server"], fields["instances"]
        apps[name] = App(name, server, tuple(letters), **fields)
    return apps


def load(file: Path = PROJECT / "deploy/apps.toml") -> dict[str, App]:
    """Return the apps of a registry file by name. Raises RegistryError."""
    try:
        return parse(tomllib.loads(file.read_text()))
    except (RegistryError, tomllib.TOMLDecodeError) as error:
        raise RegistryError(f"{file}: {error}") from None


try:
    APPS = load()
except RegistryError as error:
    raise SystemExit(f"✗ {error}") from None
INSTANCES = {instance.name: instance for app in APPS.values() for instance in app.instances}
# Everything that the stack starts. nginx starts first and stops last.
SERVICES = ("nginx", *INSTANCES)


def find(name: str) -> Instance:
    """Return an instance by its name, for example `site-a`. Raises SystemExit with the names that exist."""
    if name not in INSTANCES:
        raise SystemExit(f"INSTANCE is {name!r}: should be one of {', '.join(INSTANCES)}")
    return INSTANCES[name]


def django() -> App | None:
    """Return the app that has a manage.py."""
    return next((app for app in APPS.values() if app.manage), None)


if __name__ == "__main__":
    _, value, instance = sys.argv
    print({"port": find(instance).port(), "number": find(instance).number}[value])
