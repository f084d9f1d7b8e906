"""What `make up` writes for compose: a service for each instance, the secrets as files, and nginx's settings.

It runs on the system's own Python, which has no YAML. JSON is YAML too.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote as percent_encode

from deploy.core import maintenance_mode, metrics, nginx
from deploy.core.apps import APPS, App
from deploy.core.console import Failed
from deploy.core.settings import (
    PROJECT,
    VAR,
    bracketed,
    is_secret,
    leave_to_owner,
    listen_addresses,
    make_directory,
    of_app,
    quote,
    replace,
    values,
)

SERVICES = VAR / "compose.json"
# Only its owner may enter it. The files in it are readable: the users of containers are others than this machine's.
SECRETS = VAR / "secrets"
# Mounted into nginx's container.
MOUNTED = SECRETS / "nginx"
# With one of these, an app uses a server outside the stack.
OUTSIDE = ("S3_URL", "SENTRY_DSN")
# The role and the database that docker-compose.yml makes.
DATABASE = "tandem"


def write(dev: bool = False) -> None:
    """Write all that docker-compose.yml and deploy/docker/ need. Raises Failed if a file of TLS is unreadable."""
    variables = settings(dev)
    for directory, mode in ((SECRETS, 0o700), (MOUNTED, 0o755)):
        make_directory(directory)
        directory.chmod(mode)
    # Compose mounts it, and the engine would make it for root.
    maintenance_mode.prepare(VAR)
    services: dict[str, Any] = {"redis": data_service(variables)}
    secrets: dict[str, Any] = {}
    for app in APPS.values():
        environment, sources = settings_of_app(app, variables)
        # `make dev` may have a definition of its own.
        usual, own = (PROJECT / f"deploy/docker/{app.name}{kind}.yml" for kind in ("", ".dev"))
        secrets |= {source: {"file": str(SECRETS / source)} for source in sources.values()}
        for instance in app.instances:
            services[instance.name] = {
                "extends": {"file": str(own if dev and own.exists() else usual), "service": app.name},
                # Compose fills in $NAME, and $$ is a dollar.
                "environment": {name: value.replace("$", "$$") for name, value in environment.items()}
                | {"APP": app.name, "INSTANCE": instance.name},
                "secrets": [{"source": source, "target": name} for name, source in sources.items()],
                # A container's first process ignores SIGTERM unless it handles it, and a command may not.
                "init": not app.server.listens,
            } | ({"networks": ["out"]} if any(map(of_app(app, variables).get, OUTSIDE)) else {})
    services["nginx"] = {"ports": ports(variables)}
    write_nginx_settings(variables)
    if port := variables["METRICS_PORT"]:
        # Its code and settings are mounted: the label replaces the container when they change.
        files = sorted([*PROJECT.glob("deploy/core/*.py"), *PROJECT.glob("deploy/servers/*.py")])
        code = "".join(file.read_text() for file in files)
        services["metrics"] = {
            "extends": {"file": str(PROJECT / "deploy/docker/metrics.yml"), "service": "metrics"},
            "ports": [f"127.0.0.1:{port}:{port}"],
            "labels": {"code": digest(code + (MOUNTED / "nginx.env").read_text())},
        }
    metrics.write_scrape_configuration(VAR, variables)
    replace(SERVICES, json.dumps({"services": services, "secrets": secrets}, indent=1))


def ports(variables: Mapping[str, str]) -> list[str]:
    """Return where nginx's ports are published."""
    inner = {"PORT": 8000} | ({"PLAIN_PORT": 8080} if variables["TLS"] == "on" else {})
    addresses = map(bracketed, listen_addresses(variables["ADDRESS"]))
    return [f"{address}:{variables[name]}:{port}" for address in addresses for name, port in inner.items()]


def settings(dev: bool) -> dict[str, str]:
    """Return the settings of the stack in containers, which has its own PostgreSQL and Redis."""
    given = values()
    postgres, redis = (percent_encode(given[f"{name}_PASSWORD"], safe="") for name in ("POSTGRES", "REDIS"))
    return (
        given
        | {"DATABASE_URL": f"postgresql://{DATABASE}:{postgres}@postgres:5432/{DATABASE}"}
        | {"REDIS_URL": f"redis://apps:{redis}@redis:6379/0"}
        | ({"DEBUG": "on", "CORES": "1"} if dev else {"DEBUG": "off"})
    )


def read_file_of(name: str, variables: Mapping[str, str]) -> str:
    """Return the content of the file that a setting names. Raises Failed."""
    try:
        return Path(variables[name]).read_text()
    except OSError as error:
        raise Failed(f"{name}: {error}") from None


def settings_of_app(app: App, variables: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Write an app's secrets. Return its environment, and the name of each secret with the name of its file."""
    given = of_app(app, variables)
    sources = {name.lower(): write_secret(name.lower(), given[name]).name for name in given if is_secret(name)}
    environment = {name: value for name, value in given.items() if not is_secret(name)}
    if given.get("CA_FILE"):
        sources["ca"] = write_secret("ca", read_file_of("CA_FILE", given)).name
    return environment | {f"{name.upper()}_FILE": f"/run/secrets/{name}" for name in sources}, sources


def write_secret(name: str, content: str) -> Path:
    """Write a file that is never changed. Return it: a digest gives it a new name when the secret is new.

    So compose sees that the service changed, and an instance that still runs keeps the secret that it started with.
    """
    return write_readable(SECRETS / f"{name}-{digest(content)}", content)


def digest(content: str) -> str:
    return hashed(content)[:12]


def hashed(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()


def write_readable(file: Path, content: str) -> Path:
    """Write a file without replacing it, so that a container that mounts it sees the new content."""
    file.write_text(content)
    file.chmod(0o644)
    leave_to_owner(file)
    return file


def data_service(variables: Mapping[str, str]) -> dict[str, Any]:
    """Write the secrets of PostgreSQL and Redis. Return what Redis gets in addition: a label that changes with them.

    PostgreSQL reads its password once, when it makes the database.
    """
    password = variables["REDIS_PASSWORD"]
    # https://redis.io/docs/latest/operate/oss_and_stack/management/security/acl/
    # As a hash, because the file cannot quote a blank in a password.
    users = f"user default on nopass -@all +ping\nuser apps on #{hashed(password)} ~* &* +@all\n"
    write_readable(SECRETS / "redis_users", users)
    write_readable(SECRETS / "postgres_password", variables["POSTGRES_PASSWORD"])
    return {"labels": {"users": digest(users)}}


def write_nginx_settings(variables: Mapping[str, str]) -> None:
    """Write what nginx has mounted: its settings, the registry, and with TLS the certificate and its key."""
    tls = {}
    files = ["TLS_CERTIFICATE", "TLS_KEY"] if variables["TLS"] == "on" else []
    for name in [*files, *(["CA_FILE"] if variables.get("CA_FILE") else [])]:
        # A new certificate has a new name, which makes nginx reload.
        content = read_file_of(name, variables)
        tls[name] = f"/srv/app/settings/{write_secret(f'nginx/{name.lower()}', content).name}"
    bucket = {"BUCKET": nginx.bucket_origin(variables.get("S3_URL", ""))}
    known = {**variables, **tls, **bucket}
    lines = [f"{name}={quote(value)}\n" for name, value in known.items() if not is_secret(name)]
    write_readable(MOUNTED / "nginx.env", "".join(lines))
    write_readable(MOUNTED / "apps.toml", (PROJECT / "deploy/apps.toml").read_text())


def is_stale() -> bool:
    """Return whether an app's compose file was removed since `make up` wrote its services."""
    services = json.loads(SERVICES.read_text())["services"] if SERVICES.exists() else {}
    return not all(Path(each["extends"]["file"]).exists() for each in services.values() if "extends" in each)


def remove_old_secrets() -> None:
    """Remove the files of secrets that no service has any more."""
    named = SERVICES.read_text() + (MOUNTED / "nginx.env").read_text()
    for file in SECRETS.rglob("*-*"):
        if file.name not in named:
            file.unlink()
