#!/usr/bin/env python3
"""Back up the database and the uploaded files of the data host, and restore them.

    app-backup backup                     for the service, daily; prints the backup's name
    app-backup status                     the newest backup's name, age and size, as JSON
    app-backup drill [NAME]               restores it (the newest) beside the database, compares, and drops that again
    app-backup restore [NAME] [--force]   puts it in place of the database, as root
    app-backup pack [NAME]                prints it as a tar file, to be kept elsewhere
    app-backup unpack FILE                takes that back

A backup is a directory of /var/backups/app, named by its time: database.dump from pg_dump, media/ with the uploaded
files, and manifest.json. An unchanged file in media/ is a hard link to the previous backup's. The name ends in .partial
until the backup is complete and verified. Backups of the last day are kept, the newest of each day for a week, and the
newest of each week for four weeks.

It needs only Debian's own Python. It runs PostgreSQL's commands as the superuser, over the unix socket.
"""

import argparse
import contextlib
import fcntl
import filecmp
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Any, TypedDict

BACKUPS = Path("/var/backups/app")
MEDIA = Path("/srv/app/var/media")
DATABASE = "tandem"

NAME = "%Y-%m-%dT%H%M%SZ"
NAMES = r"\d{4}-\d\d-\d\dT\d{6}Z"
# Rows are compared as text, so in one time zone.
ENVIRONMENT = {**os.environ, "PGTZ": "UTC", "PGCLIENTENCODING": "UTF8"}
PSQL = ["psql", "--no-psqlrc", "--no-align", "--tuples-only", "--quiet", "--set=ON_ERROR_STOP=1"]

# "schema.table", its rows, and the sum of their hashes, which finds a changed row and does not depend on the order.
TABLES = r"""
SELECT format(
    'SELECT %L, count(*), coalesce(sum((''x'' || left(md5(t::text), 15))::bit(60)::bigint), 0) FROM %I.%I t',
    schemaname || '.' || tablename, schemaname, tablename
) FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1 \gexec
"""
# The newest migration of each app, if there is Django.
SCHEMA = r"""
SELECT 'SELECT app, max(name) FROM django_migrations GROUP BY app ORDER BY app'
WHERE to_regclass('django_migrations') IS NOT NULL \gexec
"""


class Table(TypedDict):
    rows: int
    sum: str


class Manifest(TypedDict):
    time: str  # ISO 8601
    schema: dict[str, str]  # the newest migration, by app
    tables: dict[str, Table]
    files: dict[str, str]  # SHA-256, by path in the backup


class Failed(Exception):
    """The message that the command ends with."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="app-backup")
    parser.add_argument("command", choices=["backup", "status", "drill", "restore", "pack", "unpack"])
    parser.add_argument("name", nargs="?", default="newest")
    parser.add_argument("--force", action="store_true")
    given = parser.parse_args()
    commands = {
        "backup": lambda: print(backup()),
        "drill": lambda: drill(find(given.name)),
        "restore": lambda: restore(find(given.name), given.force),
        "pack": lambda: pack(find(given.name), sys.stdout.buffer),
        "unpack": lambda: print(unpack(Path(given.name))),
    }
    os.umask(0o077)
    try:
        if given.command == "status":
            print(json.dumps(status()))
            return
        if (os.geteuid() == 0) != (given.command == "restore"):
            raise Failed("only `restore` is for root; the service makes backups, and the rest is for postgres")
        # One at a time. The lock ends with this process.
        fcntl.flock(os.open(BACKUPS, os.O_RDONLY), fcntl.LOCK_EX)
        commands[given.command]()
    except (Failed, OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"app-backup: {error}")


# The database


def run(command: list[str], **options: Any) -> str:
    """Return what a command prints. Raises Failed with its errors."""
    done = subprocess.run(command, capture_output=True, text=True, cwd="/", env=ENVIRONMENT, **options)
    if done.returncode:
        raise Failed(f"{command[0]}: {done.stderr.strip() or f'ended with {done.returncode}'}")
    return str(done.stdout)


def run_as_postgres(command: list[str], **options: Any) -> str:
    who = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
    return run(command, **who, **options)


def sql(database: str, statements: str) -> str:
    return run_as_postgres([*PSQL, f"--dbname={database}"], input=statements)


def drop(database: str) -> None:
    sql("postgres", f"DROP DATABASE IF EXISTS {database};")


def read_tables(lines: str) -> dict[str, Table]:
    rows = [line.rsplit("|", 2) for line in lines.splitlines()]
    return {name: Table(rows=int(count), sum=total) for name, count, total in rows}


def dump(destination: Path) -> tuple[dict[str, str], dict[str, Table]]:
    """Write the database to a file. Return its schema and its tables in the same snapshot."""
    pg_dump = f"pg_dump --format=custom --snapshot=$SNAPSHOT --dbname={DATABASE} --file={shlex.quote(str(destination))}"
    script = rf"""
        BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY;
        SELECT pg_export_snapshot() AS snapshot \gset
        \setenv SNAPSHOT :snapshot
        \! {pg_dump} 2>&1 && echo DUMPED
        {SCHEMA}
        \echo TABLES
        {TABLES}"""
    output = run([*PSQL, f"--dbname={DATABASE}"], input=script)
    errors, dumped, rest = output.partition("DUMPED\n")
    if not dumped:
        raise Failed(f"pg_dump: {errors.strip()}")
    schema, _, tables = rest.partition("TABLES\n")
    return dict(line.split("|") for line in schema.splitlines()), read_tables(tables)


def load(backup: Path, database: str) -> dict[str, Table]:
    """Make a database from a backup's dump, in place of one of that name. Return its tables."""
    drop(database)
    # As roles/data makes it.
    options = f"OWNER {DATABASE} TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C.UTF-8'"
    sql("postgres", f"CREATE DATABASE {database} {options};")
    with (backup / "database.dump").open("rb") as file:
        run_as_postgres(["pg_restore", "--single-transaction", f"--dbname={database}"], stdin=file)
    return read_tables(sql(database, TABLES))


# Backups


def names() -> list[str]:
    """Return the names of the backups, the newest last."""
    return sorted(each.name for each in BACKUPS.iterdir() if re.fullmatch(NAMES, each.name))


def time_of(name: str) -> datetime:
    return datetime.strptime(name, NAME).replace(tzinfo=UTC)


def find(name: str) -> Path:
    found = names()
    if name == "newest" and found:
        return BACKUPS / found[-1]
    if name not in found:
        raise Failed(f"there is no backup {name}; there are: {' '.join(found) or 'none'}")
    return BACKUPS / name


def read_manifest(backup: Path) -> Manifest:
    try:
        manifest: Manifest = json.loads((backup / "manifest.json").read_text())
    except (OSError, ValueError) as error:
        raise Failed(f"{backup.name}/manifest.json is damaged: {error}") from None
    return manifest


def sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def verify(backup: Path, files: dict[str, str]) -> list[str]:
    """Return a line for each missing or damaged file."""
    missing = {name for name in files if not (backup / name).is_file()}
    damaged = {name for name in files.keys() - missing if sha256(backup / name) != files[name]}
    return [f"{name} is {'missing' if name in missing else 'damaged'}" for name in sorted(missing | damaged)]


def backup() -> str:
    if not MEDIA.is_dir():
        raise Failed(f"there is no {MEDIA}")
    for left_behind in BACKUPS.glob("*.partial"):
        shutil.rmtree(left_behind)
    now = datetime.now(UTC)
    name = now.strftime(NAME)
    previous, known = BACKUPS, dict[str, str]()
    if names():
        previous = find("newest")
        try:
            known = read_manifest(previous)["files"]
        except Failed as failed:
            # Without sums everything is copied.
            print(failed, file=sys.stderr)
    with new_directory() as partial:
        # A file is written before the row that names it and deleted after that row. So the files are copied before the
        # dump, and after it those that are new or were still being written.
        linked, copied = copy_media(partial, previous, known)
        schema, tables = dump(partial / "database.dump")
        copied |= copy_media(partial, previous, {})[1]
        copied["database.dump"] = sha256(partial / "database.dump")
        manifest = Manifest(time=now.isoformat(timespec="seconds"), schema=schema, tables=tables, files=linked | copied)
        (partial / "manifest.json").write_text(json.dumps(manifest, indent=1))
        os.sync()
        # copy_media has verified the linked files.
        if faults := verify(partial, copied):
            raise Failed("; ".join(faults))
        run(["pg_restore", "--list", str(partial / "database.dump")])
        partial.rename(BACKUPS / name)
    for old in set(names()) - kept(names(), now):
        shutil.rmtree(BACKUPS / old)
    return name


@contextlib.contextmanager
def new_directory() -> Iterator[Path]:
    """Make a directory for a backup, and delete it unless it was renamed: otherwise a full disk stays full."""
    with tempfile.TemporaryDirectory(dir=BACKUPS, suffix=".partial", ignore_cleanup_errors=True) as directory:
        yield Path(directory)


def copy_media(partial: Path, previous: Path, known: dict[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Link or copy the uploaded files that are not in the backup yet. Return the sums of the linked and the copied."""
    linked, copied = {}, {}
    for directory, directories, files in os.walk(MEDIA):
        directories[:] = [each for each in directories if not each.startswith(".")]
        for source in (Path(directory, file) for file in files if not file.startswith(".")):
            name = str("media" / source.relative_to(MEDIA))
            destination = partial / name
            # A client may delete the file at this moment.
            with contextlib.suppress(FileNotFoundError):
                if same(source, destination):
                    continue
                destination.parent.mkdir(parents=True, exist_ok=True)
                destination.unlink(missing_ok=True)
                if name in known and same(source, previous / name):
                    if sha256(previous / name) == known[name]:
                        os.link(previous / name, destination)
                        linked[name] = known[name]
                        continue
                    print(f"{previous.name}/{name} is damaged, and copied anew", file=sys.stderr)
                copy(source, destination)
                copied[name] = sha256(destination)
    return linked, copied


def same(one: Path, other: Path) -> bool:
    """Compare by size and time, and by content if only the times differ."""
    return other.is_file() and filecmp.cmp(one, other)


def copy(source: Path, destination: Path) -> None:
    """Copy a file and its modification time. The next backup copies a file again if it changed during this copy."""
    before = source.stat()
    shutil.copyfile(source, destination)
    os.utime(destination, ns=(before.st_atime_ns, before.st_mtime_ns))


def kept(names: list[str], now: datetime) -> set[str]:
    """Return the names of the backups to keep."""
    times = {name: time_of(name) for name in sorted(names)}
    newest_of_day = {taken.date(): name for name, taken in times.items()}
    newest_of_week = {taken.isocalendar()[:2]: name for name, taken in times.items()}
    return {
        name
        for name, taken in times.items()
        if taken > now - timedelta(days=1)
        or (name in newest_of_day.values() and taken > now - timedelta(days=7))
        or (name in newest_of_week.values() and taken > now - timedelta(weeks=4))
    }


def status() -> dict[str, Any]:
    """Return the newest backup (null if there is none), its age in seconds, and if the service's last run failed."""
    found = names()
    unit = "tandem-backup.service"
    result = run(["systemctl", "show", "--property=Result", "--value", unit]).strip()
    state: dict[str, Any] = {
        "newest": found[-1] if found else None,
        "failed": result not in ("success", ""),
        "backups": len(found),
    }
    if found:
        newest = BACKUPS / found[-1]
        state["age"] = round(time.time() - time_of(found[-1]).timestamp())
        state["bytes"] = sum(file.stat().st_size for file in newest.rglob("*") if file.is_file())
        state["schema"] = read_manifest(newest)["schema"]
    return state


# Restore


def compare(manifest: Manifest, tables: dict[str, Table]) -> bool:
    """Print a line for each table. Return whether all are as they were."""
    backed_up = manifest["tables"]
    width = max(len(name) for name in ("table", *backed_up, *tables))
    print(f"{'table':{width}}  rows in the backup  rows restored")
    for name in sorted(backed_up.keys() | tables.keys()):
        then, now = backed_up.get(name), tables.get(name)
        verdict = "same" if then == now else "DIFFERENT"
        print(f"{name:{width}}  {then['rows'] if then else '-':>18}  {now['rows'] if now else '-':>13}  {verdict}")
    return backed_up == tables


def drill(backup: Path) -> None:
    """Raises Failed if the restored data differs from the backup's manifest."""
    manifest = read_manifest(backup)
    started = time.monotonic()
    if faults := verify(backup, manifest["files"]):
        raise Failed("\n".join([f"{backup.name} has changed since it was made", *faults]))
    scratch = f"{DATABASE}_drill"
    try:
        good = compare(manifest, load(backup, scratch))
    finally:
        drop(scratch)
    print(f"{len(manifest['files'])} files, none missing or damaged")
    print(f"{backup.name} restored beside the database in {time.monotonic() - started:.1f} s")
    if not good:
        raise Failed(f"{backup.name}: the restored data differs from its manifest")


def restore(backup: Path, force: bool) -> None:
    """Newer files stay. The replaced database stays until the next restore, as tandem_replaced.

    It allows no connections until ALTER DATABASE tandem_replaced ALLOW_CONNECTIONS true.
    """
    manifest = read_manifest(backup)
    if faults := verify(backup, manifest["files"]):
        raise Failed("\n".join([f"{backup.name} has changed since it was made. Nothing was restored", *faults]))
    before = sql("postgres", f"SELECT 1 FROM pg_database WHERE datname = '{DATABASE}'")  # noqa: S608
    if before and not force:
        refuse_if_live()
    fresh, replaced = f"{DATABASE}_restored", f"{DATABASE}_replaced"
    try:
        if not compare(manifest, load(backup, fresh)):
            raise Failed(f"{backup.name}: the restored data differs from its manifest. The database is unchanged")
        sql(fresh, "ANALYZE;")
        # Before the rows that name them.
        restored = restore_media(backup, manifest)
        drop(replaced)
        if before:
            swap(fresh, replaced)
        else:
            sql("postgres", f"ALTER DATABASE {fresh} RENAME TO {DATABASE};")
    finally:
        drop(fresh)
    # Its cache is of the replaced database. Clients that lose their subscriptions read again.
    run(["systemctl", "restart", "redis-server.service"])
    print(f"{backup.name} is in place; {restored} uploaded files were missing or different")
    if before:
        print(f"What was there is the database {replaced}, until the next restore")


def refuse_if_live() -> None:
    rows = sum(table["rows"] for table in read_tables(sql(DATABASE, TABLES)).values())
    count = f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{DATABASE}' AND backend_type = 'client backend'"  # noqa: S608
    connections = int(sql("postgres", count))
    if rows or connections:
        raise Failed(
            f"the database is live: {rows} rows, {connections} connections. Nothing was restored; "
            "--force (FORCE=yes) replaces it"
        )


def swap(fresh: str, replaced: str) -> None:
    """Change both names at once. Connected clients are cut off and connect to the new database."""
    try:
        sql(
            "postgres",
            f"""
            ALTER DATABASE {DATABASE} ALLOW_CONNECTIONS false;
            SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = '{DATABASE}';
            BEGIN;
            ALTER DATABASE {DATABASE} RENAME TO {replaced};
            ALTER DATABASE {fresh} RENAME TO {DATABASE};
            COMMIT;
            """,  # noqa: S608
        )
    except Failed:
        sql("postgres", f"ALTER DATABASE {DATABASE} ALLOW_CONNECTIONS true;")
        raise


def restore_media(backup: Path, manifest: Manifest) -> int:
    """Restore missing and different files. Return how many.

    Newer files stay. Their names are random, and nothing refers to them unless the replaced database comes back.
    """
    owner = MEDIA.stat()
    count = 0
    for name in manifest["files"].keys() - {"database.dump"}:
        destination = MEDIA / name.removeprefix("media/")
        if destination.is_file() and sha256(destination) == manifest["files"][name]:
            continue
        for directory in reversed(destination.relative_to(MEDIA).parents[:-1]):
            (MEDIA / directory).mkdir(exist_ok=True)
            os.chown(MEDIA / directory, owner.st_uid, owner.st_gid)
        partial = destination.with_name(f".{destination.name}.partial")
        copy(backup / name, partial)
        os.chown(partial, owner.st_uid, owner.st_gid)
        partial.rename(destination)
        count += 1
    os.sync()
    return count


# Copies elsewhere


def pack(backup: Path, file: IO[bytes]) -> None:
    subprocess.run(["tar", "--create", f"--directory={BACKUPS}", backup.name], stdout=file, check=True)


def unpack(file: Path) -> str:
    """Return the name of the backup in the file."""
    members = run(["tar", "--list", f"--file={file}"]).splitlines()
    tops = {member.split("/")[0] for member in members}
    name = tops.pop() if len(tops) == 1 else ""
    if not re.fullmatch(NAMES, name):
        raise Failed(f"{file} is not a packed backup")
    with new_directory() as partial:
        run(["tar", "--extract", "--no-same-owner", "--strip-components=1", f"--file={file}", f"--directory={partial}"])
        if faults := verify(partial, read_manifest(partial)["files"]):
            raise Failed("; ".join(faults))
        partial.rename(BACKUPS / name)
    return name


if __name__ == "__main__":
    main()
