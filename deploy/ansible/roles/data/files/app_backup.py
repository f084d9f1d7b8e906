#!/usr/bin/env python3
"""Backups of the data host, and the way back: the database, and the files that were uploaded.

    app-backup backup                   what the service runs, daily; prints the backup's name
    app-backup status                   the newest one's name, age and size, as JSON
    app-backup drill [NAME]             restores it (the newest) beside the database, compares, drops that again
    app-backup restore NAME [--force]   puts it in place of the database, as root; `newest` is a name
    app-backup pack NAME                prints it as a tar file, to be kept elsewhere
    app-backup unpack FILE              takes that back

A backup is a directory of /var/backups/app with its time for a name: database.dump as by pg_dump, media/ with the
uploaded files, and manifest.json. What is unchanged in media/ is a hard link to the file of the backup before. Until it
is whole and checked, it has .partial behind its name. Every backup of the last day is kept, of the last week the newest
of each day, of the last four weeks the newest of each week.

Debian's own Python and nothing else; PostgreSQL's commands are asked as its superuser, over its unix socket.
"""

import argparse
import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
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
# Rows as text are compared: in one time zone.
ENVIRONMENT = {**os.environ, "PGTZ": "UTC", "PGCLIENTENCODING": "UTF8"}
PSQL = ["psql", "--no-psqlrc", "--no-align", "--tuples-only", "--quiet", "--set=ON_ERROR_STOP=1"]

# "schema.table", its rows, and the sum of their hashes: one that changed is found out too, in whatever order they come.
TABLES = r"""
SELECT format(
    'SELECT %L, count(*), coalesce(sum((''x'' || left(md5(t::text), 15))::bit(60)::bigint), 0) FROM %I.%I t',
    schemaname || '.' || tablename, schemaname, tablename
) FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1 \gexec
"""
# The newest migration of each app, where there is Django.
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
    """What the command ends with, in words."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="app-backup")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("backup")
    commands.add_parser("status")
    commands.add_parser("drill").add_argument("name", nargs="?", default="newest")
    to_restore = commands.add_parser("restore")
    to_restore.add_argument("name")
    to_restore.add_argument("--force", action="store_true")
    commands.add_parser("pack").add_argument("name")
    commands.add_parser("unpack").add_argument("file", type=Path)
    given = parser.parse_args()
    os.umask(0o077)
    try:
        if given.command == "status":
            print(json.dumps(status()))
            return
        if (os.geteuid() == 0) != (given.command == "restore"):
            raise Failed("only `restore` is for root; the service makes backups, and the rest is for postgres")
        with one_at_a_time():
            if given.command == "backup":
                print(backup())
            elif given.command == "drill":
                drill(find(given.name))
            elif given.command == "restore":
                restore(find(given.name), given.force)
            elif given.command == "pack":
                pack(find(given.name), sys.stdout.buffer)
            else:
                print(unpack(given.file))
    except (Failed, OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"app-backup: {error}")


@contextlib.contextmanager
def one_at_a_time() -> Iterator[None]:
    directory = os.open(BACKUPS, os.O_RDONLY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        yield
    finally:
        os.close(directory)


# The database


def as_postgres() -> dict[str, Any]:
    """For subprocess: what root runs as PostgreSQL's superuser."""
    return {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}


def run(command: list[str], **options: Any) -> str:
    """What it prints; raises Failed with what it complained of."""
    done = subprocess.run(command, capture_output=True, text=True, cwd="/", env=ENVIRONMENT, **options)
    if done.returncode:
        raise Failed(f"{command[0]}: {done.stderr.strip() or f'ended with {done.returncode}'}")
    return str(done.stdout)


def sql(database: str, statements: str) -> str:
    return run([*PSQL, f"--dbname={database}"], input=statements, **as_postgres())


def exists(database: str) -> bool:
    return bool(sql("postgres", f"SELECT 1 FROM pg_database WHERE datname = '{database}'"))  # noqa: S608


def read_tables(lines: str) -> dict[str, Table]:
    rows = [line.rsplit("|", 2) for line in lines.splitlines()]
    return {name: Table(rows=int(count), sum=total) for name, count, total in rows}


def dump(destination: Path) -> tuple[dict[str, str], dict[str, Table]]:
    """Writes the database to a file; its schema, and its tables as they were in that very snapshot."""
    with subprocess.Popen(
        [*PSQL, f"--dbname={DATABASE}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd="/",
        env=ENVIRONMENT,
        **as_postgres(),
    ) as session:

        def ask(statements: str) -> str:
            assert session.stdin
            assert session.stdout
            session.stdin.write(f"{statements}\n\\echo end\n")
            session.stdin.flush()
            lines = []
            while (line := session.stdout.readline()) != "end\n":
                if not line:
                    raise Failed("psql: ended before its time")
                lines.append(line)
            return "".join(lines)

        ask("BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY;")
        snapshot = ask("SELECT pg_export_snapshot();").strip()
        schema = dict(line.split("|") for line in ask(SCHEMA).splitlines())
        tables = read_tables(ask(TABLES))
        with destination.open("wb") as file:
            command = ["pg_dump", "--format=custom", f"--snapshot={snapshot}", f"--dbname={DATABASE}"]
            done = subprocess.run(
                command, stdout=file, stderr=subprocess.PIPE, cwd="/", env=ENVIRONMENT, **as_postgres()
            )
        if done.returncode:
            raise Failed(f"pg_dump: {done.stderr.decode().strip()}")
    return schema, tables


def load(backup: Path, database: str) -> dict[str, Table]:
    """Makes a database of a backup's dump, dropping one of that name; its tables."""
    sql("postgres", f"DROP DATABASE IF EXISTS {database};")
    # As roles/data makes it.
    options = f"OWNER {DATABASE} TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C.UTF-8'"
    sql("postgres", f"CREATE DATABASE {database} {options};")
    with (backup / "database.dump").open("rb") as file:
        run(["pg_restore", "--single-transaction", f"--dbname={database}"], stdin=file, **as_postgres())
    return read_tables(sql(database, TABLES))


# Backups


def names() -> list[str]:
    """Of the backups that there are, the newest last."""
    return sorted(each.name for each in BACKUPS.iterdir() if re.fullmatch(NAMES, each.name))


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
    """A line for each file that is missing or not what it was."""
    faults = []
    for name, expected in files.items():
        if not (backup / name).is_file():
            faults.append(f"{name} is missing")
        elif sha256(backup / name) != expected:
            faults.append(f"{name} is damaged")
    return faults


def backup() -> str:
    if not MEDIA.is_dir():
        raise Failed(f"there is no {MEDIA}")
    for left_behind in BACKUPS.glob("*.partial"):
        shutil.rmtree(left_behind)
    now = datetime.now(UTC)
    name = now.strftime(NAME)
    previous, known = last_files()
    partial = BACKUPS / f"{name}.partial"
    partial.mkdir()
    try:
        # Files are there before the rows that name them, and go after those: so once before the dump, and then what
        # has come since, or was still being written.
        linked, copied = copy_media(partial, previous, known)
        schema, tables = dump(partial / "database.dump")
        copied |= copy_media(partial, previous, {})[1]
        copied["database.dump"] = sha256(partial / "database.dump")
        manifest = Manifest(time=now.isoformat(timespec="seconds"), schema=schema, tables=tables, files=linked | copied)
        (partial / "manifest.json").write_text(json.dumps(manifest, indent=1))
        os.sync()
        # What is linked was read when it was.
        if faults := verify(partial, copied):
            raise Failed("; ".join(faults))
        with (partial / "database.dump").open("rb") as file:
            run(["pg_restore", "--list"], stdin=file)
        partial.rename(BACKUPS / name)
    except BaseException:
        # Not for long, a full disk.
        shutil.rmtree(partial)
        raise
    for old in set(names()) - kept(names(), now):
        shutil.rmtree(BACKUPS / old)
    return name


def last_files() -> tuple[Path, dict[str, str]]:
    """The backup before this one, and the sums of its files; none if they are not to be had, and all is copied."""
    found = names()
    previous = BACKUPS / (found[-1] if found else "none")
    try:
        return previous, read_manifest(previous)["files"] if found else {}
    except Failed as failed:
        print(failed, file=sys.stderr)
        return previous, {}


def copy_media(partial: Path, previous: Path, known: dict[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Uploaded files that are not there yet: the sums of those that were linked, and of those that were copied."""
    linked, copied = {}, {}
    for directory, directories, files in os.walk(MEDIA):
        directories[:] = [each for each in directories if not each.startswith(".")]
        for source in (Path(directory, file) for file in files if not file.startswith(".")):
            name = str("media" / source.relative_to(MEDIA))
            destination = partial / name
            # Deleted at this moment.
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
                copied[name] = copy(source, destination)
    return linked, copied


def copy(source: Path, destination: Path) -> str:
    """Content and time; the sum of what was read."""
    digest = hashlib.sha256()
    with source.open("rb") as content, destination.open("wb") as file:
        while chunk := content.read(1 << 20):
            digest.update(chunk)
            file.write(chunk)
    before = source.stat()
    os.utime(destination, ns=(before.st_atime_ns, before.st_mtime_ns))
    return digest.hexdigest()


def same(one: Path, other: Path) -> bool:
    """By size and time."""
    if not other.is_file():
        return False
    return (one.stat().st_size, one.stat().st_mtime_ns) == (other.stat().st_size, other.stat().st_mtime_ns)


def kept(names: list[str], now: datetime) -> set[str]:
    """Those that are not old."""
    times = {name: datetime.strptime(name, NAME).replace(tzinfo=UTC) for name in sorted(names)}
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
    """`newest` is null when there is none; ages are in seconds. `failed` is of the service's last run."""
    found = names()
    service = subprocess.run(
        ["systemctl", "show", "--property=Result", "--value", "tandem-backup.service"],
        stdout=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )
    state: dict[str, Any] = {
        "newest": found[-1] if found else None,
        "failed": service.stdout.strip() not in ("success", ""),
        "backups": len(found),
    }
    if found:
        newest = BACKUPS / found[-1]
        taken = datetime.strptime(found[-1], NAME).replace(tzinfo=UTC)
        state["age"] = round(time.time() - taken.timestamp())
        state["bytes"] = sum(file.stat().st_size for file in newest.rglob("*") if file.is_file())
        state["schema"] = read_manifest(newest)["schema"]
    return state


# The way back


def compare(manifest: Manifest, tables: dict[str, Table]) -> bool:
    """Prints a line for each table; True if they are what they were."""
    lines = [("table", "rows in the backup", "rows restored", "")]
    for name in sorted(manifest["tables"].keys() | tables.keys()):
        then, now = manifest["tables"].get(name), tables.get(name)
        verdict = "same" if then == now else "DIFFERENT"
        lines.append((name, str(then["rows"] if then else "-"), str(now["rows"] if now else "-"), verdict))
    width = max(len(line[0]) for line in lines)
    for name, then_rows, now_rows, verdict in lines:
        print(f"{name:{width}}  {then_rows:>18}  {now_rows:>13}  {verdict}".rstrip())
    return manifest["tables"] == tables


def drill(backup: Path) -> None:
    """Raises Failed when the backup does not give back what it was made of."""
    manifest = read_manifest(backup)
    started = time.monotonic()
    if faults := verify(backup, manifest["files"]):
        raise Failed("\n".join([f"{backup.name} is not what it was", *faults]))
    scratch = f"{DATABASE}_drill"
    try:
        good = compare(manifest, load(backup, scratch))
    finally:
        sql("postgres", f"DROP DATABASE IF EXISTS {scratch};")
    print(f"{len(manifest['files'])} files, none missing or damaged")
    print(f"{backup.name} restored beside the database in {time.monotonic() - started:.1f} s")
    if not good:
        raise Failed(f"{backup.name} does not give back what it was made of")


def restore(backup: Path, force: bool) -> None:
    """Files that were there stay, and until the next restore the database, as tandem_replaced.

    Connections to that are not allowed: ALTER DATABASE tandem_replaced ALLOW_CONNECTIONS true.
    """
    manifest = read_manifest(backup)
    if faults := verify(backup, manifest["files"]):
        raise Failed("\n".join([f"{backup.name} is not what it was, and nothing was restored", *faults]))
    before = exists(DATABASE)
    if before and not force:
        refuse_if_live()
    fresh, replaced = f"{DATABASE}_restored", f"{DATABASE}_replaced"
    try:
        if not compare(manifest, load(backup, fresh)):
            raise Failed(f"{backup.name} does not give back what it was made of; the database is as before")
        sql(fresh, "ANALYZE;")
        # Before the rows that name them.
        restored = restore_media(backup, manifest)
        sql("postgres", f"DROP DATABASE IF EXISTS {replaced};")
        swap(fresh, replaced if before else "")
    finally:
        sql("postgres", f"DROP DATABASE IF EXISTS {fresh};")
    # It has in its memory, and nowhere else, what it was told of the other database; and who listens there looks again.
    run(["systemctl", "restart", "redis-server.service"])
    print(f"{backup.name} is in place; {restored} uploaded files were missing or different")
    if before:
        print(f"What was there is the database {replaced}, until the next restore")


def refuse_if_live() -> None:
    rows = sum(table["rows"] for table in read_tables(sql(DATABASE, TABLES)).values())
    connections = int(
        sql(
            "postgres",
            f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{DATABASE}' AND backend_type = 'client backend'",  # noqa: S608
        )
    )
    if rows or connections:
        raise Failed(
            f"the database is live: {rows} rows, {connections} connections. Nothing was restored; "
            "--force (FORCE=yes) replaces it"
        )


def swap(fresh: str, replaced: str) -> None:
    """Both names change at once. Who is connected is cut off, and connects to the new one."""
    if not replaced:
        sql("postgres", f"ALTER DATABASE {fresh} RENAME TO {DATABASE};")
        return
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
    """Puts back what is missing or different; how many that were.

    What has come since stays: its name is random and nothing refers to it, unless the database that was replaced comes
    back.
    """
    owner = MEDIA.stat()
    count = 0
    for name, expected in manifest["files"].items():
        if not name.startswith("media/"):
            continue
        destination = MEDIA / name.removeprefix("media/")
        if destination.is_file() and sha256(destination) == expected:
            continue
        for directory in reversed(destination.relative_to(MEDIA).parents[:-1]):
            if not (MEDIA / directory).is_dir():
                (MEDIA / directory).mkdir(mode=0o700)
                os.chown(MEDIA / directory, owner.st_uid, owner.st_gid)
        partial = destination.with_name(f".{destination.name}.partial")
        copy(backup / name, partial)
        os.chown(partial, owner.st_uid, owner.st_gid)
        partial.rename(destination)
        count += 1
    os.sync()
    return count


# To and from elsewhere


def pack(backup: Path, file: IO[bytes]) -> None:
    subprocess.run(["tar", "--create", f"--directory={BACKUPS}", backup.name], stdout=file, check=True)


def unpack(file: Path) -> str:
    """The name of the backup in it."""
    members = run(["tar", "--list", f"--file={file}"]).splitlines()
    name = members[0].split("/")[0] if members else ""
    if not re.fullmatch(NAMES, name) or any(each.split("/")[0] != name for each in members):
        raise Failed(f"{file} is not a packed backup")
    partial = BACKUPS / f"{name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        run(["tar", "--extract", "--no-same-owner", "--strip-components=1", f"--file={file}", f"--directory={partial}"])
        if faults := verify(partial, read_manifest(partial)["files"]):
            raise Failed("; ".join(faults))
        partial.rename(BACKUPS / name)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return name


if __name__ == "__main__":
    main()
