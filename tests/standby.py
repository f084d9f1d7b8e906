"""A PostgreSQL server that accepts no writes, beside one that does."""

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from tests import servers


@contextmanager
def postgresql_cluster() -> Iterator[tuple[str, str]]:
    """A server that accepts no writes and one that does, after an address at which there is none.

    Yields a DATABASE_URL that names all three, as in a cluster, and the URL of the server that accepts writes.
    """
    with servers.postgresql("-c", "default_transaction_read_only=on") as standby, servers.postgresql() as primary:
        ports = ",".join(str(port) for port in (servers.free_port(), urlsplit(standby).port, urlsplit(primary).port))
        query = f"host=127.0.0.1,127.0.0.1,127.0.0.1&port={ports}&target_session_attrs=read-write"
        yield f"postgresql://postgres@/postgres?{query}", primary
