"""Which instances nginx sends requests to: the instances in rotation.

nginx reaches an instance through `upstream/<instance>`, a symbolic link to the directory of the sockets. The link is
the switch. Without it nginx finds no socket, has sent nothing, and tries the next server, for a POST too. Requests in
the instance's own queue are still served. Nothing is reloaded: a reload closes idle client connections on which a
request may be arriving, and cuts the watchers of every instance later.
"""

from pathlib import Path


def take_out_of_rotation(run: Path, instance: str) -> None:
    """Stop nginx from sending new requests to an instance."""
    (run / "upstream" / instance).unlink(missing_ok=True)


def put_in_rotation(run: Path, instance: str) -> None:
    link = run / "upstream" / instance
    if not link.is_symlink():
        link.parent.mkdir(exist_ok=True)
        link.symlink_to("..")


def is_in_rotation(run: Path, instance: str) -> bool:
    return (run / "upstream" / instance).is_symlink()
