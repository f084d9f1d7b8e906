"""Turn a copy of this repository into a project: `shape.py name=… domain=… apps=… sample=… proof=…`, in the copy.

Copier runs it for `make new` and for each update. selection.toml says what to leave out. Nothing here edits text: files
are deleted or replaced whole, TOML files and .env.example change by key, and names are replaced everywhere.
"""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from functools import reduce
from pathlib import Path
from typing import Any

import tomlkit

TEMPLATE = Path(__file__).resolve().parent
Rules = list[dict[str, Any]]


def list_files() -> list[str]:
    """Return the files of this repository's commit."""
    command = ["git", "ls-files", "-z"]
    done = subprocess.run(command, cwd=TEMPLATE.parent, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.split("\0")[:-1]


def active_rules(answers: Mapping[str, str]) -> Rules:
    """Return the rules of selection.toml that apply to these answers."""
    rules = tomllib.loads((TEMPLATE / "selection.toml").read_text())
    return [
        {"name": name, **rule}
        for name, rule in rules.items()
        if all(answers[question] == answer for question, answer in rule.get("when", {}).items())
    ]


def select(project: Path, rules: Rules) -> list[str]:
    """Delete and replace files. Return the project's files that come from the template.

    Only the template's files are deleted: in an update the copy has the owner's files too.
    """
    files, patterns = list_files(), [pattern for rule in rules for pattern in rule.get("without", [])]
    replaced = {
        file.removeprefix(f"template/{rule['name']}/"): file
        for rule in rules
        for file in files
        if file.startswith(f"template/{rule['name']}/")
    }
    kept = []
    for file in sorted({*files, *replaced}):
        if any(fnmatchcase(file, pattern) for pattern in patterns):
            delete(project, project / file)
            continue
        if source := replaced.get(file):
            project.joinpath(file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(TEMPLATE.parent / source, project / file)
        kept.append(file)
    return kept


def delete(project: Path, file: Path) -> None:
    """Delete a file, and the directories that this leaves empty."""
    file.unlink(missing_ok=True)
    for directory in file.relative_to(project).parents:
        if directory != Path() and (project / directory).is_dir() and not any((project / directory).iterdir()):
            (project / directory).rmdir()


def edit_toml(project: Path, rules: Rules) -> None:
    for rule in rules:
        for file, keys in rule.get("keys", {}).items():
            document = tomlkit.parse((project / file).read_text())
            for key, value in keys.items():
                *path, last = key.split(".")
                table: Any = reduce(lambda table, word: table.get(word, {}), path, document)
                if value == "":
                    table.pop(last, None)
                else:
                    table[last] = value
            (project / file).write_text(tomlkit.dumps(document))


def drop_group_references(project: Path) -> None:
    """Drop every reference to a dependency group that pyproject.toml no longer has."""
    file = project / "pyproject.toml"
    document: Any = tomlkit.parse(file.read_text())
    groups, default = document["dependency-groups"], document["tool"]["uv"]["default-groups"]
    for group in groups.values():
        for entry in [entry for entry in group if isinstance(entry, dict) and entry["include-group"] not in groups]:
            group.remove(entry)
    for name in [name for name in default if name not in groups]:
        default.remove(name)
    file.write_text(tomlkit.dumps(document))


def drop_settings(project: Path, names: Iterable[str]) -> None:
    """Drop settings from .env.example, each with the comment above it."""
    file = project / ".env.example"
    text = file.read_text()
    for name in names:
        text = re.sub(rf"(?m)^(#.*\n)*{name}=.*\n", "", text)
    file.write_text(re.sub(r"\n{3,}", "\n\n", text))


def rename(project: Path, files: Iterable[str], name: str, domain: str) -> None:
    """Replace Tandem's name and domain in the contents of files, never in their names: Copier cannot update those."""
    identifier = name.lower().replace(" ", "")
    if f'name = "{identifier}"\n' in project.joinpath("uv.lock").read_text():
        sys.exit(f"✗ NAME is {name}: {identifier} is one of the project's packages")
    words = {"Tandem": name, "tandem": identifier, "www.example.org": domain}
    for file in map(project.joinpath, files):
        if file.is_file() and not file.is_symlink():
            text = renamed = file.read_bytes()
            for old, new in words.items():
                renamed = renamed.replace(old.encode(), new.encode())
            if renamed != text:
                file.write_bytes(renamed)


def lock(project: Path) -> None:
    """Remove the packages from uv.lock that nothing needs. The versions of the others stay."""
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if not uv:
        sys.exit("✗ uv is not installed, and uv.lock needs it: https://docs.astral.sh/uv")
    done = subprocess.run([uv, "lock", "--quiet"], cwd=project, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(f"✗ `uv lock` failed. Is PyPI reachable?\n{done.stderr}")


def main() -> None:
    answers = dict(word.split("=", 1) for word in sys.argv[1:])
    project, rules = Path.cwd(), active_rules(answers)
    files = select(project, rules)
    edit_toml(project, rules)
    drop_group_references(project)
    drop_settings(project, [name for rule in rules for name in rule.get("settings", [])])
    rename(project, files, answers["name"], answers["domain"])
    lock(project)


if __name__ == "__main__":
    main()
