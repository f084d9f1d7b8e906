"""One id for each request, in every log line; and nothing in the logs that the client made up."""

import json
import re
import time
from typing import Any

from deploy.core.apps import App
from tests.stack.checks import LISTENING, each_app, send_raw
from tests.stacks import Stack


def schemes(stack: Stack) -> tuple[str, str]:
    """Return the stack's scheme and the other one."""
    return ("https", "http") if stack.tls else ("http", "https")


def lies(stack: Stack) -> dict[str, str]:
    """Return headers in which a client claims another id, address, scheme and host."""
    _, other = schemes(stack)
    return {
        "X-Request-ID": "made-up",
        "X-Forwarded-For": "203.0.113.7",
        "X-Forwarded-Proto": other,
        "X-Forwarded-SSL": "off" if stack.tls else "on",
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Port": "80" if stack.tls else "443",
        "X-Real-IP": "203.0.113.7",
        "X-Scheme": other,
        "X-Url-Scheme": other,
        "Front-End-Https": "on",
        "True-Client-IP": "203.0.113.7",
        "CF-Connecting-IP": "203.0.113.7",
        "Forwarded": f"for=203.0.113.7;proto={other};host=evil.example",
        "Proxy": "http://evil.example/",
    }


def logged(stack: Stack, app: str, request_id: str) -> list[dict[str, Any]]:
    """Return the lines of an app's logs that have a request's id. nginx writes its log once a second."""
    found: list[dict[str, Any]] = []
    deadline = time.monotonic() + 20
    while not found and time.monotonic() < deadline:
        found = [json.loads(line) for log in stack.read_logs(app) for line in log if request_id in line]
        time.sleep(0.05)
    return found


@each_app
def test_one_id_in_the_response_and_every_log(stack: Stack, app: App) -> None:
    address = next(stack.addresses)
    with stack.client(address=address) as client:
        first, second = (client.get(app.prefix, params={"secret": "xyzzy"}, headers=lies(stack)) for _ in range(2))
    request_id = first.headers["X-Request-ID"]
    assert re.fullmatch("[0-9a-f]{32}", request_id)
    assert request_id != second.headers["X-Request-ID"]

    [ours] = logged(stack, app.name, request_id)
    [nginx] = logged(stack, "nginx", request_id)
    of_both = {"method": "GET", "path": app.prefix, "status": first.status_code}
    assert ({"level": "INFO", "app": app.name, "logger": "access"} | of_both).items() <= ours.items()
    assert of_both.items() <= nginx.items()
    assert ours["instance"] in [instance.name for instance in app.instances]
    assert ours["instance"] in nginx["upstream"] == first.headers["X-Upstream"]
    # nginx does not take the client's word for its address.
    assert nginx["client"] == address
    for name in ("nginx", *(each.name for each in LISTENING)):
        for log in stack.read_logs(name):
            assert not [line for line in log if any(word in line for word in ("xyzzy", "made-up", "203.0.113.7"))]


@each_app
def test_every_line_of_an_apps_logs_is_json(stack: Stack, app: App) -> None:
    """The last lines only: while it starts, the server itself writes other lines."""
    with stack.client() as client:
        for _ in range(8):
            client.get(f"{app.prefix}nothing-here")
    for log in stack.read_logs(app.name):
        names = {"time", "level", "app", "instance", "pid", "logger", "message", "request_id"}
        assert names <= json.loads(log[-1]).keys()


@each_app
def test_health_checks_are_not_logged(stack: Stack, app: App) -> None:
    for log in stack.read_logs(app.name):
        paths = [json.loads(line).get("path", "") for line in log if line.startswith("{")]
        assert not [path for path in paths if path.startswith("/health/r")]


def test_the_log_has_the_method_of_the_client(stack: Stack) -> None:
    """nginx answers with an error page, which it gets from itself."""
    with stack.client() as client:
        refused = next(response for _ in range(60) if (response := client.post("/")).status_code == 429)
    [line] = logged(stack, "nginx", refused.headers["X-Request-ID"])
    assert (line["method"], line["status"]) == ("POST", 429)


def test_the_log_is_json_for_any_byte(stack: Stack) -> None:
    request = b"GET /caf\xe9?x HTTP/1.1\r\nHost: %s\r\nUser-Agent: bad\xffagent\r\n\r\n"
    answer = send_raw(stack, request % stack.authority.encode())
    [line] = logged(stack, "nginx", answer.headers["X-Request-ID"])
    assert (line["path"], line["user_agent"]) == ("/caf…", "bad…")


@each_app
def test_a_dot_after_the_host_is_a_redirect(stack: Stack, app: App) -> None:
    host, _, port = stack.authority.partition(":")
    with stack.client() as client:
        response = client.get(app.prefix, params={"a": "b"}, headers={"Host": f"{host}.:{port}"})
    assert response.status_code == 308
    assert response.headers["Location"] == f"{stack.url}{app.prefix}?a=b"
