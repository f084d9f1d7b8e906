"""TLS=on."""

import subprocess

import httpx
import pytest

from tests.stack.checks import LISTENING, ONCE
from tests.stacks import Stack, outside


def curl(stack: Stack, path: str, *options: str) -> str:
    """Send a request over HTTP/2 and verify the certificate. Return the response's headers, then the HTTP version."""
    command = ["curl", "--silent", "--show-error", "--http2", "--cacert", stack.certificate, *options]
    command += ["--dump-header", "-", "--output", "/dev/null", "--write-out", "%{http_version}", f"{stack.url}{path}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("path", [*(app.prefix for app in LISTENING), "/health/live"])
def test_http2_and_hsts(secure: Stack, path: str) -> None:
    said = curl(secure, path)
    assert said.endswith("\n\n2")
    assert said.count("strict-transport-security: max-age=31536000") == 1
    for name in ONCE:
        assert said.count(f"\n{name}: ") == 1, name


@pytest.mark.parametrize(("version", "accepted"), [("1.1", False), ("1.2", True), ("1.3", True)])
def test_versions(secure: Stack, version: str, accepted: bool) -> None:
    options = [f"--tlsv{version}", "--tls-max", version, "--ciphers", "DEFAULT@SECLEVEL=0"]
    if accepted:
        curl(secure, "/", *options)
    else:
        with pytest.raises(subprocess.CalledProcessError) as failed:
            curl(secure, "/", *options)
        assert "alert protocol version" in failed.value.stderr


def test_plain_http_redirects_to_tls(secure: Stack) -> None:
    own = httpx.URL(f"https://{secure.host}:{secure.environment['PORT']}/some/path/?page=2")
    with httpx.Client(base_url=f"http://{secure.host}:{secure.plain_port}") as client:
        for method in ("GET", "POST"):
            response = client.request(method, "/some/path/?page=2")
            assert response.status_code == 308
            assert httpx.URL(response.headers["Location"]) == own
            assert "Strict-Transport-Security" not in response.headers
        assert client.get("/", headers={"Host": "evil.example"}).status_code == 400


def test_visitors_over_ipv6(secure: Stack) -> None:
    assert secure.tls
    with outside(), httpx.Client(verify=secure.tls) as client:
        authority = secure.ipv6
        assert client.get(f"https://{authority}/").status_code < 400
        plain = client.get(f"http://[::1]:{secure.environment.get('PLAIN_PORT', 80)}/some/path/")
    assert (plain.status_code, plain.headers["Location"]) == (308, f"https://{authority}/some/path/")


def test_plain_http_on_the_port_for_tls(secure: Stack) -> None:
    with httpx.Client() as client:
        assert client.get(f"http://{secure.host}:{secure.port}/").status_code == 400


def test_wrong_host(secure: Stack) -> None:
    assert curl(secure, "/", "--header", "Host: evil.example").startswith("HTTP/2 400")


def test_no_hsts_without_tls(stack: Stack) -> None:
    if stack.tls:
        pytest.skip("this stack has TLS")
    with stack.client() as client:
        assert "Strict-Transport-Security" not in client.get("/").headers
