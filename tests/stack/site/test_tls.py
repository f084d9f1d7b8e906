import pytest

from tests.stack.site.test_serving import LOGIN
from tests.stack.test_tls import curl
from tests.stacks import Stack


def test_cookies_are_for_tls_alone(secure: Stack) -> None:
    cookie = next(line for line in curl(secure, LOGIN).splitlines() if line.startswith("set-cookie: "))
    assert cookie.startswith("set-cookie: __Host-tandem_csrf=")
    assert "secure" in cookie.lower()


def test_cookies_without_tls(stack: Stack) -> None:
    if stack.tls:
        pytest.skip("this stack has TLS")
    with stack.client() as client:
        assert "__Host-" not in client.get(LOGIN).headers["Set-Cookie"]
