"""The documents: what they link to and name is there, each directive of the servers' files is explained, and what they
tell to do is done, on a copy of the project.

The first word behind a block's fence is its language for GitHub; the rest is for this test:

- `console run`: each line with `$ ` is run by bash, and prints what follows. `…` is anything, a line of it any lines;
- `LANGUAGE file=PATH`: the file that one makes, or, of `diff`, the edit that one makes in it.
"""

import ast
import re
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from tests.stacks import PROJECT, NativeStack, copied

# The one that edits the copy is last.
GUIDES = sorted((PROJECT / "docs").glob("*.md"), key=lambda guide: guide.name == "extending.md")
CONFIGURATION = PROJECT / "docs/configuration.md"
TRACKED = subprocess.run(["git", "ls-files"], cwd=PROJECT, stdout=subprocess.PIPE, text=True, check=True).stdout.split()
# A file in template/ is read in a project, where its links lead elsewhere (tests/template).
READMES = [PROJECT / path for path in TRACKED if path.endswith("README.md") and not path.startswith("template/")]
PAGES = [PROJECT / path for path in TRACKED if re.fullmatch(r"[A-Z]+\.md|docs/decisions/\d.*\.md", path)]
DOCUMENTS = [*dict.fromkeys([*READMES, *PAGES, *GUIDES])]
documents = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)


def parse(document: Path) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse(document.read_text())


def inline(document: Path, kind: str) -> Iterator[Token]:
    for token in parse(document):
        yield from (child for child in token.children or [] if child.type == kind)


def anchors(document: Path) -> set[str]:
    """Of its headings, as GitHub makes them."""
    headings = [after.content for token, after in pairwise(parse(document)) if token.type == "heading_open"]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


# What they name


@documents
def test_links(document: Path) -> None:
    links = [str(token.attrs["href"]) for token in inline(document, "link_open")]
    links += [str(token.attrs["src"]) for token in inline(document, "image")]
    for link in links:
        if not re.match(r"https?:", link):
            path, _, anchor = link.partition("#")
            target = document.parent / path if path else document
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), link


@documents
def test_paths(document: Path) -> None:
    """What is in backticks, and begins as a file or a directory here does."""
    made = {options.removeprefix("file=") for _, options, _ in blocks(document) if options.startswith("file=")}
    tops = {path.split("/")[0] for path in TRACKED}
    for token in inline(document, "code_inline"):
        path = token.content.rstrip("/")
        if path.split("/")[0] in tops and re.fullmatch(r"[\w./@*-]+", path):
            assert list(PROJECT.glob(path)) or any(f"{file}/".startswith(f"{path}/") for file in made), path


# docs/configuration.md


def directives(file: Path) -> set[str]:
    text = file.read_text()
    if file.suffix == ".py":
        body = ast.parse(text).body
        named = [node.name for node in body if isinstance(node, ast.FunctionDef)]
        targets = [target for node in body for target in getattr(node, "targets", [getattr(node, "target", None)])]
        return {*named, *(target.id for target in targets if isinstance(target, ast.Name))}
    if PROJECT / "nginx" in file.parents:
        text = re.sub(r"\$\{[A-Z_]+\}", "", text)
        # What is in these are values.
        text = re.sub(r"(?m)^( *)(map|geo|types)\b(.*)\{\n(?:.*\n)*?\1\}", r"\1\2\3;", text)
        return set(re.findall(r"(?m)^ *([a-z_]+)\b(?![/.]).*(?:\n +'.*)*[;{]$", text))
    return set(re.findall(r"(?m)^([\w.-]+) ?=", text))


SERVERS = r"nginx/.*\.conf|deploy/(supervisor|systemd|uwsgi)/.*\.(conf|ini|service|timer)|deploy/gunicorn/.*"
EXPLAINED = [PROJECT / path for path in TRACKED if re.fullmatch(SERVERS, path)]


@pytest.mark.parametrize("file", EXPLAINED, ids=lambda file: str(file.relative_to(PROJECT)))
def test_each_directive_is_explained(file: Path) -> None:
    """In the table below the heading with the file's path; and what is in its first column is in the file."""
    _, _, rest = CONFIGURATION.read_text().partition(f"\n### `{file.relative_to(PROJECT)}`\n")
    cells = re.findall(r"(?m)^\| ([^|]*) \|", rest.partition("\n#")[0])
    assert set(re.findall(r"`([^`]+)`", " ".join(cells))) == directives(file)


# What they tell to do


def blocks(document: Path) -> Iterator[tuple[str, str, str]]:
    """Language, what is behind it, and text of each fenced block."""
    for token in parse(document):
        if token.type == "fence":
            language, _, options = token.info.partition(" ")
            yield language, options, token.content


@pytest.fixture(scope="module")
def stack() -> Iterator[NativeStack]:
    """Of a copy, with its files where a document says that they are: var/ and .env."""
    with copied() as project:
        stack = NativeStack(project, {"ENV_FILE": str(project / ".env"), "DEBUG_UPSTREAM": "off"}, project)
        try:
            stack.up()
            yield stack
        finally:
            stack.down()


def edit(file: Path, language: str, text: str) -> None:
    if language == "diff":
        old = "".join(line[1:] for line in text.splitlines(keepends=True) if line[0] != "+")
        new = "".join(line[1:] for line in text.splitlines(keepends=True) if line[0] != "-")
        before = file.read_text()
        assert before.count(old) == 1, f"{file.name}: {before.count(old)} times:\n{old}"
        text = before.replace(old, new)
    file.parent.mkdir(parents=True, exist_ok=True)
    # For www-data, as whom root's manage.py makes migrations.
    file.parent.chmod(0o777)
    file.write_text(text)


def run(stack: NativeStack, text: str) -> None:
    for command, expected in re.findall(r"^\$ ((?:.*\\\n)*.*\n)((?:(?!\$ ).*\n)*)", text, re.M):
        done = subprocess.run(
            ["bash", "-c", command.replace("127.0.0.1:8000", stack.authority)],
            cwd=stack.project,
            # tests/site's plugin sets it. pytest would read Django's settings before their variables are there.
            env={name: value for name, value in stack.environment.items() if name != "DJANGO_SETTINGS_MODULE"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=120,
        )
        said = done.stdout.replace(stack.authority, "127.0.0.1:8000")
        lines = expected.splitlines(keepends=True)
        pattern = "".join("(?:.*\n)*" if line == "…\n" else re.escape(line).replace("…", ".*") for line in lines)
        assert re.fullmatch(pattern, said), f"$ {command}{said}instead of\n{expected}"
        assert done.returncode == 0, f"$ {command}{said}ended with {done.returncode}"


@documents
def test_what_it_tells_to_do(document: Path, stack: NativeStack) -> None:
    for language, options, text in blocks(document):
        if options == "run":
            run(stack, text)
        elif options.startswith("file="):
            edit(stack.project / options.removeprefix("file="), language, text)
        else:
            assert not options, f"{options!r} is none of run, file=PATH"
