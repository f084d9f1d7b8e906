"""Makes a copy of this repository somebody's own: without what they do not keep, and under their name.

Copier runs it in the copy, when a project is made and when it is updated. A kind of project is made in steps, each a
directory beside this file: its `gone` lists the files and directories that the step deletes, its `edits.patch` edits
those that stay, its `new` has those that it adds. Nothing but the standard library, git and uv.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

TEMPLATE = Path(__file__).resolve().parent
# `project`: without the making of projects.
STEPS = {
    "polls": ["project"],
    "auth": ["project", "auth"],
    "site": ["project", "auth", "site"],
    "api": ["project", "auth", "api"],
}


def of_template() -> list[str]:
    """The files of this repository."""
    command = ["git", "ls-files", "-z"]
    done = subprocess.run(command, cwd=TEMPLATE.parent, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.split("\0")[:-1]


def cut(project: Path, files: Iterable[str], step: str, *options: str) -> list[str]:
    """Takes one step in a copy that has these files; those that it has then. Others are somebody's own.

    `options`: of `git apply`; with --reject it goes on at an edit that does not apply.
    """
    directory = TEMPLATE / step
    gone = directory.joinpath("gone").read_text().split()
    left = [file for file in files if not any(file == path or file.startswith(f"{path}/") for path in gone)]
    for file in set(files) - set(left):
        project.joinpath(file).unlink(missing_ok=True)
    if (patch := directory / "edits.patch").exists():
        # In its own directory, which may be in somebody's repository.
        alone = os.environ | {"GIT_CEILING_DIRECTORIES": str(project.parent)}
        done = subprocess.run(
            ["git", "apply", "--whitespace=nowarn", *options, patch],
            cwd=project,
            env=alone,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        if done.returncode and "--reject" not in options:
            sys.exit(f"✗ {patch} does not apply; template/README.md tells how to mend it:\n{done.stderr}")
    new = directory / "new"
    added = [str(path.relative_to(new)) for path in sorted(new.rglob("*")) if path.is_file()]
    for file in added:
        project.joinpath(file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(new / file, project / file)
    return [*left, *added]


def shape(project: Path, keep: str) -> list[str]:
    """Makes a copy one of this kind, without its name; the files that it has."""
    files = of_template()
    for step in STEPS[keep]:
        files = cut(project, files, step)
    for directory in sorted((path for path in project.rglob("*") if path.is_dir()), reverse=True):
        if not any(directory.iterdir()):
            directory.rmdir()
    return files


def rename(project: Path, files: Iterable[str], name: str, domain: str) -> None:
    identifier = name.lower().replace(" ", "")
    if f'name = "{identifier}"\n' in project.joinpath("uv.lock").read_text():
        sys.exit(f"✗ {name}: {identifier} is one of its packages")
    words = {"Tandem": name, "tandem": identifier, "www.example.org": domain}
    for file in map(project.joinpath, files):
        if file.is_file() and not file.is_symlink():
            text = renamed = file.read_bytes()
            for old, new in words.items():
                renamed = renamed.replace(old.encode(), new.encode())
            if renamed != text:
                file.write_bytes(renamed)


def lock(project: Path) -> None:
    """uv.lock without the packages that nothing needs any more; the versions of the others stay."""
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if not uv:
        sys.exit("✗ uv is not installed, which makes uv.lock: https://docs.astral.sh/uv")
    done = subprocess.run([uv, "lock", "--quiet"], cwd=project, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(f"✗ `uv lock` failed, which asks PyPI: is it reachable?\n{done.stderr}")


def main() -> None:
    keep, name, domain = sys.argv[1:]
    project = Path.cwd()
    files = shape(project, keep)
    rename(project, files, name, domain)
    lock(project)


if __name__ == "__main__":
    main()
