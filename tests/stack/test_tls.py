"""TLS=on, with a certificate that openssl makes."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests import servers
from tests.sample import ENDPOINT
from tests.stack.test_headers import ONCE
from tests.stacks import AnyStack, directory, running


@pytest.fixture(scope="module")
def secure(stack: AnyStack, kind: type[AnyStack]) -> Iterator[AnyStack]:
    servers.program("curl", "curl")
    if stack.tls:
        yield stack
        return
    with directory() as files:
        certificate = servers.self_signed(files)
        # For the test only: as root, the stack runs as www-data.
        Path(certificate["TLS_KEY"]).chmod(0o644)
        variables = certificate | {"TLS": "on", "PLAIN_PORT": str(servers.free_port()), "CORES": "1"}
        with running(kind, variables) as secure:
            yield secure


def curl(stack: AnyStack, path: str, *options: str) -> str:
    """What curl says of a request over HTTP/2, the certificate checked: version, and headers of the response."""
    command = ["curl", "--silent", "--show-error", "--http2", "--cacert", stack.certificate, *options]
    command += ["--dump-header", "-", "--output", "/dev/null", "--write-out", "%{http_version}", f"{stack.url}{path}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("path", ["/", "/accounts/login/", ENDPOINT, "/static/nothing-here", "/health/live"])
def test_http2_and_hsts(secure: AnyStack, path: str) -> None:
    said = curl(secure, path)
    assert said.endswith("\n\n2")
    assert said.count("strict-transport-security: max-age=31536000") == 1
    for name in ONCE:
        assert said.count(f"\n{name}: ") == 1, name


def test_cookies_are_for_tls_alone(secure: AnyStack) -> None:
    cookie = next(line for line in curl(secure, "/accounts/login/").splitlines() if line.startswith("set-cookie: "))
    assert cookie.startswith("set-cookie: __Host-tandem_csrf=")
    assert "secure" in cookie.lower()


@pytest.mark.parametrize(("version", "accepted"), [("1.1", False), ("1.2", True), ("1.3", True)])
def test_versions(secure: AnyStack, version: str, accepted: bool) -> None:
    options = [f"--tlsv{version}", "--tls-max", version, "--ciphers", "DEFAULT@SECLEVEL=0"]
    if accepted:
        curl(secure, "/", *options)
    else:
        with pytest.raises(subprocess.CalledProcessError) as refused:
            curl(secure, "/", *options)
        assert "alert protocol version" in refused.value.stderr


def test_plain_http_is_sent_to_tls(secure: AnyStack) -> None:
    own = httpx.URL(f"https://{secure.host}:{secure.environment['PORT']}/accounts/?page=2")
    with httpx.Client(base_url=f"http://{secure.host}:{secure.plain_port}") as client:
        for method in ("GET", "POST"):
            response = client.request(method, "/accounts/?page=2")
            assert response.status_code == 308
            assert httpx.URL(response.headers["Location"]) == own
            assert "Strict-Transport-Security" not in response.headers
        assert client.get("/", headers={"Host": "evil.example"}).status_code == 400


def test_plain_http_on_the_port_for_tls(secure: AnyStack) -> None:
    with httpx.Client() as client:
        assert client.get(f"http://{secure.host}:{secure.port}/").status_code == 400


def test_wrong_host(secure: AnyStack) -> None:
    assert curl(secure, "/", "--header", "Host: evil.example").startswith("HTTP/2 400")


def test_nothing_secure_without_tls(stack: AnyStack) -> None:
    if stack.tls:
        pytest.skip("this stack has TLS")
    with stack.client() as client:
        response = client.get("/accounts/login/")
    assert "Strict-Transport-Security" not in response.headers
    assert "__Host-" not in response.headers["Set-Cookie"]
