"""What `make up` writes for compose: a service for each instance, the secrets as files, and nginx's settings.

It runs on the system's own Python, which has no YAML. JSON is YAML too.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote as percent_encode

from deploy.core import alertmanager, elsewhere, maintenance_mode, metrics, nginx
from deploy.core.apps import APPS, App
from deploy.core.console import Failed
from deploy.core.settings import (
    PROJECT,
    TLS_FILES,
    VAR,
    bracketed,
    is_secret,
    leave_to_owner,
    listen_addresses,
    make_directory,
    of_app,
    public_names,
    quote,
    replace,
    values,
)

SERVICES = VAR / "compose.json"
# Only its owner may enter it. The files in it are readable: the users of containers are others than this machine's.
SECRETS = VAR / "secrets"
# Mounted into nginx's container.
MOUNTED = SECRETS / "nginx"
# The certificate with its key that certbot.sh keeps, in nginx's container.
ACME_CERTIFICATE = "/srv/app/var/acme/tls.pem"
# The role and the database that docker-compose.yml makes.
DATABASE = "tandem"
# The services that a setting replaces by one elsewhere.
REPLACED = {"postgres": "DATABASE_URL", "redis": "REDIS_URL"}


def write(dev: bool = False) -> None:
    """Write all that docker-compose.yml and deploy/docker/ need. Raises Failed if a file of TLS is unreadable."""
    variables = settings(dev)
    for directory, mode in ((SECRETS, 0o700), (MOUNTED, 0o755)):
        make_directory(directory)
        directory.chmod(mode)
    # Compose mounts it, and the engine would make it for root.
    maintenance_mode.prepare(VAR)
    services: dict[str, Any] = data_services(variables)
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
            } | ({"networks": ["out"]} if calls_out(app) else {})
    services["nginx"] = {"ports": ports(variables)}
    services["certbot"] = {"environment": {"NAMES": ",".join(public_names(variables))}}
    if variables.get("CA_FILE"):
        source = write_secret("ca", read_file_of("CA_FILE", variables)).name
        secrets[source] = {"file": str(SECRETS / source)}
        services["certbot"]["secrets"] = [{"source": source, "target": "ca"}]
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
    metrics.write_prometheus_configuration(VAR, variables)
    # Always, so that `make destroy` finds them.
    volumes: dict[str, Any] = {"prometheus": {}, "alertmanager": {}}
    written: dict[str, Any] = {"services": services, "secrets": secrets, "volumes": volumes}
    if variables["PROMETHEUS_PORT"]:
        add_prometheus(written, variables)
    replace(SERVICES, json.dumps(written, indent=1))


def add_prometheus(written: dict[str, Any], variables: Mapping[str, str]) -> None:
    """Add Prometheus and Alertmanager, which get their files as secrets. Raises Failed if EMAIL_URL does not fit."""
    targets = {"localhost": f"metrics:{variables['METRICS_PORT']}"}
    files = {
        "prometheus": {
            "prometheus": metrics.prometheus_configuration(targets, "/run/secrets/rules", "alertmanager:9093"),
            "rules": metrics.RULES.read_text(),
        },
        "alertmanager": {"alertmanager": alertmanager.configuration(variables, variables["ALERT_URL"])},
    }
    for service, contents in files.items():
        sources = {name: write_secret(name, content).name for name, content in contents.items()}
        written["secrets"] |= {source: {"file": str(SECRETS / source)} for source in sources.values()}
        written["services"][service] = {
            "extends": {"file": str(PROJECT / "deploy/docker/prometheus.yml"), "service": service},
            "secrets": [{"source": source, "target": name} for name, source in sources.items()],
        }
    written["services"]["prometheus"]["ports"] = [f"127.0.0.1:{variables['PROMETHEUS_PORT']}:9090"]


def ports(variables: Mapping[str, str]) -> list[str]:
    """Return where nginx's ports are published."""
    inner = {"PORT": 8000} | ({"PLAIN_PORT": 8080} if variables["TLS"] == "on" else {})
    addresses = map(bracketed, listen_addresses(variables["ADDRESS"]))
    return [f"{address}:{variables[name]}:{port}" for address in addresses for name, port in inner.items()]


def settings(dev: bool) -> dict[str, str]:
    """Return the settings of the stack in containers, which has its own PostgreSQL and Redis unless others are given.

    Raises Failed for a URL that a container would find in itself.
    """
    given = values()
    for service, name in REPLACED.items():
        if given[name] and elsewhere.is_here(given[name]):
            raise Failed(
                f"{name} stays on this machine, and a container is a machine of its own. Name another host, or leave "
                f"it empty for the stack's own {service}"
            )
    postgres, redis = (percent_encode(given[f"{name}_PASSWORD"], safe="") for name in ("POSTGRES", "REDIS"))
    own = {
        "DATABASE_URL": f"postgresql://{DATABASE}:{postgres}@postgres:5432/{DATABASE}",
        "REDIS_URL": f"redis://apps:{redis}@redis:6379/0",
    }
    trusting = elsewhere.with_authorities(given, "/run/secrets/ca" if given["CA_FILE"] else "")
    return (
        given
        | {name: trusting[name] or url for name, url in own.items()}
        | ({"DEBUG": "on", "CORES": "1"} if dev else {"DEBUG": "off"})
    )


def calls_out(app: App) -> bool:
    """Return whether an app connects to something outside the stack. The settings have the address of each."""
    return any(name.endswith(("_URL", "_DSN", "_ENDPOINT")) and value for name, value in of_app(app, values()).items())


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


def data_services(variables: Mapping[str, str]) -> dict[str, Any]:
    """Write the secrets of PostgreSQL and Redis. Return what the two get in addition.

    Redis gets a label that changes with its users. PostgreSQL reads its password once, when it makes the database. A
    service that runs elsewhere gets a profile, which nobody activates: compose leaves it out.
    """
    password = variables["REDIS_PASSWORD"]
    # https://redis.io/docs/latest/operate/oss_and_stack/management/security/acl/
    # As a hash, because the file cannot quote a blank in a password.
    users = f"user default on nopass -@all +ping\nuser apps on #{hashed(password)} ~* &* +@all\n"
    write_readable(SECRETS / "redis_users", users)
    write_readable(SECRETS / "postgres_password", variables["POSTGRES_PASSWORD"])
    services: dict[str, Any] = {"postgres": {}, "redis": {"labels": {"users": digest(users)}}}
    given = values()
    return {
        name: service | ({"profiles": ["elsewhere"]} if given[REPLACED[name]] else {})
        for name, service in services.items()
    }


def write_nginx_settings(variables: Mapping[str, str]) -> None:
    """Write what nginx has mounted: its settings, the registry, and with TLS the certificate and its key."""
    acme = bool(variables["ACME_EMAIL"])
    tls = dict.fromkeys(TLS_FILES, ACME_CERTIFICATE) if acme else {}
    files = TLS_FILES if variables["TLS"] == "on" and not acme else ()
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
