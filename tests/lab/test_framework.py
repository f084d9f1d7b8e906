"""lab/scratch/framework.py and template.py: the example on their page, under wsgiref.validate."""

import io
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest

from deploy.core.apps import PROJECT
from lab.mode import read_page
from lab.scratch.template import Template

Call = Callable[..., tuple[str, dict[str, str], str]]


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return the names that the page's example defines, after running it in a directory with a few files."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "static").mkdir()
    (tmp_path / "static/a.css").write_text("a {}")
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "static/out").symlink_to(tmp_path / "secret")
    names: dict[str, Any] = {}
    exec(read_page(PROJECT / "lab/modes/scratch-framework.md")[0].files["example.py"], names)  # noqa: S102
    return names


@pytest.fixture
def call(example: dict[str, Any]) -> Call:
    def call(path: str, method: str = "GET", body: bytes = b"", **more: str) -> tuple[str, dict[str, str], str]:
        environ: dict[str, Any] = {
            "SCRIPT_NAME": "",
            "QUERY_STRING": "",
            "PATH_INFO": path,
            "REQUEST_METHOD": method,
            "wsgi.input": io.BytesIO(body),
            "wsgi.errors": sys.stderr,
        }
        environ |= {"CONTENT_TYPE": "application/x-www-form-urlencoded", "CONTENT_LENGTH": str(len(body)), **more}
        setup_testing_defaults(environ)
        started: list[Any] = []
        result = validator(example["application"])(environ, lambda *given: started.extend(given))  # type: ignore
        text = b"".join(result).decode()
        result.close()  # type: ignore[attr-defined]
        return started[0][:3], dict(started[1]), text

    return call


def test_pages(call: Call) -> None:
    assert call("/")[2] == "Hello, world!\n"
    assert call("/", "HEAD")[1:] == (call("/")[1], "")
    assert 'class="plain">Hello, &lt;b&gt;&quot;!<' in call('/greet/<b>"')[2]
    assert "Good bye" in call("/greet/x", QUERY_STRING="bye=")[2]
    assert "Good bye" not in call("/greet/x")[2]
    assert '<p class="own">a&amp;b, x!' in call("/greet/x", "POST", b"words=a%26b")[2]
    assert call("/half/8")[2] == "4\n"
    assert call("/static/a.css")[1]["Content-Type"] == "text/css"


def test_errors(
    call: Call, example: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status, headers, _ = call("/", "POST")
    assert (status, headers["Allow"], headers["X-Content-Type-Options"]) == ("405", "GET, HEAD", "nosniff")
    assert call("/greet/\xff")[0] == "400"
    assert call("/greet/x", "POST", CONTENT_TYPE="text/plain")[0] == "415"
    assert call("/greet/x", "POST", CONTENT_LENGTH="99999")[0] == "413"
    monkeypatch.setitem(example, "WORDS", 1)
    assert call("/greet/x")[::2] == ("500", "500: sorry\n")
    assert "not iterable" in capsys.readouterr().err


def test_not_found(call: Call, tmp_path: Path) -> None:
    outside = ["/static/../secret", f"/static/{tmp_path}/secret", "/static/out"]
    for path in (*outside, "/static/\0", "/static/", "/half/7", "/half/x"):
        assert call(path)[0] == "404", path


@pytest.mark.parametrize("source", ["{{ a.__class__ }}", "{% for a in b %}", "{% end %}", "{% exec a %}"])
def test_templates_have_no_other_tags(source: str) -> None:
    with pytest.raises(ValueError, match=re.escape(source)):
        Template(source)
