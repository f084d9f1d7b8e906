#!/usr/bin/env python3
"""Back up, check, rehearse and restore the data hosts. pgBackRest and restic do the work.

    data-backup try FILE                 as postgres: do these settings of pgBackRest reach BACKUP_URL?
    data-backup reach                    as postgres: prints new without a backup, foreign if they are another's
    data-backup all                      as postgres: backs up the database, then the uploads
    data-backup uploads                  as postgres: backs up the uploads alone
    data-backup ended SEGMENT            as postgres: succeeds if the segment is of an earlier timeline
    data-backup status                   as postgres: the newest backups, as JSON
    data-backup check                    as postgres: the same for metrics; fails if one is too old
    data-backup drill                    as postgres: restores into a scratch cluster, and compares it
    data-backup restore [TO] [--force]   as root: restores beside the database; TO is a time in UTC
    data-backup exchange                 as root: puts what was restored in place of the database

In a cluster, `all`, `uploads`, `check` and `drill` do their work on the primary, and nothing on the other hosts.

Provision writes the settings of both programs: /etc/pgbackrest and /etc/data-backup. This needs only Debian's own
Python. The stanza in the repository has the system identifier of its database, and the uploads have it as a tag. So no
other database's backups are taken for these.
"""

import argparse
import configparser
import contextlib
import fcntl
import json
import os
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

SETTINGS = Path("/etc/data-backup")
PGBACKREST = Path("/etc/pgbackrest/pgbackrest.conf")
# What a backup from a standby needs in addition, in a cluster.
STANDBY = Path("/etc/pgbackrest/standby")
# The results of check and drill, for metrics and for everybody.
STATE = Path("/var/lib/data-backup")
STANZA = "main"
DATABASE = "tandem"
# Seconds for a server with nothing to recover to start, and for Patroni to make it the primary.
SECONDS_TO_START = 120
# Patroni's unit, the name of its cluster, and the answers to patronictl before it removes one.
PATRONI, CLUSTER = "patroni", "tandem"
REMOVAL = f"{CLUSTER}\nYes I am aware\n"
# The daily backup's time varies by an hour. The uploads follow hourly, and the check writes to the archive each time.
HOURS_OF_DATABASE, HOURS_OF_UPLOADS, MINUTES_OF_ARCHIVE, DAYS_OF_DRILL = 26, 3, 30, 8
PSQL = ["psql", "--no-psqlrc", "--no-align", "--tuples-only", "--quiet", "--set=ON_ERROR_STOP=1"]

# "schema.table", its rows, and the sum of their hashes, which finds a changed row and does not depend on the order.
TABLES = r"""
SELECT format(
    'SELECT %L, count(*), coalesce(sum((''x'' || left(md5(t::text), 15))::bit(60)::bigint), 0) FROM %I.%I t',
    schemaname || '.' || tablename, schemaname, tablename
) FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1 \gexec
"""
# A commit: recovery to a time needs one that is later, and an idle server has to archive something too. It does not
# wait for a standby.
HEARTBEAT = "SET synchronous_commit = local; SELECT pg_logical_emit_message(true, 'data-backup', 'heartbeat')"
# PostgreSQL logs this if the archive has no commit after TO.
TOO_EARLY = "recovery ended before configured recovery target was reached"


class Failed(Exception):
    """The message that the command ends with."""


class Moved(Exception):
    """Another host became the primary during the command. Its unit does not count as failed then."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="data-backup")
    for_the_primary = {"all": backup, "uploads": uploads, "check": check, "drill": drill}
    commands = {"reach": reach, "status": status}
    others = ("try", "ended", "restore", "exchange")
    parser.add_argument("command", choices=[*commands, *for_the_primary, *others])
    parser.add_argument("to", nargs="?", default="")
    parser.add_argument("--force", action="store_true")
    given = parser.parse_args()
    os.umask(0o077)
    try:
        if (os.geteuid() == 0) != (given.command in ("restore", "exchange")):
            raise Failed("only `restore` and `exchange` are for root; the rest is for postgres")
        if given.command == "try":
            attempt(given.to)
        elif given.command == "ended":
            ended(Path(given.to))
        elif given.command == "restore":
            with alone():
                restore(given.to, given.force)
        elif given.command == "exchange":
            with alone():
                exchange()
        elif given.command in for_the_primary:
            if said := do_on_primary(for_the_primary[given.command]):
                print(said)
        elif said := commands[given.command]():
            print(said)
    except Moved as moved:
        print(f"data-backup: {moved}", file=sys.stderr)
        sys.exit(os.EX_TEMPFAIL)
    except (Failed, OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"data-backup: {error}")


# The programs


def run(command: list[str], **options: Any) -> str:
    """Return what a command prints. Raises Failed with its errors."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    done = subprocess.run(command, text=True, errors="replace", cwd="/", check=False, **pipes)
    if done.returncode:
        said = (done.stderr or done.stdout or "").strip()
        raise Failed(f"{command[0]}: {said or f'ended with {done.returncode}'}")
    return str(done.stdout or "")


def run_as_postgres(command: list[str], **options: Any) -> str:
    who = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
    # Rows are compared as text, so in one time zone.
    return run(command, env=os.environ | {"PGTZ": "UTC", "PGCLIENTENCODING": "UTF8"}, **who, **options)


def sql(statements: str, database: str = "postgres", *where: str) -> str:
    return run_as_postgres([*PSQL, f"--dbname={database}", *where], input=statements).strip()


def pgbackrest(command: str, *options: str) -> str:
    return run_as_postgres(["pgbackrest", f"--stanza={STANZA}", *options, command])


def restic(*words: str) -> str:
    cache = os.environ.get("CACHE_DIRECTORY")
    return run(
        ["restic", *([f"--cache-dir={cache}"] if cache else ["--no-cache"]), *words], env=os.environ | settings()
    )


def settings() -> dict[str, str]:
    """Return restic's environment; UPLOADS, their directory, empty if they are in a bucket; and UNIT, PostgreSQL's."""
    lines = SETTINGS.read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def data_directory() -> Path:
    parser = configparser.RawConfigParser()
    parser.read(PGBACKREST)
    return Path(parser[STANZA]["pg1-path"])


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Wait until no other process backs up or restores. The lock ends with its process."""
    directory = os.open(STATE, os.O_RDONLY)
    fcntl.flock(directory, fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(directory)


# What there is


def read_info() -> dict[str, Any]:
    """Return what pgBackRest has of the stanza. Raises Failed if it cannot be read. An empty repository has no `db`."""
    try:
        # It tries again for several times as long.
        words = ["--io-timeout=5", "--log-level-console=error", "--output=json"]
        said = run_as_postgres(["pgbackrest", f"--stanza={STANZA}", *words, "info"], timeout=120)
    except subprocess.TimeoutExpired:
        raise Failed("BACKUP_URL does not answer: check its host, and the network in between") from None
    # Its messages have line breaks that JSON does not allow.
    [info] = json.loads(said, strict=False)
    message = info["repo"][0]["status"]["message"]
    if info["repo"][0]["status"]["code"] == 99:
        if "FormatError" in message or "CryptoError" in message:
            raise Failed(
                "BACKUP_PASSWORD does not open the backups in BACKUP_URL: should be the one that they were made with"
            )
        raise Failed(f"BACKUP_URL cannot be read: {message.splitlines()[0]}")
    return dict(info)


def backups(info: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the backups of the newest database in the stanza, the newest last."""
    newest = info["db"][-1]["id"] if info["db"] else None
    return [each for each in info["backup"] if each["database"]["id"] == newest and not each["error"]]


def system_of(info: dict[str, Any]) -> str:
    return str(info["db"][-1]["system-id"]) if info["db"] else ""


def system_here() -> str:
    return sql("SELECT system_identifier FROM pg_control_system()")


def snapshots(system: str) -> list[tuple[float, str]]:
    """Return time and id of each snapshot of the uploads that are of a database, the newest last."""
    found = json.loads(restic("snapshots", "--json", "--no-lock", f"--tag={system}"))
    # restic writes nine digits of a second, and the host's time zone, which is UTC.
    return sorted((datetime.fromisoformat(each["time"][:19] + "+00:00").timestamp(), each["id"]) for each in found)


def shown(timestamp: float) -> str:
    return f"{datetime.fromtimestamp(timestamp, UTC):%Y-%m-%d %H:%M:%S} UTC"


def read_status() -> dict[str, Any]:
    """Return timestamps: of the newest backup of the database and of the uploads, the archive's end, the last drill."""
    if is_standby():
        return {}
    info = read_info()
    system, here = system_of(info), system_here()
    state: dict[str, Any] = {"foreign": bool(system) and system != here}
    if found := [] if state["foreign"] else backups(info):
        state["database"] = found[-1]["timestamp"]["stop"]
        state["bytes"] = found[-1]["info"]["repository"]["size"]
        archived = sql("SELECT extract(epoch FROM last_archived_time)::bigint FROM pg_stat_archiver")
        state |= {"archive": int(archived)} if archived else {}
    if settings()["UPLOADS"] and (kept := snapshots(here)):
        state["uploads"] = kept[-1][0]
    if (drilled := STATE / "drilled").exists():
        state["drill"] = drilled.stat().st_mtime
    return state


def attempt(file: str) -> None:
    os.environ["PGBACKREST_CONFIG"] = file
    read_info()


def ended(segment: Path) -> None:
    """Raise Failed unless the directory of a segment of WAL has the history of a later timeline.

    When another host becomes the primary, a standby has a part of the timeline's last segment. The former primary
    archives the whole segment when it returns. If the standby becomes the primary later, PostgreSQL archives the part
    too, before it deletes it. A recovery needs neither: the next timeline begins with a copy.
    """
    if not any(history.stem > segment.name[:8] for history in segment.parent.glob("*.history")):
        raise Failed(f"The archive has another {segment.name}")


def reach() -> str:
    if is_standby():
        return "standby"
    info = read_info()
    system = system_of(info)
    return "foreign" if system and system != system_here() else "" if backups(info) else "new"


def status() -> str:
    return json.dumps(read_status())


def check() -> str:
    """Write the status for metrics. Raises Failed with everything that is too old or missing."""
    sql(HEARTBEAT)
    if is_due(read_info()):
        print(backup(), flush=True)
    state = read_status()
    partial = STATE / "state.json.new"
    partial.write_text(json.dumps(state))
    partial.chmod(0o644)
    partial.rename(STATE / "state.json")
    if state["foreign"]:
        raise Failed(
            "BACKUP_URL has the backups of another database: `make restore` brings it here, or choose another prefix"
        )
    limits = {"database": HOURS_OF_DATABASE * 3600, "archive": MINUTES_OF_ARCHIVE * 60}
    limits |= {"uploads": HOURS_OF_UPLOADS * 3600} if settings()["UPLOADS"] else {}
    # The first drill comes within a week.
    limits |= {"drill": DAYS_OF_DRILL * 86400} if "drill" in state else {}
    now = time.time()
    old = [f"{name}: the newest is of {shown(state[name])}" if name in state else f"{name}: there is none"
           for name, seconds in limits.items() if now - state.get(name, 0) > seconds]  # fmt: skip
    if old:
        raise Failed("too old: " + "; ".join(old))
    return "All backups are new enough"


# Backup


def do_on_primary(work: Callable[[], str]) -> str:
    """Do the work, or nothing on a standby. Raises Moved if it fails because another host became the primary."""
    if is_standby(SECONDS_TO_START):
        return stand_by()
    try:
        return work()
    except Failed as error:
        with contextlib.suppress(Failed):
            if settings()["UNIT"] == PATRONI and is_standby(SECONDS_TO_START):
                stand_by()
                raise Moved(f"{error}\nAnother host became the primary, and makes the next backup") from error
        raise


def stand_by() -> str:
    """Remove the results of when this host was the primary: metrics would go on with their age."""
    for name in ("state.json", "drilled"):
        (STATE / name).unlink(missing_ok=True)
    return "Nothing to do: this host is a standby, and the primary makes the backups"


def is_due(info: dict[str, Any]) -> bool:
    """Return whether a new primary has to make a backup that no timer makes in time.

    Its timer may have gone off when it was a standby. And if the former primary was lost before it archived its last
    segments, no older backup can be recovered beyond them.
    """
    found = backups(info)
    if not found or system_of(info) != system_here():
        return False
    timeline = sql("SELECT left(pg_walfile_name(pg_current_wal_lsn()), 8)")
    is_old = time.time() - found[-1]["timestamp"]["stop"] > HOURS_OF_DATABASE * 3600
    return is_old or not found[-1]["archive"]["stop"].startswith(timeline)


def backup() -> str:
    """Make a full backup if the newest is a week old, else an increment. pgBackRest then deletes what has expired."""
    with alone():
        full = [each["timestamp"]["stop"] for each in backups(read_info()) if each["type"] == "full"]
        # Less than seven days, because the time of the daily backup varies.
        kind = "incr" if full and time.time() - full[-1] < 6.5 * 86400 else "full"
        copy_database(kind)
        sql(HEARTBEAT)
        copy_uploads()
        if settings()["UPLOADS"]:
            days = settings()["DAYS"]
            restic("forget", f"--tag={system_here()}", "--group-by=tags", f"--keep-within={days}d", "--prune")
    newest = backups(read_info())[-1]
    size, new = newest["info"]["size"], newest["info"]["repository"]["delta"]
    return f"{newest['label']}: {size / 1e6:,.1f} MB, {new / 1e6:,.1f} MB new"


def copy_database(kind: str) -> None:
    """In a cluster, read the files from a standby, so that the primary's disk is free. Without one, read them here."""
    if STANDBY.exists():
        try:
            pgbackrest("backup", f"--type={kind}", f"--config-include-path={STANDBY}")
        except Failed as error:
            print(f"No standby can be read, so the primary is: {error}", flush=True)
        else:
            return
    pgbackrest("backup", f"--type={kind}")


def uploads() -> str:
    with alone():
        copy_uploads()
    return ""


def copy_uploads() -> None:
    """A file is written before the row that names it. So a copy after the database's has the files of all its rows."""
    if directory := settings()["UPLOADS"]:
        restic("backup", "--quiet", "--host=data", f"--tag={system_here()}", directory)


# Restore


def read_time(to: str) -> float:
    """Return the seconds since 1970 of a time in the past, in UTC without an offset. Raises Failed."""
    try:
        moment = datetime.fromisoformat(to)
    except ValueError:
        raise Failed(f"TO is {to!r}: should be a time in UTC, for example '2026-11-29 12:00'") from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    if moment.timestamp() > time.time():
        raise Failed(f"TO is {to!r}: should be in the past; it is {shown(time.time())} now")
    return moment.timestamp()


def choose(info: dict[str, Any], to: str) -> tuple[dict[str, Any], float]:
    """Return the backup to start from, and the time to recover to, 0 for the newest. Raises Failed."""
    wanted = read_time(to) if to else 0
    found = backups(info)
    if not found:
        raise Failed("BACKUP_URL has no backup of a database: check its prefix")
    before = [each for each in found if not wanted or each["timestamp"]["stop"] <= wanted]
    if not before:
        raise Failed(f"TO is {to!r}: the first backup is of {shown(found[0]['timestamp']['stop'])}")
    return before[-1], wanted


def check_space(directory: Path, needed: int) -> None:
    free = shutil.disk_usage(directory).free
    if free < needed * 1.1:
        raise Failed(
            f"{directory} has {free / 1e9:,.1f} GB free: the restored database needs {needed * 1.1 / 1e9:,.1f} GB"
        )


def check_version(info: dict[str, Any], data: Path) -> None:
    made, here = info["db"][-1]["version"], data.parent.name
    if made != here:
        raise Failed(f"The backups are of PostgreSQL {made}, and this host has {here}: should be the same")


def is_primary(*where: str) -> bool:
    """Return whether PostgreSQL runs and accepts writes."""
    with contextlib.suppress(Failed):
        return sql("SELECT pg_is_in_recovery()", "postgres", *where) == "f"
    return False


def is_standby(within: float = 0) -> bool:
    """Return whether another host of the cluster is the primary. Raises Failed if PostgreSQL does not start in time."""
    deadline = time.monotonic() + within
    while True:
        try:
            return sql("SELECT pg_is_in_recovery()") == "t"
        except Failed:
            # It starts after a boot or a failover.
            if time.monotonic() >= deadline:
                raise
        time.sleep(1)


def check_not_live() -> None:
    if not is_primary():
        raise Failed("No primary runs here, so nobody knows what it has. FORCE=yes replaces it")
    exists = sql(f"SELECT 1 FROM pg_database WHERE datname = '{DATABASE}'")  # noqa: S608
    rows = sum(int(line.split("|")[1]) for line in (sql(TABLES, DATABASE).splitlines() if exists else []))
    if rows:
        raise Failed(f"The database is live: {rows} rows. Nothing was restored; FORCE=yes replaces it")


def directories() -> tuple[Path, Path, Path]:
    """Return the directories of the database, of what is restored beside it, and of what that replaces."""
    data = data_directory()
    return data, data.with_name(f"{data.name}.restored"), data.with_name(f"{data.name}.replaced")


def restore(to: str, force: bool) -> None:
    """Restore beside the database, and recover there. What exchange() replaced before is deleted."""
    info = read_info()
    chosen, wanted = choose(info, to)
    data, fresh, replaced = directories()
    check_version(info, data)
    if not force:
        check_not_live()
    for left_behind in (fresh, replaced):
        shutil.rmtree(left_behind, ignore_errors=True)
    check_space(data.parent, chosen["info"]["size"])
    if is_primary() and system_here() == system_of(info):
        # Everything until now is in the archive after this.
        sql(HEARTBEAT)
        pgbackrest("check")
    print(f"{chosen['label']}, then the archive until {shown(wanted) if wanted else 'its end'}", flush=True)
    try:
        fetch(fresh, chosen["label"], *until(wanted))
        with recovered(fresh):
            pass
        # It did not archive. The server that runs in its place does, but takes no history for its own that it finds.
        history = max((fresh / "pg_wal").glob("*.history"))
        run_as_postgres(["touch", str(fresh / f"pg_wal/archive_status/{history.name}.ready")])
        restore_uploads(system_of(info), wanted)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise


def until(wanted: float) -> list[str]:
    """Return pgBackRest's options to recover until a time, 0 for the end of the archive."""
    target = f"--target={datetime.fromtimestamp(wanted, UTC).isoformat(sep=' ')}"
    return ["--type=time", target, "--target-action=promote"] if wanted else []


def fetch(directory: Path, label: str, *options: str) -> None:
    """Get a backup's files, and the settings to recover with."""
    run_as_postgres(["mkdir", "--mode=700", str(directory)])
    pgbackrest("restore", f"--pg1-path={directory}", f"--set={label}", *options)


@contextlib.contextmanager
def recovered(directory: Path) -> Iterator[str]:
    """Run PostgreSQL on restored files for the block, without this server's settings. Yield psql's option for it."""
    pg_ctl = [f"/usr/lib/postgresql/{data_directory().parent.name}/bin/pg_ctl", f"--pgdata={directory}", "--wait"]
    hba, log, where = directory / "alone.conf", directory / "alone.log", f"--host={directory}"
    run_as_postgres(["tee", str(hba)], input="local all all trust\n")
    # The unit forbids what JIT needs. Standby queries would need as many connections as the live server has.
    own = {"config_file": "/dev/null", "hba_file": hba, "listen_addresses": "", "unix_socket_directories": directory}
    own |= {"archive_mode": "off", "hot_standby": "off", "jit": "off"}
    options = " ".join(f"-c {name}='{value}'" for name, value in own.items())
    start = [*pg_ctl, f"--log={log}", "--timeout=86400", f"--options={options}", "start"]
    try:
        # pg_ctl does not wait for a recovery without standby queries, and fails if it ends too early.
        with contextlib.suppress(Failed):
            run_as_postgres(start, stdout=subprocess.DEVNULL)
        while not is_primary(where):
            if not (directory / "postmaster.pid").exists():
                recover_to_the_end(directory, log)
                run_as_postgres(start, stdout=subprocess.DEVNULL)
            time.sleep(0.5)
        yield where
        # Its paths and the time are of this recovery alone.
        names = ("restore_command", "recovery_target_time", "recovery_target_action")
        sql("".join(f"ALTER SYSTEM RESET {name};\n" for name in names), "postgres", where)
    finally:
        with contextlib.suppress(Failed):
            run_as_postgres([*pg_ctl, "--mode=fast", "stop"])
        for file in (hba, log):
            file.unlink(missing_ok=True)


def recover_to_the_end(directory: Path, log: Path) -> None:
    """Let a recovery that ended before TO end there. Raises Failed, with the end of its log, if it failed."""
    said = log.read_text(errors="replace") if log.exists() else ""
    if TOO_EARLY not in said:
        raise Failed("\n".join(["The restored files do not recover:", *said.splitlines()[-10:]]))
    # No later commit is in the archive, so its end is the state at that time.
    print("The archive ends before TO: its end is what is restored", flush=True)
    with (directory / "postgresql.auto.conf").open("a") as file:
        file.write("recovery_target_time = ''\n")
    log.unlink()


def exchange() -> None:
    """Start PostgreSQL on what restore() recovered, or else again on the previous files. Raises Failed in this case.

    Patroni has to be stopped on the other hosts of a cluster.
    """
    data, fresh, replaced = directories()
    unit = settings()["UNIT"]
    if not fresh.exists():
        raise Failed(f"{fresh} does not exist: `restore` makes it")
    if unit == PATRONI and not is_primary():
        # The archive has its timeline, which the restored database would write too.
        raise Failed("Another host became the primary. Nothing was restored: run this again")
    run(["systemctl", "stop", unit])
    data.rename(replaced)
    fresh.rename(data)
    try:
        start(unit)
    except BaseException:
        run(["systemctl", "stop", unit])
        data.rename(fresh)
        replaced.rename(data)
        run(["systemctl", "start", unit])
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    run(["systemctl", "start", "--no-block", "tandem-backup@all.service"])
    print(f"In place. What was there is {replaced}, until the next restore")


def start(unit: str) -> None:
    """Start PostgreSQL. Return when it accepts writes."""
    if unit == PATRONI:
        # etcd describes the previous data. Without it, Patroni starts as in a new cluster:
        # https://patroni.readthedocs.io/en/latest/existing_data.html
        run(["patronictl", "--config-file", "/etc/patroni/config.yml", "remove", CLUSTER], input=REMOVAL)
    deadline = time.monotonic() + SECONDS_TO_START
    run(["systemctl", "start", unit])
    while not is_primary():
        if time.monotonic() > deadline:
            raise Failed(
                "PostgreSQL does not start on the restored files. The database is the one from before. "
                f"journalctl --unit={unit} says why"
            )
        time.sleep(0.5)


def restore_uploads(system: str, wanted: float) -> None:
    """Restore the newest files, or those of the last copy before a time and of the first after it. Others stay.

    Their names are random, so a file that is left over replaces none.
    """
    directory = settings()["UPLOADS"]
    found = snapshots(system) if directory else []
    chosen = found[-1:]
    if wanted:
        chosen = [each for each in found if each[0] <= wanted][-1:] + [each for each in found if each[0] > wanted][:1]
    kept = {path: access(path) for path in (Path(directory), *Path(directory).parents)} if chosen else {}
    try:
        for made, snapshot in chosen:
            restic("restore", snapshot, "--target=/", f"--include={directory}")
            print(f"Uploads of {shown(made)}", flush=True)
    finally:
        # restic also restores the directories above, as the backup's unit sees them: root's, and open to everybody.
        for path, (user, group, mode) in kept.items():
            if access(path) != (user, group, mode):
                os.chown(path, user, group)
                path.chmod(mode)
    # restic restores numbers, and another host may have other ones.
    for path in Path(directory).rglob("*") if chosen else ():
        os.chown(path, *kept[Path(directory)][:2], follow_symlinks=False)


def access(path: Path) -> tuple[int, int, int]:
    """Return a path's user, group and mode."""
    found = path.stat()
    return found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)


# The drill


def drill() -> str:
    """Restore the newest backup and the archive into a scratch cluster, and compare its tables with the live ones.

    Of a table that changes during the drill, only the presence is checked: its rows at the restored time are unknown.
    """
    info = read_info()
    chosen, _ = choose(info, "")
    data, started = data_directory(), time.monotonic()
    scratch = data.with_name("drill")
    shutil.rmtree(scratch, ignore_errors=True)
    check_space(data.parent, chosen["info"]["size"])
    name = f"drill {time.time()}"
    before = sql(TABLES, DATABASE)
    sql(f"SELECT pg_create_restore_point('{name}')")
    after = sql(TABLES, DATABASE)
    pgbackrest("check")
    try:
        fetch(scratch, chosen["label"], "--type=name", f"--target={name}", "--target-action=promote")
        with recovered(scratch) as where:
            good = compare(before, after, sql(TABLES, DATABASE, where))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    if settings()["UPLOADS"]:
        drill_uploads(system_of(info))
    if not good:
        raise Failed(f"{chosen['label']}: the restored data differs")
    (STATE / "drilled").touch()
    return f"{chosen['label']} and the archive restored in {time.monotonic() - started:.1f} s"


def drill_uploads(system: str) -> None:
    """Check the repository of the uploads, and the content of a tenth of it, another one each time."""
    kept = snapshots(system)
    if not kept:
        raise Failed("There is no backup of the uploads")
    restic("check", "--read-data-subset=10%")
    print(f"Uploads of {shown(kept[-1][0])}: complete, and a tenth of the content is as it was")


def compare(before: str, after: str, restored: str) -> bool:
    """Print a line for each table. Return whether all are as they were."""
    lists = [{name: (count, total) for name, count, total in (line.rsplit("|", 2) for line in each.splitlines())}
             for each in (before, after, restored)]  # fmt: skip
    then, later, now = lists
    names = sorted(then.keys() | later.keys() | now.keys())
    width = max(map(len, ("table", *names)))
    print(f"{'table':{width}}  rows now  rows restored")
    good = bool(names)
    for name in names:
        moved = then.get(name) != later.get(name)
        same = name in now and (moved or now[name] == then.get(name))
        good &= same
        verdict = "DIFFERENT" if not same else "changes meanwhile" if moved else "same"
        print(f"{name:{width}}  {later.get(name, '-')[0]:>8}  {now.get(name, '-')[0]:>13}  {verdict}")
    return good


if __name__ == "__main__":
    main()
