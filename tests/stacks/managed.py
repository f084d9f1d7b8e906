"""PostgreSQL, with PgBouncer in front, and Redis as a provider runs them: elsewhere, with TLS and passwords."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg

from tests import servers
from tests.faults import self_signed
from tests.stacks.files import directory

# Fewer than the stack's workers.
POOL = 3
PASSWORD = "pass/word"
# Over TLS and with a password, except for the tests' own superuser.
ACCESS = """
local all all trust
host all postgres 127.0.0.1/32 trust
hostssl all all all scram-sha-256
"""
POOLER = """
[databases]
* = host=127.0.0.1 port={port}
[pgbouncer]
pool_mode = transaction
default_pool_size = {pool}
max_client_conn = 500
listen_addr = {addresses}
listen_port = {own}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {files}/users
client_tls_sslmode = require
client_tls_cert_file = {certificate}
client_tls_key_file = {key}
server_tls_sslmode = verify-full
server_tls_ca_file = {certificate}
"""


@dataclass
class Managed:
    """The settings of a stack that uses these servers, and the superuser's own URL."""

    database: str
    pooled: str
    bus: str
    authority: str
    superuser: str

    def settings(self, pooled: bool) -> dict[str, str]:
        return {
            "DATABASE_URL": self.pooled if pooled else self.database,
            "DATABASE_POOLER": "on" if pooled else "off",
            "REDIS_URL": self.bus,
            "CA_FILE": self.authority,
        }

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.superuser, autocommit=True) as connection:
            return connection.execute(query.encode()).fetchall()


@contextmanager
def managed(address: str = "127.0.0.1") -> Iterator[Managed]:
    """The servers, which stacks reach at this address of this machine."""
    pgbouncer = servers.program("pgbouncer", "pgbouncer")
    addresses = list(dict.fromkeys(["127.0.0.1", address]))
    with directory() as files:
        made = self_signed(files, address)
        certificate, key = made["TLS_CERTIFICATE"], made["TLS_KEY"]
        (files / "access").write_text(ACCESS)
        (files / "users").write_text(f'"stack" "{PASSWORD}"\n')
        files.chmod(0o755)
        if servers.AS_POSTGRES:
            for file in (key, files / "access", files / "users"):
                shutil.chown(file, "postgres", "postgres")
        options = ["ssl=on", f"ssl_cert_file={certificate}", f"ssl_key_file={key}", f"hba_file={files}/access"]
        given = [word for option in options for word in ("-c", option)]
        with servers.postgresql("-h", ",".join(addresses), *given) as superuser:
            with psycopg.connect(superuser, autocommit=True) as connection:
                connection.execute(f"CREATE ROLE stack LOGIN PASSWORD '{PASSWORD}'".encode())
                # A provider's default may differ from what the apps set.
                connection.execute("ALTER ROLE stack SET timezone = 'Asia/Tokyo'")
                connection.execute("CREATE DATABASE stack OWNER stack")
            port, own, bus = superuser.rpartition(":")[2].partition("/")[0], servers.free_port(), servers.free_port()
            words = {"port": port, "own": own, "pool": POOL, "addresses": ",".join(addresses)}
            (files / "pgbouncer.ini").write_text(POOLER.format(files=files, certificate=certificate, key=key, **words))
            redis = [
                *[servers.program("redis-server", "redis-server"), "--port", "0", "--tls-port", str(bus)],
                *["--bind", *addresses, "--requirepass", PASSWORD, "--save", "", "--dir", str(files)],
                *["--tls-cert-file", certificate, "--tls-key-file", key, "--tls-auth-clients", "no"],
            ]
            pooler = [*servers.AS_POSTGRES, pgbouncer, "--quiet", f"{files}/pgbouncer.ini"]
            with servers.running(pooler, own), servers.running(redis, bus):
                login = f"stack:{PASSWORD.replace('/', '%2F')}@{address}"
                yield Managed(
                    database=f"postgresql://{login}:{port}/stack?sslmode=verify-full",
                    pooled=f"postgresql://{login}:{own}/stack?sslmode=verify-full",
                    bus=f"rediss://:{PASSWORD.replace('/', '%2F')}@{address}:{bus}/0",
                    authority=certificate,
                    superuser=superuser,
                )
