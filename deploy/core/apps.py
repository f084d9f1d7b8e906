"""The registry of apps (deploy/apps.toml) as objects. Standard library only: nginx's image has nothing else.

As a command: `python3 deploy/core/apps.py port site-a` prints a value for a server's own configuration file, and
`python3 -m deploy.core.apps run` becomes the command of the instance that INSTANCE names.
"""

import os
import re
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
# The groups of an inventory that are no apps.
GROUPS = ("edge", "data", "monitoring")
# Names that files of the deployment have where an app has its own.
RESERVED = ("nginx", "metrics", "prometheus", "access", "errors", "snippets", "supervisord", *GROUPS)

# For each key of an entry: its shape, and the same in words. A shape is the pattern of a text, a range of numbers, or
# that of each value in a list, in a table, or in a list of different values.
KEYS: dict[str, tuple[Any, str]] = {
    "server": ("|".join(SERVERS), f"one of {', '.join(SERVERS)}"),
    "instances": ({"[a-z]"}, 'different letters, for example ["a", "b"]'),
    "port": (range(1024, 30001), "a number from 1024 to 30000"),
    "prefix": (r"/(?:[\w.-]+/)*", "a path that starts and ends with /, for example /api/"),
    "source": ([".+"], 'a list of paths, for example ["jobs"]'),
    "without": ([".+"], 'a list of settings, for example ["SECRET_KEY"]'),
    "application": (".+", 'an application, for example "package.module:make()"'),
    "command": ([".+"], 'a list of words, for example ["python", "-m", "jobs"]'),
    "manage": (".+", "the path of a manage.py"),
    "prepare": ({"*": ".+"}, "a table of commands, each with a name"),
    "seed": (".+", "a command"),
}


def fits(value: Any, shape: Any) -> bool:
    if isinstance(shape, range):
        return type(value) is int and value in shape
    if isinstance(shape, dict):
        return isinstance(value, dict) and all(fits(each, shape["*"]) for each in value.values())
    if isinstance(shape, list | set):
        different = isinstance(shape, list) or (isinstance(value, list) and 0 < len(set(map(str, value))) == len(value))
        return isinstance(value, list) and different and all(fits(each, *shape) for each in value)
    return isinstance(value, str) and bool(re.fullmatch(shape, value, re.DOTALL))


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
    prepare: Mapping[str, str] = field(default_factory=dict, hash=False)
    seed: str = ""

    @cached_property
    def instances(self) -> tuple["Instance", ...]:
        return tuple(Instance(self, letter) for letter in self.letters)

    @property
    def ports_of_all(self) -> range:
        """The TCP ports that are kept for the instances."""
        first = [instance.port() for instance in self.instances]
        return range(min(first), max(first) + PORTS_PER_INSTANCE)


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


def parse(registry: Mapping[str, Any]) -> dict[str, App]:
    """Return the apps by name. Raises RegistryError."""
    apps: dict[str, App] = {}
    for name, entry in registry.items():
        check(name, entry)
        given: dict[str, Any] = entry | {key: tuple(value) for key, value in entry.items() if isinstance(value, list)}
        app = App(name, SERVERS[given.pop("server")], letters=given.pop("instances"), **given)
        for other in apps.values():
            compare(app, other)
        apps[name] = app
    return apps


def check(name: str, entry: Any) -> None:
    """Check one entry of the registry. Raises RegistryError."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or name in RESERVED:
        expected = f"lower-case letters, digits and _, and none of {', '.join(RESERVED)}"
        raise RegistryError(f"{name}: the name should be {expected}")
    if not isinstance(entry, dict):
        raise RegistryError(f"{name}: should be a table, [{name}]")
    if unknown := entry.keys() - KEYS.keys():
        raise RegistryError(f"{name}: unknown key {', '.join(sorted(unknown))}; the keys are {', '.join(KEYS)}")
    for key, (shape, expected) in KEYS.items():
        if (key in entry or key in ("server", "instances")) and not fits(entry.get(key), shape):
            raise RegistryError(f"{name}: {key} is {entry.get(key)!r}: should be {expected}")
    server = SERVERS[entry["server"]]
    for key in server.required:
        if not entry.get(key):
            raise RegistryError(f"{name}: {key} is missing; a {server.kind} app needs it: {KEYS[key][1]}")


def compare(app: App, other: App) -> None:
    """Raises RegistryError if two apps have a port or a prefix in common."""
    if app.port and other.port and set(app.ports_of_all) & set(other.ports_of_all):
        taken = f"{other.name} has {other.ports_of_all[0]} to {other.ports_of_all[-1]}"
        raise RegistryError(f"{app.name}: port is {app.port}: {taken}; leave 100 an instance")
    if app.prefix and app.prefix == other.prefix:
        raise RegistryError(f"{app.name}: prefix is {app.prefix!r}: should differ from that of {other.name}")


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
    what, name = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else os.environ["INSTANCE"]
    if what == "run":
        os.execvp(find(name).app.command[0], find(name).app.command)
    print({"port": find(name).port(), "number": find(name).number}[what])
