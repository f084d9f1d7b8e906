"""The stack page through nginx: for staff alone, live, and never from the cache."""

import itertools
from collections.abc import Iterator

import httpx
import pytest

from deploy.core.apps import INSTANCES
from tests.people import make
from tests.stack.checks import check_error, check_headers
from tests.stacks import Stack

PAGE, LIVE = "/stack/", "/stack/live"
LAST = [each for each in INSTANCES.values() if each.server.listens][-1].name


@pytest.fixture(scope="module")
def staff(secure: Stack) -> Iterator[httpx.Client]:
    [person] = make(secure, 1)
    secure.manage(
        *("shell", "--verbosity=0", "--command"),
        f"from accounts.models import User; User.objects.filter(username={person.name!r}).update(is_staff=True)",
    )
    with person.client() as client:
        yield client


def with_metrics(stack: Stack) -> None:
    if "METRICS_PORT" not in stack.environment:
        pytest.skip("this stack has no collector of metrics")


def events(response: httpx.Response) -> Iterator[str]:
    return (line for line in response.iter_lines() if line)


def test_without_metrics_it_names_the_setting(stack: Stack) -> None:
    if "METRICS_PORT" in stack.environment:
        pytest.skip("this stack has a collector of metrics")
    [person] = make(stack, 1)
    with person.client() as client:
        check_error(client.get(LIVE), 403, "html")
        stack.manage(
            *("shell", "--verbosity=0", "--command"),
            "from accounts.models import User; User.objects.update(is_staff=True)",
        )
        assert "set METRICS_PORT to a port" in client.get(PAGE).text


def test_staff_see_every_part(secure: Stack, staff: httpx.Client) -> None:
    with_metrics(secure)
    for response in (staff.get(PAGE), staff.get(PAGE)):
        check_headers(secure, response.headers.multi_items())
        assert "no-store" in response.headers["Cache-Control"]
        assert "X-Cache" not in response.headers
        for name in (*INSTANCES, "Database"):
            assert f">{name}" in response.text
        assert response.text.count("in rotation") == len([each for each in INSTANCES.values() if each.server.listens])
        assert "<!--#" not in response.text


def test_readers_share_each_reading(secure: Stack, staff: httpx.Client) -> None:
    with_metrics(secure)
    with staff.stream("GET", LIVE) as one, staff.stream("GET", LIVE) as other:
        assert one.headers["Content-Type"].startswith("text/event-stream")
        assert "no-store" in one.headers["Cache-Control"]
        seen = [list(itertools.islice(events(each), 3)) for each in (one, other)]
    # One may have begun a reading earlier.
    assert set(seen[0]) & set(seen[1])


def test_an_instance_that_stops_is_shown_at_once(secure: Stack, staff: httpx.Client) -> None:
    with_metrics(secure)
    with staff.stream("GET", LIVE) as response:
        shown = events(response)
        assert "not ready" not in next(shown)
        secure.stop(LAST)
        try:
            assert any("not ready" in event for event in itertools.islice(shown, 20))
        finally:
            secure.start(LAST)
            secure.wait_ready()
        assert any("not ready" not in event for event in itertools.islice(shown, 20))


@pytest.mark.parametrize("path", ["/_stack/diagram", "/_stack/live", "/_stack/metrics", "/_stack_missing"])
def test_the_world_does_not_reach_the_collector(secure: Stack, path: str) -> None:
    with secure.client() as client:
        check_error(client.get(path), 404, "html")
        check_error(client.get(LIVE), 403, "html")
