"""PostgreSQL and Redis that run elsewhere: what DATABASE_URL and REDIS_URL may say."""

import pytest

from deploy.core import elsewhere


@pytest.mark.parametrize(
    ("url", "here"),
    [
        ("sqlite:////srv/db.sqlite3", True),
        ("postgresql://u:p@127.0.0.1:5432/n", True),
        ("postgresql://u:p@[::1]:5432/n", True),
        ("postgresql://u:p@localhost/n", True),
        ("postgresql://u:p@/n?host=/run/postgresql", True),
        ("postgresql:///n", True),
        ("redis://:p@127.0.0.1:6379/0", True),
        ("postgresql://u:p@db.example.org:5432/n", False),
        ("postgresql://u:p@[2001:db8::1]/n", False),
        ("postgresql://u:p@127.0.0.1,10.0.0.2/n", False),
        ("postgresql://u:p@/n?host=10.0.0.1,10.0.0.2", False),
        ("rediss://u:p@cache.example.org:6379/0", False),
    ],
)
def test_a_url_that_stays_here(url: str, here: bool) -> None:
    assert elsewhere.is_here(url) == here


@pytest.mark.parametrize(
    ("url", "accepted"),
    [
        ("", True),
        ("postgresql://u:p@127.0.0.1/n", True),
        ("postgresql://u:p@db.example.org/n?sslmode=verify-full", True),
        ("postgresql://u:p@db.internal/n?sslmode=disable", True),
        ("postgresql://u:p@db.example.org/n", False),
        ("postgresql://u:sslmode@db.example.org/n?connect_timeout=3", False),
        ("postgresql://u:p@/n?host=10.0.0.1", False),
    ],
)
def test_another_host_is_verified(url: str, accepted: bool) -> None:
    found = elsewhere.faults({"DATABASE_URL": url})
    assert not found if accepted else "sslmode=verify-full" in found[0]
    assert "db." not in f"{found}"


def test_urls_name_the_authorities() -> None:
    def urls(database: str, bus: str, file: str) -> list[str]:
        return list(elsewhere.with_authorities({"DATABASE_URL": database, "REDIS_URL": bus}, file).values())

    verified, bus = "postgresql://db/n?sslmode=verify-full", "rediss://cache/0"
    system = elsewhere.SYSTEM_CA.replace("/", "%2F")
    assert urls(verified, bus, "/a b.pem") == [
        f"{verified}&sslrootcert=%2Fa%20b.pem",
        f"{bus}?ssl_ca_certs=%2Fa%20b.pem",
    ]
    # redis-py has the system's by itself.
    assert urls(verified, bus, "") == [f"{verified}&sslrootcert={system}", bus]
    for database, other in (
        ("postgresql://db/n", "redis://cache/0"),
        (f"{verified}&sslrootcert=/x", f"{bus}?ssl_ca_certs=/x"),
    ):
        assert urls(database, other, "/a.pem") == [database, other]
