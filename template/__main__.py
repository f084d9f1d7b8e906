"""`make new`: a project of one's own, from the commit that is checked out here. copier.yml has its questions."""

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import copier
import yaml
from copier.errors import CopierError, TaskError

from deploy.env import PROJECT
from deploy.terminal import Failed, step

# Where a project comes from is in it, and that may be called so.
ANSWERS = ".copier-answers.yml"


def git(folder: Path, *words: str) -> str:
    """Its output; raises Failed with what it says."""
    done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(f"git {words[0]}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout.strip()


def check_clean() -> None:
    if changed := git(PROJECT, "status", "--porcelain"):
        raise Failed(f"{PROJECT} has changes that are not committed, and no update could begin from them:\n{changed}")


def choose(folder: str) -> Path:
    """The directory of the project; raises Failed unless it is new, or empty."""
    if not folder and sys.stdin.isatty():
        folder = input("Folder for it, as ../corner-shop: ").strip()
    path = Path(folder).expanduser().resolve()
    if not folder:
        raise Failed("FOLDER is missing: it should be a directory that is not there yet, as ../corner-shop")
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise Failed(f"FOLDER is {folder}, which exists: it should be a directory that is not there yet")
    if path.is_relative_to(PROJECT):
        raise Failed(f"FOLDER is {folder}, in this repository: it should be a directory beside it, as ../corner-shop")
    return path


def new(folder: str, answers: Mapping[str, str]) -> None:
    check_clean()
    path = choose(folder)
    given = {name: answer for name, answer in answers.items() if answer}
    missing = [name.upper() for name in answers if name not in given]
    if missing and not sys.stdin.isatty():
        raise Failed(f"{', '.join(missing)}: missing, and there is no terminal to ask at")
    began, was_there = time.monotonic(), path.exists()
    try:
        write(path, given)
    except BaseException:
        if path.exists():
            shutil.rmtree(path)
        if was_there:
            path.mkdir()
        raise
    print(f"\nDone in {time.monotonic() - began:.1f} s.\n\n  cd {os.path.relpath(path)} && make up")


def write(path: Path, given: Mapping[str, str]) -> None:
    print(f"A new project, in {path}", flush=True)
    try:
        # Unsafe: it may run tasks, which are this repository's own.
        copier.run_copy(str(PROJECT), path, data=dict(given), vcs_ref="HEAD", unsafe=True, quiet=True)
    except TaskError:
        raise Failed("nothing was made: see above") from None
    except (CopierError, ValueError) as error:
        raise Failed(re.sub(r"^Validation error for question '(\w+)': ", "", str(error))) from None
    come_from(path)
    print("  ✓ written", flush=True)
    git(path, "init", "--quiet", "--initial-branch=main")
    git(path, "add", "--all")
    check(path)
    with step("secrets, in .env, which is in no commit"):
        own = {name: value for name, value in os.environ.items() if name not in ("ENV_FILE", "VAR_DIR")}
        make = "from deploy.env import make_env_file; make_env_file()"
        subprocess.run([sys.executable, "-c", make], cwd=path, env=own, check=True)
    git(path, *committer(path), "commit", "--quiet", "--message=A project, from its template")
    print("  ✓ git, with one commit")


def committer(path: Path) -> list[str]:
    """Options that say whose the commit is: the project's own, where git does not know."""
    try:
        git(path, "var", "GIT_AUTHOR_IDENT")
        return []
    except Failed:
        answers = yaml.safe_load((path / ANSWERS).read_text())
        return ["-c", f"user.name={answers['name']}", "-c", f"user.email=git@{answers['domain']}"]


def come_from(path: Path) -> None:
    """Its updates come from where this repository does."""
    try:
        origin = git(PROJECT, "remote", "get-url", "origin")
    except Failed:
        return
    answers = path / ANSWERS
    answers.write_text(re.sub("(?m)^_src_path: .*$", f"_src_path: {origin}", answers.read_text()))


def check(path: Path) -> None:
    """Raises Failed with the lines and files of a project that have this repository's name."""
    files = git(path, "ls-files").splitlines()
    found = [file for file in files if "tandem" in file.lower()]
    grep = ["git", "grep", "--cached", "--ignore-case", "--line-number", "-I", "tandem", "--", ".", f":!{ANSWERS}"]
    done = subprocess.run(grep, cwd=path, capture_output=True, text=True, check=False)
    found += done.stdout.splitlines()
    if found or done.returncode != 1:
        raise Failed("\n".join(["called Tandem still:", *found, done.stderr]))
    print(f"  ✓ nothing in its {len(files)} files is called Tandem", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="make", description=__doc__)
    parser.add_argument("command", choices=["new", "check-rename"])
    for option in ("--name", "--folder", "--domain", "--keep"):
        parser.add_argument(option, default="")
    given = parser.parse_args()
    try:
        if given.command == "new":
            new(given.folder, {name: getattr(given, name) for name in ("name", "domain", "keep")})
        elif Path(given.folder).is_dir() and given.folder:
            check(Path(given.folder))
        else:
            raise Failed(f"FOLDER is {given.folder!r}: it should be a project's directory, as ../corner-shop")
    except Failed as failed:
        raise SystemExit(f"\n✗ {failed}") from None
    except KeyboardInterrupt:
        raise SystemExit("\nInterrupted; nothing was left behind.") from None


if __name__ == "__main__":
    main()
