"""Whose the stack on this machine is, and how root acts as that user. Standard library only."""

import os
import pwd
import subprocess
from pathlib import Path

from deploy.core.console import Failed
from deploy.core.environment import home_of, is_writable
from deploy.core.settings import PROJECT, VAR, make_directory

# The user of root's own stack: a server that faces the world must not be root.
NOBODY = "www-data"


def owner_of_stack() -> tuple[int, int]:
    """Return the user and the group of the stack: the owner of its files, else of the project, else www-data."""
    for path in (VAR, PROJECT):
        if path.exists() and path.stat().st_uid:
            return path.stat().st_uid, path.stat().st_gid
    account = pwd.getpwnam(NOBODY)
    return account.pw_uid, account.pw_gid


def become(user: int, group: int) -> None:
    try:
        os.initgroups(pwd.getpwuid(user).pw_name, group)
    except KeyError:
        os.setgroups([])
    os.setgid(group)
    os.setuid(user)
    home = home_of(user)
    # www-data's home is not its own.
    os.environ["HOME"] = home if is_writable(home) else str(VAR)


def act_as_owner_of_project() -> None:
    """As root in a project of another user, go on as that user, who could not change files of root there."""
    user, group = owner_of_stack()
    if os.geteuid() == 0 and user == PROJECT.stat().st_uid:
        print(f"  · going on as {name_of(user)}, whose project this is", flush=True)
        become(user, group)


def act_as_owner() -> None:
    """As root, go on as the stack's owner. Nothing changes on disk. Raises Failed if it may not read the code."""
    if os.geteuid() == 0:
        check_readable(PROJECT / "deploy/cli.py", PROJECT / ".venv/bin", VAR, Path(os.__file__))
        become(*owner_of_stack())


def take_over() -> None:
    """As root, give the stack's owner all of its files, also those that root's commands left, and go on as it."""
    if os.geteuid() != 0:
        return
    user, group = owner_of_stack()
    make_directory(VAR)
    for path in [VAR, *VAR.rglob("*")]:
        if path.lstat().st_uid != user:
            os.chown(path, user, group, follow_symlinks=False)
    act_as_owner()


def check_readable(*paths: Path) -> None:
    """As root, check that the stack's owner may read files and directories. Raises Failed with the command for it."""
    user, group = owner_of_stack()
    for path in filter(os.path.lexists, paths if os.geteuid() == 0 else ()):
        for part in (*reversed(path.parents), path):
            needed = ["-x"] if part.is_dir() else ["-r"]
            # The shell's own test, as that user.
            done = subprocess.run(["test", *needed, part], user=user, group=group, extra_groups=[], check=False)
            if done.returncode:
                said = f"When root starts this stack, it runs as {name_of(user)}, which may not read {part}.\nAs root: "
                if part == path and path.is_file():
                    raise Failed(f"{said}chgrp {group} {part} && chmod g+r {part}")
                open_to = PROJECT if part.is_relative_to(PROJECT) else part
                raise Failed(
                    f"{said}chmod -R go+rX {open_to}\nOr run this as an ordinary user, in a clone of their own."
                )


def name_of(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)
