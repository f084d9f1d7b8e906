"""Each kind of project, made from this repository: it is its owner's, it passes its own tests, it serves."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stacks import Stack, directory, running
from tests.template.conftest import made, make, output, run

# What a kind has nothing of, in words that only it would have.
LEFT_OUT = {
    "polls": r"copier\.yml|make new|test-template",
    "auth": r"[^-]polls[./_]|\bvot(e|es|er|ing)\b|ballot|questions?/|pillow|make lab|\blab/",
    "site": r"tornado|gunicorn|websocket|event-stream|sqlalchemy|token_keys|watcher|/api/|api-[ab]",
    "api": r"django|uwsgi_(pass|param)|site\.ini|whitenoise|collectstatic|csrf|manage\.py|site-[ab]",
}
PACKAGES = {
    "polls": set[str](),
    "auth": {"pillow", "gevent", "granian"},
    "site": {"pillow", "tornado", "gunicorn", "sqlalchemy", "pyjwt", "msgspec"},
    "api": {"pillow", "django", "pyuwsgi", "whitenoise", "djlint"},
}


@pytest.fixture(scope="module", params=LEFT_OUT)
def keep(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def project(template: Path, keep: str) -> Iterator[Path]:
    with directory() as files:
        yield made(template, files / "my-shop", keep)


def test_it_is_its_owners(template: Path, project: Path, keep: str) -> None:
    assert output(project, "git", "status", "--porcelain") == ""
    assert output(project, "git", "rev-list", "--count", "HEAD") == "1\n"
    done = make(template, "check-rename", FOLDER=str(project))
    assert done.returncode == 0, done.stdout
    text = output(project, "git", "grep", "--cached", "-hI", "")
    assert "My Awkward Shop Of 2 Capitals" in text
    assert "myawkwardshopof2capitals" in text
    assert "shop.example.com" in text
    secrets = project / ".env"
    assert secrets.stat().st_mode & 0o777 == 0o600
    assert re.search(r"(?m)^TOKEN_KEYS=\S{50,}|^SECRET_KEY=\S{50,}", secrets.read_text())


def test_nothing_is_left_of_what_it_does_not_have(project: Path, keep: str) -> None:
    # uv.lock is held to pyproject.toml by uv itself.
    done = run(
        project, "git", "grep", "--cached", "-InEi", LEFT_OUT[keep], "--", ".", ":!uv.lock", ":!.copier-answers.yml"
    )
    assert done.stdout == ""
    packages = tomllib.loads((project / "uv.lock").read_text())["package"]
    assert not {package["name"] for package in packages} & PACKAGES[keep]


def test_it_passes_its_own_tests(project: Path, keep: str, pytestconfig: pytest.Config) -> None:
    """Their short form has nothing under load, in containers and on hosts; of polls all are this repository's own."""
    short = pytestconfig.getoption("short")
    targets = {"polls": ["lint"] if short else ["test"]}.get(keep, ["lint", "test-sqlite"])
    done = make(project, "--jobs=2", "--output-sync=target", *targets)
    assert done.returncode == 0, done.stdout
    # What documents link to and name; in the long form, also what they tell to do.
    done = run(project, ".venv/bin/pytest", "tests/docs", *(["-k", "not tells"] if short else []))
    assert done.returncode == 0, done.stdout


def test_it_serves(project: Path, keep: str) -> None:
    with running(Stack, project=project) as stack, stack.client() as client:
        for path in {"site": ["/"], "api": ["/api/"]}.get(keep, ["/", "/api/"]):
            answer = client.get(path)
            assert answer.status_code == 200, path
            assert "My Awkward Shop Of 2 Capitals" in answer.text
        done = stack.make("restart")
        assert done.returncode == 0, done.stdout
