"""The documents: links and paths exist, each directive of the servers' files is explained, and commands run as printed.

The commands run on a copy of the project. The first word after a block's fence is its language, for GitHub. The rest is
for this test:

- `console run`: bash runs each line that begins with `$ `, and must print the lines that follow. `…` in a line matches
  any text; a line with only `…` matches any number of lines.
- `LANGUAGE file=PATH`: the contents of a new file, or, with the language `diff`, an edit of an existing file.
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

# These edit the copy, each on top of the one before, so they run last.
EXTENDING = [f"extending-{subject}.md" for subject in ("site", "jobs", "api", "live", "live-page")]
GUIDES = [path for path in sorted((PROJECT / "docs").glob("*.md")) if path.name not in EXTENDING]
GUIDES += [PROJECT / "docs" / name for name in EXTENDING]
CONFIGURATION = sorted((PROJECT / "docs").glob("configuration*.md"))
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
    """Return the anchors of its headings, as GitHub makes them."""
    headings = [after.content for token, after in pairwise(parse(document)) if token.type == "heading_open"]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


# Links and paths


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
    """Each path in backticks that begins with a file or directory of the repository exists."""
    made = {options.removeprefix("file=") for _, options, _ in blocks(document) if options.startswith("file=")}
    tops = {path.split("/")[0] for path in TRACKED}
    for token in inline(document, "code_inline"):
        path = token.content.rstrip("/")
        if path.split("/")[0] in tops and re.fullmatch(r"[\w./@*-]+", path):
            assert list(PROJECT.glob(path)) or any(f"{file}/".startswith(f"{path}/") for file in made), path


# The pages docs/configuration*.md


def directives(file: Path) -> set[str]:
    text = file.read_text()
    if file.suffix == ".py":
        body = ast.parse(text).body
        named = [node.name for node in body if isinstance(node, ast.FunctionDef)]
        targets = [target for node in body for target in getattr(node, "targets", [getattr(node, "target", None)])]
        return {*named, *(target.id for target in targets if isinstance(target, ast.Name))}
    if PROJECT / "nginx" in file.parents:
        text = re.sub(r"\$\{[A-Z_]+\}", "", text)
        # The contents of these blocks are values.
        text = re.sub(r"(?m)^( *)(map|geo|types)\b(.*)\{\n(?:.*\n)*?\1\}", r"\1\2\3;", text)
        return set(re.findall(r"(?m)^ *([a-z_]+)\b(?![/.]).*(?:\n +'.*)*[;{]$", text))
    return set(re.findall(r"(?m)^([\w.-]+) ?=", text))


SERVERS = r"nginx/.*\.conf|deploy/(supervisor|systemd|uwsgi)/.*\.(conf|ini|service|timer)|deploy/gunicorn/.*"
EXPLAINED = [PROJECT / path for path in TRACKED if re.fullmatch(SERVERS, path)]


@pytest.mark.parametrize("file", EXPLAINED, ids=lambda file: str(file.relative_to(PROJECT)))
def test_each_directive_is_explained(file: Path) -> None:
    """Below the heading with the file's path, the first column lists the directives of the file, and no other."""
    text = "".join(page.read_text() for page in CONFIGURATION)
    _, _, rest = text.partition(f"\n### `{file.relative_to(PROJECT)}`\n")
    cells = re.findall(r"(?m)^\| ([^|]*) \|", rest.partition("\n#")[0])
    assert set(re.findall(r"`([^`]+)`", " ".join(cells))) == directives(file)


# Commands and edits


def blocks(document: Path) -> Iterator[tuple[str, str, str]]:
    """Yield the language, the options after it, and the text of each fenced block."""
    for token in parse(document):
        if token.type == "fence":
            language, _, options = token.info.partition(" ")
            yield language, options, token.content


@pytest.fixture(scope="module")
def stack() -> Iterator[NativeStack]:
    """A stack of a copy of the project, with var/ and .env in it, as the documents say."""
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
    # Root's manage.py writes migrations as www-data.
    for directory in (file.parent, *file.parent.glob("migrations")):
        directory.chmod(0o777)
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
def test_its_commands_and_edits(document: Path, stack: NativeStack) -> None:
    for language, options, text in blocks(document):
        if options == "run":
            run(stack, text)
        elif options.startswith("file="):
            edit(stack.project / options.removeprefix("file="), language, text)
        else:
            assert not options, f"{options!r} is none of run, file=PATH"
