"""An edit of the sources breaks no project: eleven edits, in every combination of apps and sample.

The short form makes all edits in one copy. The long form also makes each edit in a copy of its own.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.template.conftest import COMBINATIONS, new, run, use_packages
from tests.template.edits import EDITS

CHECKS = (
    ["ruff", "check"],
    ["ruff", "format", "--check"],
    ["mypy"],
    ["pytest", "--quiet", *(f"tests/{folder}" for folder in ("site", "api", "config"))],
)


@pytest.mark.parametrize(("apps", "sample"), COMBINATIONS)
@pytest.mark.parametrize("edits", [(*EDITS,), *((name,) for name in EDITS)], ids=["all", *EDITS])
def test_lint_and_quick_tests_pass(
    edited: Callable[..., Path],
    tmp_path: Path,
    pytestconfig: pytest.Config,
    edits: tuple[str, ...],
    apps: str,
    sample: str,
) -> None:
    if pytestconfig.getoption("short") and len(edits) == 1:
        pytest.skip("long: each edit by itself")
    project = new(edited(*edits), tmp_path / "my-shop", apps, sample)
    use_packages(project)
    for tool, *words in CHECKS:
        words = [word for word in words if not word.startswith("tests/") or (project / word).exists()]
        done = run(project, f".venv/bin/{tool}", *words, MYPY_CACHE_DIR=str(tmp_path.parent / "mypy"))
        assert done.returncode == 0, done.stdout
