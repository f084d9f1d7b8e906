"""Move the database of one inventory to another: for example from one data host to a cluster."""

import shlex
import subprocess

from deploy.core.console import Failed, ok, step

from . import cluster
from .fleet import Fleet

# The database and its owner.
NAME = "tandem"
# The option of the connection wins over READ_ONLY.
OPTIONS = "env PGOPTIONS='-c default_transaction_read_only=off'"
PSQL = f"{OPTIONS} psql --no-psqlrc --no-align --tuples-only --quiet --set=ON_ERROR_STOP=1"
# Reads continue on the old hosts. Both apps answer 503 to a write, and open connections learn of it by their end.
READ_ONLY = (
    "ALTER DATABASE {name} SET default_transaction_read_only = {state}",
    "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE usename = '{name}'",
)
TABLES = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
# Each table with its exact number of rows: https://www.postgresql.org/docs/15/functions-xml.html#FUNCTIONS-XML-MAPPING
ROWS = """
    SELECT tablename, (xpath('/row/count/text()',
        query_to_xml(format('SELECT count(*) FROM public.%I', tablename), false, true, '')))[1]::text
    FROM pg_tables WHERE schemaname = 'public' ORDER BY 1
"""


def as_postgres(command: str) -> str:
    return f"cd / && runuser -u postgres -- {command}"


def ask(fleet: Fleet, statement: str) -> str:
    return fleet.ask(primary(fleet), as_postgres(f"{PSQL} --dbname={NAME} --command={shlex.quote(statement)}"))


def primary(fleet: Fleet) -> str:
    """Return the host whose PostgreSQL accepts writes. Raises Failed if no host of the inventory has one."""
    if not cluster.hosts(fleet):
        if not fleet.groups["data"]:
            raise Failed(f"{fleet.name} has no data host: use pg_dump and pg_restore")
        return fleet.groups["data"][0]
    found = [host for host, member in cluster.members(fleet).items() if cluster.is_primary(member)]
    if not found:
        raise Failed(f"The cluster of {fleet.name} has no primary: see `make fleet`")
    return found[0]


def move(old: Fleet, new: Fleet, force: bool) -> None:
    """Stop writes on the old hosts, and copy all rows. Raises Failed, and lets the old hosts accept writes again."""
    if ask(new, TABLES) != "0" and not force:
        raise Failed(f"{new.name} has data already. FORCE=yes replaces it")
    try:
        with step(f"stop writes to {primary(old)}"):
            stop_writes(old, "on")
        with step(f"copy the database from {primary(old)} to {primary(new)}"):
            copy(old, new)
        if ask(old, ROWS) != ask(new, ROWS):
            raise Failed("The copy has other rows than the original")
    except BaseException:
        stop_writes(old, "off")
        raise
    ok("every table has as many rows as before")


def stop_writes(fleet: Fleet, state: str) -> None:
    for statement in READ_ONLY:
        ask(fleet, statement.format(name=NAME, state=state))


def copy(old: Fleet, new: Fleet) -> None:
    restore = "pg_restore --clean --if-exists --no-owner --single-transaction --exit-on-error"
    commands = [
        old.ssh(primary(old), as_postgres(f"pg_dump --format=custom {NAME}")),
        new.ssh(primary(new), as_postgres(f"{restore} --role={NAME} --dbname={NAME}")),
    ]
    with subprocess.Popen(commands[0], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) as dump:
        restored = subprocess.run(commands[1], stdin=dump.stdout, check=False)
    if dump.returncode or restored.returncode:
        raise Failed("The copy failed: see above")
    ask(new, "ANALYZE")
