"""Every name that `make new` allows makes a project whose linters are content and whose SQL is right."""

import re
import shutil
import subprocess
from pathlib import Path

import psycopg
import pytest

from deploy.core.settings import PROJECT
from tests.servers import postgresql

# The shortest and the longest.
NAMES = ["Ab", "Abcdefghij Klmnopqrst Uvwxyz A", "A" * 30]
DOMAIN, LONG_DOMAIN = "www.example.org", "www.abcdefghijklmnopqrst.example"


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_lines_are_laid_out_for_names_of_any_length(name: str, tmp_path: Path) -> None:
    # template/ and its tests are in no project.
    command = [
        "git",
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
        "*.py",
        ":!template",
        ":!tests/template",
    ]
    files = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True).stdout.split("\0")[:-1]
    shutil.copy(PROJECT / "pyproject.toml", tmp_path)
    found = 0
    for file in files:
        text = (PROJECT / file).read_text() if (PROJECT / file).exists() else ""
        if "tandem" in text.lower() or DOMAIN in text:
            found += 1
            (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
            identifier = name.lower().replace(" ", "")
            for old, new in (("Tandem", name), ("tandem", identifier)):
                text = text.replace(old, new)
            text = text.replace(DOMAIN, LONG_DOMAIN)
            (tmp_path / file).write_text(text)
    assert found > 10
    # ruff sorts imports by the packages that it sees, and most are not in these copies.
    for words in (["check", "--ignore=I001"], ["format", "--check"]):
        done = subprocess.run(
            [PROJECT / ".venv/bin/ruff", *words, "."], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_no_name_is_a_keyword_of_postgresql() -> None:
    """The name is that of the database and of its role, unquoted."""
    lists = re.findall(r"identifier in '([^']+)'", (PROJECT / "copier.yml").read_text())
    refused = {word for words in lists for word in words.split()}
    with postgresql() as url, psycopg.connect(url) as connection:
        rows = connection.execute("SELECT word FROM pg_get_keywords() WHERE catcode IN ('R', 'T')").fetchall()
    assert {word for (word,) in rows if "_" not in word} <= refused
