"""Works on a kind of project: `open KEEP FOLDER` writes it, under this repository's name; `save KEEP FOLDER` makes its
last step anew from what is there. How to use them is in template/README.md.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from template.shape import STEPS, TEMPLATE, cut, of_template


def git(folder: Path, *words: str) -> str:
    who = ["-c", "user.name=template", "-c", "user.email=template@localhost", "-c", "core.hooksPath=/dev/null"]
    done = subprocess.run(["git", *who, *words], cwd=folder, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout


def before(keep: str, folder: Path) -> list[str]:
    """Writes what the last step of a kind begins with, as a commit; its files."""
    files = of_template()
    for file in files:
        folder.joinpath(file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(TEMPLATE.parent / file, folder / file, follow_symlinks=False)
    for step in STEPS[keep][:-1]:
        files = cut(folder, files, step)
    git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "add", "--all", "--force")
    git(folder, "commit", "--quiet", "--message=Before")
    return files


def open_kind(keep: str, folder: Path) -> None:
    if folder.exists():
        sys.exit(f"{folder} exists")
    folder.mkdir(parents=True)
    cut(folder, before(keep, folder), STEPS[keep][-1], "--reject")
    rejected = [str(path.relative_to(folder)) for path in folder.rglob("*.rej")]
    git(folder, "add", "--all", ":!*.rej")
    git(folder, "commit", "--quiet", f"--message=Step {STEPS[keep][-1]}")
    if rejected:
        sys.exit("\n".join(["edits that do not apply, to be made by hand, each file then deleted:", *rejected]))


def save(keep: str, edited: Path) -> None:
    """`edited`: a git work tree; what git knows of it counts."""
    step = TEMPLATE / STEPS[keep][-1]
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        files = before(keep, folder)
        wanted = git(edited, "ls-files", "--cached", "--others", "--exclude-standard", "-z").split("\0")[:-1]
        wanted = [file for file in wanted if edited.joinpath(file).is_file()]
        for file in set(files) - set(wanted):
            folder.joinpath(file).unlink()
        for file in wanted:
            folder.joinpath(file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(edited / file, folder / file, follow_symlinks=False)
        # Not uv.lock, which every project makes from its pyproject.toml.
        git(folder, "checkout", "--quiet", "uv.lock")
        git(folder, "add", "--all", "--force")
        patch = git(folder, "diff", "--cached", "--diff-filter=M", "--no-renames", "--no-color", "--unified=1")
        added = git(folder, "diff", "--cached", "--diff-filter=A", "--no-renames", "--name-only", "-z").split("\0")[:-1]
        shutil.rmtree(step, ignore_errors=True)
        step.mkdir()
        step.joinpath("gone").write_text("".join(f"{path}\n" for path in shortest(set(files) - set(wanted), wanted)))
        if patch:
            step.joinpath("edits.patch").write_text(patch)
        for file in added:
            step.joinpath("new", file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(folder / file, step / "new" / file)


def shortest(gone: set[str], left: list[str]) -> list[str]:
    """A directory of which nothing is left instead of its files."""
    kept = {str(parent) for file in left for parent in Path(file).parents}
    names = set()
    for file in gone:
        whole = [str(parent) for parent in Path(file).parents if str(parent) not in kept]
        names.add(whole[-1] if whole else file)
    return sorted(names)


def main() -> None:
    match sys.argv[1:]:
        case ["open", keep, folder] if keep in STEPS:
            open_kind(keep, Path(folder))
        case ["save", keep, folder] if keep in STEPS:
            save(keep, Path(folder))
        case _:
            sys.exit(f"{__doc__}\nKEEP: {', '.join(STEPS)}")


if __name__ == "__main__":
    main()
