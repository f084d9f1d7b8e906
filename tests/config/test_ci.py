"""CI's files are valid and run existing commands; the hooks of pre-commit run the same linters as `make lint`."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.environment import PROJECT

pytestmark = pytest.mark.slow

BIN = Path(sys.executable).parent
WORKFLOWS = sorted(PROJECT.glob(".github/workflows/*.yml"))
GITLAB = [PROJECT / ".gitlab-ci.yml", *PROJECT.glob(".gitlab/*.yml")]


def output(*command: str | Path) -> str:
    done = subprocess.run(
        command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.parametrize(
    ("schema", "files"),
    [
        ("github-workflows", WORKFLOWS),
        ("gitlab-ci", GITLAB),
        ("renovate", [PROJECT / "renovate.json"]),
        ("github-issue-forms", [PROJECT / f".github/ISSUE_TEMPLATE/{name}.yml" for name in ("bug", "proposal")]),
        ("github-issue-config", [PROJECT / ".github/ISSUE_TEMPLATE/config.yml"]),
    ],
    ids=["github", "gitlab", "renovate", "issues", "issues-config"],
)
def test_a_file_follows_its_schema(schema: str, files: list[Path]) -> None:
    output(BIN / "check-jsonschema", f"--builtin-schema=vendor.{schema}", "--data-transform=gitlab-ci", *files)


@pytest.mark.parametrize("file", [*WORKFLOWS, *GITLAB], ids=lambda file: str(file.relative_to(PROJECT)))
def test_each_command_of_make_exists(file: Path) -> None:
    targets = re.findall(r"(?m)^ +- .*\bmake ([a-z-]+)\"?$", file.read_text())
    assert targets
    for target in targets:
        output("make", "--dry-run", target)


def test_actions_are_pinned_to_a_commit() -> None:
    """A tag can be moved to other code, which would run with this repository's secrets."""
    used = [line for file in WORKFLOWS for line in file.read_text().splitlines() if "uses:" in line]
    assert used
    for line in used:
        assert re.search(r"uses: [\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$", line), line


def test_hooks_run_what_make_lint_runs() -> None:
    file = PROJECT / ".pre-commit-config.yaml"
    output(BIN / "pre-commit", "validate-config", file)
    hooks = [hook for repo in yaml.safe_load(file.read_text())["repos"] for hook in repo["hooks"]]
    entries = [hook["entry"].removeprefix("env ").removesuffix(" --force-exclude") for hook in hooks]
    lint = output("make", "--dry-run", "lint")
    assert [entry for entry in entries if entry not in lint] == []
    commands = set(re.findall(r"\.venv/bin/[\w-]+|docker compose config|shellcheck(?= skipped)", lint))
    assert {command for command in commands if not any(command in entry for entry in entries)} == set()


@pytest.mark.parametrize(("options", "expected"), [([], "skipped"), (["--nothing-missing"], "errors")])
def test_a_machine_without_postgresql(tmp_path: Path, options: list[str], expected: str) -> None:
    """Its tests are skipped, or fail in CI. With -n, pytest's workers notice it."""
    (tmp_path / "without.py").write_text(
        "from tests import servers\n\n\ndef missing(name, package):\n"
        "    raise servers.Missing(name)\n\n\nservers.program = missing\n"
    )
    command = [
        str(BIN / "pytest"),
        "-p",
        "without",
        "-n",
        "2",
        "--data=postgresql",
        *options,
        "tests/config/test_cores.py",
    ]
    done = subprocess.run(
        command,
        cwd=PROJECT,
        env=os.environ | {"PYTHONPATH": f"{tmp_path}:{PROJECT}", "PYTEST_ADDOPTS": "", "TEST_RESULTS": ""},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert re.search(rf"=== \d+ {expected} in", done.stdout), done.stdout
    assert done.returncode == bool(options), done.stdout
