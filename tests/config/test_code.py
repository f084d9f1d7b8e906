"""The deployment's own code: short functions, and shared code that does not depend on particular apps."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.core.apps import APPS
from deploy.core.settings import PROJECT

LONGEST = 50
SHARED = ("deploy/cli.py", "deploy/__main__.py", "deploy/core", "deploy/servers", "deploy/targets", "deploy/doctor")


def files(*paths: str) -> list[Path]:
    """Return the Python files at paths, except tests."""
    found = [
        file
        for path in paths
        for file in ([PROJECT / path] if path.endswith(".py") else (PROJECT / path).rglob("*.py"))
    ]
    return sorted(file for file in found if "tests" not in file.relative_to(PROJECT).parts)


def parse(file: Path) -> ast.Module:
    return ast.parse(file.read_text(), str(file.relative_to(PROJECT)))


@pytest.mark.parametrize("path", ["deploy", *sorted({app.source[0] for app in APPS.values()}), "template"])
def test_no_function_is_longer_than_a_screen(path: str) -> None:
    long = [
        f"{file.relative_to(PROJECT)}:{node.lineno} {node.name}: {length} lines"
        for file in files(path)
        for node in ast.walk(parse(file))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (length := (node.end_lineno or 0) - node.lineno + 1) > LONGEST
    ]
    assert long == []


def strings(tree: ast.Module) -> Iterator[ast.Constant]:
    """Yield every string of a module except docstrings."""
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node


def test_shared_code_names_no_app() -> None:
    """It finds the apps in the registry."""
    name_of_app = re.compile(rf"({'|'.join(APPS)})($|-|_?[A-Z])")
    named = [
        f"{file.relative_to(PROJECT)}:{node.lineno} {node.value!r}"
        for file in files(*SHARED)
        for node in strings(parse(file))
        if name_of_app.match(str(node.value))
    ]
    assert named == []
