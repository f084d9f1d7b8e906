"""From one version to the next: `make release` and, in a project, `make update`.

Needs only the standard library and git, so that an update with nothing to merge takes a second and installs nothing.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path

from deploy.core.console import Failed
from deploy.core.settings import PROJECT

Version = tuple[int, ...]

BIN = PROJECT / ".venv/bin"
CHANGELOG, ANSWERS = "CHANGELOG.md", ".copier-answers.yml"
RELEASED = (CHANGELOG, "pyproject.toml", "uv.lock")
# git says nothing when a hook fails without a word.
SILENT = "Is it a hook of yours? git config --get-regexp 'core.hookspath|init.templatedir'"
UNRELEASED = "## [Unreleased]\n"


def run(*command: str, folder: Path = PROJECT) -> str:
    """Return a command's output. Raises Failed with its error message."""
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", check=False)
    except FileNotFoundError:
        raise Failed(f"{command[0]} is not installed: sudo apt-get install {command[0]}") from None
    if done.returncode:
        said = done.stderr.strip() or done.stdout.strip() or f"status {done.returncode}, without a reason. {SILENT}"
        raise Failed(f"{Path(command[0]).name} {next(word for word in command[1:] if word.isalpha())}: {said}")
    return done.stdout.strip()


def parse(text: str) -> Version | None:
    """Return the numbers of 1.2.3, of the tag v1.2.3, or of `git describe` after that tag (v1.2.3-4-gabcdef0)."""
    found = re.fullmatch(r"v?(\d+)\.(\d+)\.(\d+)(-\d+-g[0-9a-f]+)?", text)
    return tuple(int(number) for number in found.groups()[:3]) if found else None


def versions(names: str) -> dict[Version, str]:
    """Return the tags among these lines that are versions, such as v1.2.3."""
    tags = [line.rpartition("refs/tags/")[2] for line in names.splitlines()]
    return {version: tag for tag in tags if tag[0] == "v" and (version := parse(tag))}


def sections(changelog: str) -> dict[Version, str]:
    """Return the changelog's text for each dated version, with its heading."""
    parts = re.split(r"(?m)^(?=## \[)", changelog)[1:]
    return {version: part.strip() for part in parts if (version := parse(part[4:].partition("]")[0]))}


def install(*groups: str) -> None:
    command = [sys.executable, "-m", "deploy", "install", "--group", *groups]
    if subprocess.run(command, cwd=PROJECT, check=False).returncode:
        raise Failed("The tools in .venv could not be installed. The lines above say why")


def release(version: str) -> None:
    """Date the changelog, set the version, commit, and tag the commit. Raises Failed if something is in the way."""
    numbers, changelog = parse(version), (PROJECT / CHANGELOG).read_text()
    if not numbers or not version[0].isdecimal() or "-" in version:
        raise Failed(f"VERSION is {version!r}: use three numbers, for example 1.2.0")
    if (branch := run("git", "branch", "--show-current")) != "main":
        raise Failed(f"This is the branch {branch or 'of no name'}. Release from main: git switch main")
    if changed := run("git", "status", "--porcelain"):
        raise Failed(f"There are uncommitted changes. Commit them first:\n{changed}")
    newest = max([*sections(changelog), *versions(run("git", "tag"))], default=(0,))
    if numbers <= newest:
        raise Failed(f"VERSION is {version}: use one above {'.'.join(map(str, newest))}, the newest version")
    _, heading, rest = changelog.partition(UNRELEASED)
    notes = re.split(r"(?m)^## ", rest)[0].strip()
    if not heading or not re.search(r"(?m)^- ", notes):
        raise Failed(f"{CHANGELOG} has nothing below {UNRELEASED.strip()!r}. List what changed there first")
    install()
    try:
        dated = f"{UNRELEASED}\n## [{version}] - {date.today().isoformat()}\n"
        (PROJECT / CHANGELOG).write_text(changelog.replace(UNRELEASED, dated, 1))
        file = PROJECT / "pyproject.toml"
        file.write_text(re.sub('(?m)^version = ".*"$', f'version = "{version}"', file.read_text(), count=1))
        run(str(BIN / "uv"), "lock", "--quiet")
        run("git", "commit", "--quiet", f"--message=Release {version}", "--", *RELEASED)
    except BaseException:
        run("git", "checkout", "--quiet", "HEAD", "--", *RELEASED)
        raise
    # Git would take the changelog's headings for comments.
    run("git", "tag", "--annotate", "--cleanup=whitespace", f"--message=Release {version}\n\n{notes}", f"v{version}")
    print(f"Released {version}: one commit, with a tag. Publish both:\n\n  git push --atomic origin main v{version}")


def update(wanted: str) -> None:
    """Merge the template's newest version, or the wanted version or commit, after printing its changes."""
    answers = dict(re.findall(r"(?m)^(\w+): (.*)$", (PROJECT / ANSWERS).read_text()))
    source, current = answers["_src_path"], parse(answers["_commit"]) or (0,)
    tags = versions(run("git", "ls-remote", "--tags", "--refs", source))
    if wanted:
        target = tags.get(parse(wanted) or (), wanted)
    elif not tags:
        print(f"{source} has no released version yet. `make update VERSION=HEAD` merges its newest commit.")
        return
    elif max(tags) <= current:
        print(f"Already up to date: {answers['_commit']} is the newest version of {source}.")
        return
    else:
        target = tags[max(tags)]
    for version, text in fetch_changelog(source, target).items():
        if version > current:
            print(f"{text}\n")
    install("update")
    command = [str(BIN / "copier"), "update", "--trust", "--skip-answered", f"--vcs-ref={target}"]
    if subprocess.run(command, cwd=PROJECT, check=False).returncode:
        raise Failed("The update was not merged. The lines above say why")
    print(f"\nMerged {target}. Resolve conflicts, look at `git diff`, run `make test`, and commit.")


def fetch_changelog(source: str, tag: str) -> dict[Version, str]:
    """Return the sections of the template's changelog at a tag. Nothing if there is no changelog or no such tag."""
    with tempfile.TemporaryDirectory() as folder:
        clone = ["clone", "--quiet", "--bare", "--depth=1", "--filter=blob:none", f"--branch={tag}", source, folder]
        try:
            run("git", *clone)
            return sections(run("git", "show", f"HEAD:{CHANGELOG}", folder=Path(folder)))
        except Failed:
            return {}


def main() -> None:
    parser = argparse.ArgumentParser(prog="make", description=__doc__)
    parser.add_argument("command", choices=["release", "update"])
    parser.add_argument("--version", default="")
    options = parser.parse_args()
    try:
        {"release": release, "update": update}[options.command](options.version)
    except Failed as failed:
        raise SystemExit(f"✗ {failed}") from None


if __name__ == "__main__":
    main()
