"""Scheme, host and address as Django sees them: from nginx, and never from the client's own headers."""

from tests.stack.test_requests import lies, schemes
from tests.stacks import Stack


def test_a_client_cannot_claim_another_scheme_or_host(stack: Stack) -> None:
    """Django's absolute addresses, and its check of the Origin, depend on both."""
    scheme, other = schemes(stack)
    with stack.client(follow_redirects=True) as client:
        redirect = client.get("/accounts/", headers=lies(stack)).history[0]
        assert redirect.headers["Location"].startswith("/accounts/login/")
        # Django redirects a path without its slash, with scheme and host.
        moved = client.get("/accounts/login", headers=lies(stack)).history[0]
        assert "evil" not in moved.headers["Location"]
        assert f"{other}:" not in moved.headers["Location"]
        cookie = client.get("/accounts/login/", headers=lies(stack)).headers["Set-Cookie"]
        assert ("secure" in cookie.lower()) == bool(stack.tls)
        # If Django believed X-Forwarded-Proto, it would accept an Origin with the other scheme.
        csrf = client.cookies[f"{'__Host-' if stack.tls else ''}tandem_csrf"]
        answers = {
            origin: client.post(
                "/accounts/login/",
                data={"login": "x", "password": "y", "csrfmiddlewaretoken": csrf},
                headers=lies(stack) | {"Origin": f"{origin}://{stack.authority}"},
            ).status_code
            for origin in (scheme, other)
        }
    assert answers == {scheme: 200, other: 403}
