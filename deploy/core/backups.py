"""BACKUP_URL, where backups are kept: as pgBackRest and as restic read it. Standard library only."""

import re
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

# No app gets these.
SETTINGS = frozenset(("BACKUP_URL", "BACKUP_PASSWORD", "BACKUP_DAYS"))
SHAPE = "s3://key:secret@host/bucket/prefix?region=name, or file:///directory"


class Place(NamedTuple):
    """A directory, or a prefix in a bucket. `bucket` is empty for a directory. `path` begins with a slash."""

    path: str
    bucket: str = ""
    host: str = ""
    key: str = ""
    secret: str = ""
    region: str = ""


def parse(url: str) -> Place | None:
    """Return where BACKUP_URL is; None if it is malformed. In key and secret, / and + are %2F and %2B."""
    try:
        parts = urlsplit(url)
        region = parse_qs(parts.query).get("region", ["us-east-1"])[0]
        wrong_port = parts.port == 0
    except ValueError:
        return None
    # pgBackRest's and systemd's files have one value in a line.
    if wrong_port or not re.fullmatch(r"(/[\w.+@-]+)+", parts.path.rstrip("/")):
        return None
    path = parts.path.rstrip("/")
    if parts.scheme == "file":
        return Place(path) if not parts.netloc and not parts.query else None
    bucket, _, prefix = path[1:].partition("/")
    key, secret = (unquote(part or "") for part in (parts.username, parts.password))
    host = parts.netloc.rpartition("@")[2]
    well_formed = re.fullmatch(r"[\w.-]{3,63}", bucket) and all(re.fullmatch(r"[\x21-\x7e]+", text) for text in (
        key, secret, host, region))  # fmt: skip
    return (
        Place(f"/{prefix}".rstrip("/"), bucket, host, key, secret, region)
        if parts.scheme == "s3" and well_formed
        else None
    )


def faults(variables: Mapping[str, str]) -> list[str]:
    """Return a line for each malformed setting. It never has a value of a secret."""
    url, password, days = (variables.get(name, "") for name in ("BACKUP_URL", "BACKUP_PASSWORD", "BACKUP_DAYS"))
    found = []
    if url and not parse(url):
        found.append(f"BACKUP_URL should be {SHAPE}; or empty")
    if password and not re.fullmatch(r"[\w.+/=-]{16,}", password, re.A):
        found.append("BACKUP_PASSWORD should have 16 or more of A-Z, a-z, 0-9 and _.+/=-")
    if days and not re.fullmatch(r"[1-9]\d{0,3}", days):
        found.append(f"BACKUP_DAYS is {days[:20]!r}: should be a number of days from 1 to 9999")
    return found


def pgbackrest_options(url: str, password: str, days: int | str, authorities: str) -> dict[str, str]:
    """Return the options of pgBackRest for its repository. `authorities` is a file to trust; empty for the system's."""
    place = parse(url)
    assert place
    options = {
        "repo1-path": f"{place.path}/postgresql",
        "repo1-cipher-type": "aes-256-cbc",
        "repo1-cipher-pass": password,
        # A full backup expires when a newer one is this old, and its increments and archive with it.
        "repo1-retention-full-type": "time",
        "repo1-retention-full": str(days),
    }
    if place.bucket:
        options |= {
            "repo1-type": "s3",
            "repo1-s3-bucket": place.bucket,
            "repo1-s3-endpoint": place.host,
            "repo1-s3-region": place.region,
            "repo1-s3-key": place.key,
            "repo1-s3-key-secret": place.secret,
            # Every storage has this one. With the other, a bucket is a host name of its own.
            "repo1-s3-uri-style": "path",
        }
        options |= {"repo1-storage-ca-file": authorities} if authorities else {}
    return options


def restic_environment(url: str, password: str, authorities: str) -> dict[str, str]:
    """Return the environment of restic for its repository, beside that of pgBackRest."""
    place = parse(url)
    assert place
    environment = {"RESTIC_PASSWORD": password, "RESTIC_REPOSITORY": f"{place.path}/restic"}
    if place.bucket:
        environment |= {
            "RESTIC_REPOSITORY": f"s3:https://{place.host}/{place.bucket}{place.path}/restic",
            "AWS_ACCESS_KEY_ID": place.key,
            "AWS_SECRET_ACCESS_KEY": place.secret,
            "AWS_DEFAULT_REGION": place.region,
        }
        environment |= {"SSL_CERT_FILE": authorities} if authorities else {}
    return environment
