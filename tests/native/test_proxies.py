"""A proxy in front, the networks of the admin, and the live connections of one address: a stack with these settings."""

import time
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest

from tests.otlp import Receiver
from tests.people import CSRF
from tests.sample import LIVE
from tests.stack.test_requests import logged
from tests.stacks import NativeStack, Stack, running

PROXY, OFFICE, STRANGER = "127.0.0.2", "127.0.0.3", "127.0.0.4"
LIMIT = 5


@pytest.fixture(scope="module")
def behind(otlp: Receiver) -> Iterator[Stack]:
    networks = {"TRUSTED_PROXIES": f"{PROXY}, 2001:db8::/32", "ADMIN_NETWORKS": f"{OFFICE}/32"}
    more = {"LIVE_PER_ADDRESS": str(LIMIT), "CORES": "1", "OTEL_EXPORTER_OTLP_ENDPOINT": otlp.endpoint}
    with running(NativeStack, networks | more) as stack:
        yield stack


def test_the_proxy_is_believed(behind: Stack) -> None:
    said = {"X-Forwarded-For": "203.0.113.7, 198.51.100.9", "X-Forwarded-Proto": "https"}
    with behind.client(address=PROXY, headers=said) as client:
        page = client.get("/accounts/login/")
        assert page.status_code == 200
        assert "secure" in page.headers["Set-Cookie"].lower()
        assert page.headers["Set-Cookie"].startswith("__Host-")
        assert "Strict-Transport-Security" in page.headers
        [line] = logged(behind, "nginx", page.headers["X-Request-ID"])
        assert line["client"] == "198.51.100.9"
        form = {"login": "x", "password": "y", "csrfmiddlewaretoken": CSRF}
        cookie = f"__Host-tandem_csrf={CSRF}"
        headers = {"Origin": f"https://{behind.authority}", "Cookie": cookie}
        assert client.post("/accounts/login/", data=form, headers=headers).status_code == 200
        assert f"https://{behind.authority}/api/" in client.get("/api/").text


@pytest.mark.parametrize("header", ["X-Forwarded-Proto", "X-Scheme", "X-Url-Scheme", "X-Forwarded-Scheme"])
def test_nobody_else_is_believed(behind: Stack, header: str) -> None:
    with behind.client(address=STRANGER, headers={header: "https", "X-Forwarded-For": OFFICE}) as client:
        moved = client.get("/accounts/login/")
        assert (moved.status_code, moved.headers["Location"]) == (301, f"https://{behind.authority}/accounts/login/")
        assert "Set-Cookie" not in moved.headers
        [line] = logged(behind, "nginx", moved.headers["X-Request-ID"])
        assert line["client"] == STRANGER
        assert client.get("/admin/login/").status_code == 403
        assert f"http://{behind.authority}/api/" in client.get("/api/").text


TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.mark.parametrize(
    ("address", "traceparent", "known"),
    [
        (PROXY, f"00-{TRACE}-b7ad6b7169203331-01", True),
        (STRANGER, f"00-{TRACE}-b7ad6b7169203331-01", False),
        (PROXY, f"00-{'0' * 32}-b7ad6b7169203331-01", False),
        (PROXY, f"00-{TRACE}-{'0' * 16}-01", False),
        (PROXY, f"00-{TRACE.upper()}-b7ad6b7169203331-01", False),
        (PROXY, f"ff-{TRACE}-b7ad6b7169203331-01", False),
        (PROXY, f"00-{TRACE}", False),
    ],
)
@pytest.mark.parametrize("path", ["/accounts/login/", "/api/v1/questions"])
def test_a_trace_of_the_proxy_is_the_id_in_all_logs(
    behind: Stack, path: str, address: str, traceparent: str, known: bool
) -> None:
    said = {"traceparent": traceparent, "X-Forwarded-Proto": "https"}
    with behind.client(address=address, headers=said) as client:
        id = client.get(path).headers["X-Request-ID"]
    assert len(id) == 32
    assert (id == TRACE) == known
    for app in ("nginx", "site" if path.startswith("/accounts") else "api"):
        assert logged(behind, app, id)


@pytest.mark.parametrize("path", ["/accounts/login/", "/api/v1/questions"])
def test_the_apps_continue_a_trace_of_the_proxy_alone(behind: Stack, otlp: Receiver, path: str) -> None:
    for address, parent in ((PROXY, "b7ad6b7169203331"), (STRANGER, "")):
        said = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01", "X-Forwarded-Proto": "https"}
        with behind.client(address=address, headers=said) as client:
            id = client.get(path).headers["X-Request-ID"]
        assert {span.parent for span in otlp.wait(id, "nginx") if span.name == "nginx"} == {parent}


@pytest.mark.parametrize(
    "path", ["/admin/", "/admin", "/admin/login/", "/.//admin/", "/%61dmin/login/", "/x/../admin/"]
)
def test_the_admin_is_open_to_its_networks(behind: Stack, path: str) -> None:
    with behind.client(address=STRANGER) as client:
        assert client.get(path).status_code == 403
        assert client.get("/administrator/").status_code == 301  # to HTTPS, by Django
    with behind.client(address=OFFICE) as client:
        assert client.get(path).status_code == 301
    said = {"X-Forwarded-For": OFFICE, "X-Forwarded-Proto": "https"}
    with behind.client(address=PROXY, headers=said) as client:
        assert client.get("/admin/login/").headers["Location"].startswith("/accounts/login/")


def test_a_visitor_over_ipv6_is_logged(behind: Stack) -> None:
    page = httpx.get(f"http://{behind.ipv6}/accounts/login/")
    assert (page.status_code, page.headers["Location"]) == (301, f"https://{behind.ipv6}/accounts/login/")
    [line] = logged(behind, "nginx", page.headers["X-Request-ID"])
    assert line["client"] == "::1"


def test_addresses_of_one_customer_count_as_one(behind: Stack) -> None:
    """A customer has a /64 of IPv6: one client to each limit. The bytes 0a and 00 are special to many programs."""
    for network, other in (("2001:db9:0:a0a", "2001:db9:0:a0b"), ("fd00:0:0:1", "fd00:0:0:2")):
        with behind.client(address=PROXY) as client, ExitStack() as held:

            def open_stream(address: str) -> int:
                said = {"X-Forwarded-For": address}
                return held.enter_context(client.stream("GET", f"{LIVE}/events", headers=said)).status_code

            codes = [open_stream(f"{network}:{host:x}:a0a:0:{host:x}") for host in range(1, LIMIT + 2)]
            assert codes == [*[200] * LIMIT, 503]
            assert open_stream(f"{other}::1") == 200
            bytes_of_ipv4 = [open_stream(f"203.0.113.{host}") for host in range(1, LIMIT + 2)]
            assert set(bytes_of_ipv4) == {200}
            writes = [
                client.post("/accounts/login/", headers={"X-Forwarded-For": f"{network}::{host:x}"}).status_code
                for host in range(1, 32)
            ]
            assert 429 in writes
            said = {"X-Forwarded-For": f"{other}::1"}
            assert client.post("/accounts/login/", headers=said).status_code != 429


def test_one_address_holds_so_many_live_connections(behind: Stack) -> None:
    before = len((behind.seen / "log/nginx.log").read_bytes())
    with ExitStack() as held:
        client = held.enter_context(behind.client(address=STRANGER))
        for _ in range(LIMIT):
            assert held.enter_context(client.stream("GET", f"{LIVE}/events")).status_code == 200
        for way in ("events", "poll", "socket"):
            refused = client.get(f"{LIVE}/{way}")
            assert (refused.status_code, refused.headers["Content-Type"]) == (503, "application/problem+json")
            assert int(refused.headers["Retry-After"]) > 0
            [line] = logged(behind, "nginx", refused.headers["X-Request-ID"])
            assert line["limit_conn"] == "REJECTED"
        # Everything else goes on, and so do the live connections of others.
        assert client.get("/api/v1/questions").status_code == 200
        with behind.client(address=OFFICE) as other, other.stream("GET", f"{LIVE}/events") as stream:
            assert stream.status_code == 200
    assert len((behind.seen / "log/nginx.log").read_bytes()) == before, "a line for each refusal"
    deadline = time.monotonic() + 10
    with behind.client(address=STRANGER) as client:
        while client.get(f"{LIVE}/poll").status_code == 503:
            assert time.monotonic() < deadline
            time.sleep(0.1)
