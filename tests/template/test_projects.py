"""Projects of each combination of apps and sample: they belong to their owner, are complete, and have nothing dead."""

import functools
import itertools
import re
import sys
import tomllib
from importlib.metadata import distribution
from pathlib import Path

import pytest

from tests.stacks import directory
from tests.template.conftest import COMBINATIONS, NAME, PROJECT, Make, make, new, output, run

BIN = Path(sys.executable).parent
# Words that look like the path of a file here.
PATH = re.compile(r"(?<![\w./<-])(?:deploy|django_site|docs|lab|make|nginx|template|tests|tornado_api)/[\w./-]*\w")
# What these name is the reader's to write, or is made when it runs.
NOT_THERE_YET = re.compile(r"deploy/README\.md|deploy/targets/hosts/releases\.py|docs/.*|[.]ansible-lint")
# Django's apps, which are on the path of the site.
FIRST_PARTY = [folder.parent.name for folder in (PROJECT / "django_site").glob("*/__init__.py")] + ["home"]
# Packages that others load by name: drivers, a log format, plugins, types; and tomlkit, which `make update` uses.
UNIMPORTED = {
    "tomlkit",
    "django-debug-toolbar",
    "psycopg",
    "python-json-logger",
    "django-stubs",
    "pytest-asyncio",
    "pytest-django",
    "pytest-xdist",
    "types-psutil",
    "types-pyyaml",
}


@pytest.fixture(scope="module", params=COMBINATIONS, ids="-".join)
def project(made: Make, request: pytest.FixtureRequest) -> Path:
    return made(*request.param)


def texts(folder: Path) -> dict[str, str]:
    """Return the text of each file of a repository except uv.lock."""
    files = output(folder, "git", "grep", "--cached", "-lI", "").splitlines()
    return {file: (folder / file).read_text() for file in files if file != "uv.lock"}


def test_it_belongs_to_its_owner(template: Path, project: Path) -> None:
    assert output(project, "git", "status", "--porcelain") == ""
    assert output(project, "git", "rev-list", "--count", "HEAD") == "1\n"
    done = make(template, "check-rename", FOLDER=str(project))
    assert done.returncode == 0, done.stdout
    found = "\n".join(texts(project).values())
    for words in (NAME, NAME.lower().replace(" ", ""), "shop.example.com"):
        assert words in found
    secrets = project / ".env"
    assert secrets.stat().st_mode & 0o777 == 0o600
    assert re.search(r"(?m)^TOKEN_KEYS=\S{50,}|^SECRET_KEY=\S{50,}", secrets.read_text())


def programs(package: str) -> set[str]:
    """Return the names of the commands that a package installs."""
    return {file.name for file in distribution(package).files or [] if file.parent.name == "bin"}


def test_it_uses_every_package_and_declares_what_it_uses(project: Path) -> None:
    configured = tomllib.loads((project / "pyproject.toml").read_text())
    groups = configured["dependency-groups"]
    names = {
        re.split(r"[\[<>=~ ]", entry)[0]
        for entry in itertools.chain(configured["project"]["dependencies"], *groups.values())
        if isinstance(entry, str)
    }
    words = set(
        re.findall(r"[\w-]+", "".join(text for file, text in texts(project).items() if file != "pyproject.toml"))
    )
    commands = {
        name for name in names if words & {f.name for f in distribution(name).files or [] if f.parent.name == "bin"}
    }
    done = run(
        project,
        str(BIN / "deptry"),
        "--extend-exclude=^var/",
        "--exclude=[.]venv/",
        f"--non-dev-dependency-groups={','.join(groups)}",
        *(f"--known-first-party={name}" for name in FIRST_PARTY),
        f"--per-rule-ignores=DEP002={'|'.join(commands | UNIMPORTED)}",
        ".",
    )
    assert done.returncode == 0, done.stdout
    locked = {package["name"] for package in tomllib.loads((project / "uv.lock").read_text())["package"]}
    assert names <= locked


# Names that a framework uses (settings, commands, fields, hooks), or that the apps offer to features.
USED_ELSEWHERE = re.compile(
    "unused (function|method|variable|attribute|class) "
    "'([A-Z_]+|Line|attempts|day|due|within|timezone|booted|cls|db|delete|deploy|handle|help|logs|origin|push|pytest_configure|pytest_terminal_summary|setup|filters"
    "|Command|Meta|Worker|created_at|share|size|Version|version_header|watch_routes|watch_operations|answer_newest|idempotency_key)'"
)


def unused(folder: Path, exclude: str = "") -> set[str]:
    """Return what vulture finds: the kind and the name of each."""
    done = run(folder, str(BIN / "vulture"), f"--exclude=.venv,template/*/*{exclude}", ".")
    return set(re.findall(r"unused \w+ '\w+'", done.stdout))


@functools.cache
def unused_in_the_template() -> set[str]:
    """Return what vulture finds in the template, with and without its tests: projects have few of them."""
    return unused(PROJECT) | unused(PROJECT, exclude=",tests/")


def test_it_has_no_code_that_only_the_template_uses(project: Path) -> None:
    """Vulture cannot see what frameworks use. Everything else that it finds, it finds in the template too."""
    assert {
        found for found in unused(project) - unused_in_the_template() if not USED_ELSEWHERE.fullmatch(found)
    } == set()


def test_every_file_that_it_names_exists(project: Path) -> None:
    found = texts(project)
    known = {*found, *(str(parent) for file in found for parent in Path(file).parents)}
    missing = [
        f"{file}: {path}"
        for file, text in found.items()
        for path in PATH.findall(text)
        if path not in known and not NOT_THERE_YET.fullmatch(file)
    ]
    assert missing == []


def test_every_link_leads_to_a_file(project: Path) -> None:
    missing = [
        f"{file}: {target}"
        for file, text in texts(project).items()
        if file.endswith(".md")
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text)
        if not (project / file).parent.joinpath(target).exists()
    ]
    assert missing == []


def test_help_lists_only_what_works(project: Path) -> None:
    done = make(project, "help")
    assert done.returncode == 0, done.stdout
    for target in re.findall(r"(?m)^  ([a-z-]+) ", done.stdout):
        planned = make(project, "--dry-run", target)
        assert planned.returncode == 0, planned.stdout
        for path in re.findall(r"(?<!\S)(?:tests|django_site|tornado_api|lab)(?:/\S*)?(?!\S)", planned.stdout):
            assert (project / path).exists(), f"make {target}: {path}"


def test_ci_runs_commands_that_exist(project: Path) -> None:
    files = [project / ".gitlab-ci.yml", *project.glob(".github/workflows/*.yml")]
    targets = {target for file in files for target in re.findall(r"\bmake ([a-z-]+)\"?$", file.read_text(), re.M)}
    assert targets == {"check", "test", "deploy"}
    for target in targets:
        planned = make(project, "--dry-run", target)
        assert planned.returncode == 0, planned.stdout


def test_a_project_is_small(made: Make) -> None:
    """The goal is 180 files and 11,000 lines. Until then, this is the bound."""
    found = texts(made("site,api", "none"))
    lines = sum(text.count("\n") for text in found.values())
    print(f"{len(found)} files, {lines} lines")
    assert len(found) <= 322
    assert lines <= 23_200


def test_the_template_is_small() -> None:
    files = output(PROJECT, "git", "ls-files", "--cached", "--others", "--exclude-standard", "template").splitlines()
    assert sum((PROJECT / file).read_text().count("\n") for file in files) <= 648


def test_it_starts_and_restarts_with_packages_of_its_own(template: Path) -> None:
    """`make test-stack` starts the stack, requests every app, restarts under load and stops the stack."""
    # Root's stack runs as www-data, which may not enter tmp_path.
    with directory() as files:
        done = make(new(template, files / "my-shop"), "test-stack")
        assert done.returncode == 0, done.stdout


def test_proofs_are_kept_if_wanted(template: Path, tmp_path: Path) -> None:
    folder = new(template, tmp_path / "my-shop", sample="polls", proof="yes")
    for part in ("lab", "tests/chaos", "tests/compose", "tests/hosts", "docs"):
        assert (folder / part).is_dir()
    assert not (folder / "template").exists()
