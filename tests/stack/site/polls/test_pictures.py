"""Pictures: uploaded with a form, served by nginx."""

import re
from collections.abc import Callable, Iterator

import httpx
import pytest

from tests.people import CSRF, Person
from tests.sample import PNG, Subject
from tests.stack.checks import upstream
from tests.stacks import Stack


def test_an_uploaded_picture_is_served_by_nginx(stack: Stack, ask: Callable[..., Subject]) -> None:
    asked = ask(files={"picture": ("cat.png", PNG, "image/png")})
    with stack.client() as client:
        found = re.search(r'src="(/media/[^"]+)"', client.get(f"/questions/{asked.id}/").text)
        assert found, "the page shows no picture"
        picture = client.get(found[1])
    assert picture.status_code == 200
    assert upstream(picture) == ""
    assert picture.headers["Content-Type"].startswith("image/")
    assert picture.headers["Content-Security-Policy"].startswith("default-src 'none'; sandbox")
    assert picture.headers["X-Content-Type-Options"] == "nosniff"
    assert "immutable" in picture.headers["Cache-Control"]
    assert "Set-Cookie" not in picture.headers


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>", "picture"),
        (PNG[: len(PNG) // 2], "picture"),
        (b"", "empty"),
        (PNG + bytes(5 * 1024 * 1024), "5"),
    ],
    ids=["svg", "half", "empty", "large"],
)
def test_files_that_are_no_pictures(stack: Stack, people: Iterator[Person], content: bytes, message: str) -> None:
    form = {"text": "With a picture?", "choices": "Yes\nNo", "csrfmiddlewaretoken": CSRF}
    with next(people).client() as client:
        response = client.post("/questions/new/", data=form, files={"picture": ("cat.png", content, "image/png")})
    assert response.status_code == 200
    assert message in fault(response, "picture"), response.text


def fault(response: httpx.Response, field: str) -> str:
    """Return the message at a field of a form."""
    _, _, after = response.text.partition(f'id="id_{field}_error"')
    message = after.partition("</ul>")[0]
    assert message, f"no message at {field}"
    return message
