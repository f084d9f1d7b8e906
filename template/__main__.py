"""`make new`: start a project from the commit that is checked out here. copier.yml has the questions."""

import argparse
import contextlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from deploy.core.console import Failed, guard_output, step
from deploy.core.environment import chosen
from deploy.core.settings import PATH, PROJECT, names
from make.versions import ANSWERS, run

QUESTIONS = ("name", "domain", "apps", "sample", "proof")
NO_DEFAULT = ("name", "domain")
# What git does here is the template's: none of the caller's hooks, signatures, ignored files and line ends.
OURS = {
    "core.hooksPath": os.devnull,
    "core.excludesFile": os.devnull,
    "core.autocrlf": "false",
    "core.safecrlf": "false",
    "commit.gpgSign": "false",
    "commit.template": "",
}


def git_environment() -> dict[str, str]:
    """Return the variables with which every git below this process has OURS (git-config(1))."""
    pairs = {
        f"GIT_CONFIG_{what}_{n}": word
        for n, pair in enumerate(OURS.items())
        for what, word in zip(("KEY", "VALUE"), pair, strict=True)
    }
    return pairs | {"GIT_CONFIG_COUNT": str(len(OURS))}


def git(folder: Path, *words: str) -> str:
    """Return git's output. Raises Failed with its error message."""
    return run("git", *words, folder=folder)


def choose_folder(folder: str) -> Path:
    """Return the project's directory. Raises Failed unless it is new or empty."""
    if not folder and sys.stdin.isatty():
        folder = input("Folder of the project, for example ../corner-shop: ").strip()
    path = Path(folder).expanduser().resolve()
    if not folder:
        raise Failed("FOLDER is missing: name a new directory, for example ../corner-shop")
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise Failed(f"FOLDER is {folder}, which exists: name a new directory")
    if not re.fullmatch(PATH, str(path)):
        raise Failed(
            f"FOLDER is {folder}: use letters, digits, and . _ - + @ alone in its path, as `make up` needs it there"
        )
    if path.is_relative_to(PROJECT):
        raise Failed(f"FOLDER is {folder}, in this repository: name a directory beside it, for example ../corner-shop")
    return path


def new(folder: str, answers: Mapping[str, str]) -> None:
    if not (PROJECT / ".git").exists():
        raise Failed(
            f"{PROJECT} has no history, as an archive has none: a project gets the files of a commit.\n"
            "Clone the repository with git, or, without updates: git init && git add --all && git commit -m Archive"
        )
    if changed := git(PROJECT, "status", "--porcelain"):
        raise Failed(f"{PROJECT} has uncommitted changes. Commit them first:\n{changed}")
    path = choose_folder(folder)
    given = {name: answer for name, answer in answers.items() if answer}
    missing = [name.upper() for name in NO_DEFAULT if name not in given]
    if missing and not sys.stdin.isatty():
        raise Failed(f"{', '.join(missing)}: missing, and there is no terminal to prompt for it")
    began, was_there = time.monotonic(), path.exists()
    try:
        write(path, given)
    except BaseException:
        if path.exists():
            shutil.rmtree(path)
        if was_there:
            path.mkdir()
        raise
    print(f"\nDone in {time.monotonic() - began:.1f} s.\n\n  cd {shlex.quote(os.path.relpath(path))} && make up")


def write(path: Path, given: Mapping[str, str]) -> None:
    # Here, because Copier's git has the environment that it was imported in.
    import copier
    from copier.errors import CopierError, TaskError
    from plumbum import ProcessExecutionError

    print(f"New project in {path}", flush=True)
    try:
        # unsafe: allows the task, which is this repository's own.
        copier.run_copy(
            str(PROJECT), path, dict(given), vcs_ref="HEAD", unsafe=True, quiet=True, defaults=not sys.stdin.isatty()
        )
    except TaskError:
        raise Failed("The project was not made. The lines above say why") from None
    except ProcessExecutionError as error:
        raise Failed(f"{' '.join(map(str, error.argv))} failed:\n{error.stderr}") from None
    except (CopierError, ValueError) as error:
        raise Failed(re.sub(r"^Validation error for question '(\w+)': ", "", str(error))) from None
    set_source(path)
    git(path, "init", "--quiet", "--initial-branch=main")
    git(path, "add", "--all")
    check(path)
    with step("secrets, in .env, which git ignores"):
        own = {name: value for name, value in os.environ.items() if name not in ("ENV_FILE", "VAR_DIR", *names())}
        make = "from deploy.core.settings import make_env_file; make_env_file()"
        subprocess.run([sys.executable, "-c", make], cwd=path, env=own, stdout=subprocess.DEVNULL, check=True)
    git(path, *identity(path), "commit", "--quiet", "--message=Start from the template")
    print("  ✓ git, with one commit")


def identity(path: Path) -> list[str]:
    """Return git options with the project's name as the author, if git has no author set."""
    try:
        git(path, "var", "GIT_AUTHOR_IDENT")
        return []
    except Failed:
        answers = dict(re.findall(r"(?m)^(\w+): (.*)$", (path / ANSWERS).read_text()))
        return ["-c", f"user.name={answers['name']}", "-c", f"user.email=git@{answers['domain']}"]


def set_source(path: Path) -> None:
    """Make updates come from this repository's origin, if it has one."""
    with contextlib.suppress(Failed):
        origin, answers = git(PROJECT, "remote", "get-url", "origin"), path / ANSWERS
        answers.write_text(re.sub("(?m)^_src_path: .*$", f"_src_path: {origin}", answers.read_text()))


def check(path: Path) -> None:
    """Raises Failed with the lines and files of a project that still have this repository's name."""
    files = git(path, "ls-files").splitlines()
    found = [file for file in files if "tandem" in file.lower()]
    grep = ["git", "grep", "--cached", "--ignore-case", "--line-number", "-I", "tandem", "--", ".", f":!{ANSWERS}"]
    done = subprocess.run(grep, cwd=path, capture_output=True, text=True, check=False)
    found += done.stdout.splitlines()
    if found or done.returncode != 1:
        raise Failed("\n".join(["still named Tandem:", *found, done.stderr]))
    print(f"  ✓ {len(files)} files, none named Tandem", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="make", description=__doc__)
    parser.add_argument("command", choices=["new", "check-rename"])
    for option in ("folder", *QUESTIONS):
        # make puts its variables in the environment. On a command line, a shell would read the quotes in them.
        parser.add_argument(f"--{option}", default=os.environ.get(option.upper(), ""))
    given = parser.parse_args()
    own = chosen() | git_environment()
    os.environ.clear()
    os.environ.update(own)
    guard_output()
    try:
        if given.command == "new":
            new(given.folder, {name: getattr(given, name) for name in QUESTIONS})
        elif given.folder and Path(given.folder).is_dir():
            check(Path(given.folder))
        else:
            raise Failed(f"FOLDER is {given.folder!r}: name a project's directory, for example ../corner-shop")
    except Failed as failed:
        raise SystemExit(f"\n✗ {failed}") from None
    except KeyboardInterrupt:
        raise SystemExit("\nInterrupted. Nothing was left behind.") from None


if __name__ == "__main__":
    main()
