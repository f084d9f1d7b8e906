"""PostgreSQL and Redis that run elsewhere, as DATABASE_URL and REDIS_URL name them. Standard library only."""

import ipaddress
import re
from collections.abc import Mapping
from contextlib import suppress
from urllib.parse import parse_qs, quote, urlsplit

# Debian's and Ubuntu's, from the package ca-certificates.
SYSTEM_CA = "/etc/ssl/certs/ca-certificates.crt"


def hosts(url: str) -> list[str]:
    """Return the hosts in a URL. libpq takes several, in `?host=` too. The directory of a unix socket is one."""
    with suppress(ValueError):
        parts = urlsplit(url)
        listed = f"{parts.netloc.rpartition('@')[2]},{','.join(parse_qs(parts.query).get('host', []))}".split(",")
        return [re.sub(r":\d*$", "", host).strip("[]") for host in listed if host]
    return []


def is_here(url: str) -> bool:
    """Return whether a URL stays on this machine: a file, a unix socket, or an address of the loopback interface."""
    return url.startswith("sqlite:") or all(map(is_loopback, hosts(url)))


def is_loopback(host: str) -> bool:
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host.startswith("/") or host == "localhost"


def faults(variables: Mapping[str, str]) -> list[str]:
    """Return a line if nothing verifies the database's server. It never has the URL, which is a secret."""
    url = variables.get("DATABASE_URL", "")
    if not url.startswith("postgresql:") or is_here(url) or "sslmode" in parse_qs(urlsplit(url).query):
        return []
    return [
        "DATABASE_URL names another host, and does not say how to verify it: add ?sslmode=verify-full, or "
        "?sslmode=disable if the network in between is private"
    ]


def with_authorities(variables: Mapping[str, str], file: str) -> dict[str, str]:
    """Return variables whose URLs name the file with the authorities to trust, if the URLs verify certificates.

    `file` is empty for the system's. Every program finds it there: the apps, `psql`, `pg_dump`. libpq has no default
    that works: psycopg's own OpenSSL looks for the system's authorities in another place.
    """
    added = dict(variables)
    database, bus = added.get("DATABASE_URL", ""), added.get("REDIS_URL", "")
    if "sslmode=verify" in database and "sslrootcert=" not in database:
        added["DATABASE_URL"] = f"{database}&sslrootcert={quote(file or SYSTEM_CA, safe='')}"
    if bus.startswith("rediss:") and file and "ssl_ca_certs=" not in bus:
        added["REDIS_URL"] = f"{bus}{'&' if '?' in bus else '?'}ssl_ca_certs={quote(file, safe='')}"
    return added
