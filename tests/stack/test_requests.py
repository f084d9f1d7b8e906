"""What the applications get to know of a request: its id, where it came from, and nothing that the client made up."""

import json
import re
import time
from typing import Any

import pytest

from tests.sample import ENDPOINT
from tests.stacks import AnyStack


def schemes(stack: AnyStack) -> tuple[str, str]:
    """The stack's, and the other one."""
    return ("https", "http") if stack.tls else ("http", "https")


def lies(stack: AnyStack) -> dict[str, str]:
    _, other = schemes(stack)
    return {
        "X-Request-ID": "made-up",
        "X-Forwarded-For": "203.0.113.7",
        "X-Forwarded-Proto": other,
        "X-Forwarded-SSL": "off" if stack.tls else "on",
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Port": "80" if stack.tls else "443",
        "X-Real-IP": "203.0.113.7",
        "Forwarded": f"for=203.0.113.7;proto={other};host=evil.example",
        "Proxy": "http://evil.example/",
    }


def lines(stack: AnyStack, app: str, request_id: str) -> list[dict[str, Any]]:
    """The lines of an app's logs that belong to a request; nginx writes its log once a second."""
    found: list[dict[str, Any]] = []
    deadline = time.monotonic() + 20
    while not found and time.monotonic() < deadline:
        found = [json.loads(line) for log in stack.read_logs(app) for line in log if request_id in line]
        time.sleep(0.05)
    return found


@pytest.mark.parametrize(("app", "path"), [("site", "/accounts/login/"), ("api", ENDPOINT)])
def test_one_id_in_the_response_and_every_log(stack: AnyStack, app: str, path: str) -> None:
    address = next(stack.addresses)
    with stack.client(address=address) as client:
        first, second = (client.get(path, params={"secret": "xyzzy"}, headers=lies(stack)) for _ in range(2))
    request_id = first.headers["X-Request-ID"]
    assert re.fullmatch("[0-9a-f]{32}", request_id)
    assert request_id != second.headers["X-Request-ID"]

    [ours] = lines(stack, app, request_id)
    [nginx] = lines(stack, "nginx", request_id)
    assert {"level": "INFO", "app": app, "logger": "access", "method": "GET", "path": path, "status": 200}.items() <= (
        ours.items()
    )
    assert ours["instance"] in "ab"
    assert f"{app}-{ours['instance']}" in nginx["upstream"] == first.headers["X-Upstream"]
    assert (nginx["method"], nginx["path"], nginx["status"]) == ("GET", path, 200)
    # Not the one that the client claims.
    assert nginx["client"] == address
    for log in (*stack.read_logs("nginx"), *stack.read_logs("site"), *stack.read_logs("api")):
        assert not [line for line in log if any(word in line for word in ("xyzzy", "made-up", "203.0.113.7"))]


def test_every_line_of_the_apps_logs_is_json(stack: AnyStack) -> None:
    """Once the servers themselves, whose own start-up lines are theirs, are up."""
    with stack.client() as client:
        for _ in range(8):
            client.get("/nothing-here/")
            client.get("/api/nothing-here")
    for last in (log[-1] for app in ("site", "api") for log in stack.read_logs(app)):
        assert {"time", "level", "app", "instance", "pid", "logger", "message", "request_id"} <= json.loads(last).keys()


def test_health_checks_are_not_logged(stack: AnyStack) -> None:
    for log in (*stack.read_logs("site"), *stack.read_logs("api")):
        paths = [json.loads(line).get("path", "") for line in log if line.startswith("{")]
        assert not [path for path in paths if path.startswith("/health/r")]


def test_a_client_cannot_say_where_it_came_from(stack: AnyStack) -> None:
    """Django makes absolute addresses, and its checks of the origin, of what it believes about scheme and host."""
    scheme, other = schemes(stack)
    with stack.client(follow_redirects=True) as client:
        redirect = client.get("/accounts/", headers=lies(stack)).history[0]
        assert redirect.headers["Location"].startswith("/accounts/login/")
        # The path without its slash is redirected by Django, with the scheme and host that it believes.
        moved = client.get("/accounts/login", headers=lies(stack)).history[0]
        assert "evil" not in moved.headers["Location"]
        assert f"{other}:" not in moved.headers["Location"]
        cookie = client.get("/accounts/login/", headers=lies(stack)).headers["Set-Cookie"]
        assert ("secure" in cookie.lower()) == bool(stack.tls)
        # An origin of the other scheme would be the site's own, had it believed X-Forwarded-Proto.
        csrf = client.cookies[f"{'__Host-' if stack.tls else ''}tandem_csrf"]
        answers = {
            origin: client.post(
                "/accounts/login/",
                data={"username": "x", "password": "y", "csrfmiddlewaretoken": csrf},
                headers=lies(stack) | {"Origin": f"{origin}://{stack.authority}"},
            ).status_code
            for origin in (scheme, other)
        }
    assert answers == {scheme: 200, other: 403}
