"""nginx's cache of anonymous pages: nothing private gets in, and no page is two seconds old."""

import re
import time
from collections.abc import Callable, Iterator

import httpx
import pytest

from tests.people import Person
from tests.sample import PAGE, Subject
from tests.stack.checks import check_headers, upstream
from tests.stack.test_requests import lies, logged
from tests.stacks import Stack

# X-Cache of a response that nginx had, and of one that an instance made.
STORED = {"HIT", "STALE", "UPDATING"}
MADE = {"MISS", "EXPIRED"}


def from_cache(response: httpx.Response) -> bool:
    """Return whether nginx had the response. Then no instance made it."""
    found = response.headers["X-Cache"] in STORED
    assert found != bool(upstream(response))
    return found


def until_cached(client: httpx.Client, path: str) -> httpx.Response:
    """Return a response from the cache: the second or third one, unless a second passes in between."""
    return next(response for _ in range(20) if from_cache(response := client.get(path)))


def never_cached(client: httpx.Client, path: str, method: str = "GET", **options: str) -> list[httpx.Response]:
    """Check that an instance makes each of three responses. Return them."""
    responses = [client.request(method, path, headers=options) for _ in range(3)]
    assert not any(map(from_cache, responses)), [response.headers["X-Cache"] for response in responses]
    return responses


def page_second(page: str) -> int:
    """Return the second in which the site made a question's page, from the page itself."""
    [clock] = re.findall(r'id="state">as of (\d\d:\d\d:\d\d) UTC', page)
    today = int(time.time()) // 86400 * 86400
    hours, minutes, seconds = map(int, clock.split(":"))
    return today + 3600 * hours + 60 * minutes + seconds


def test_a_page_from_the_cache(stack: Stack) -> None:
    with stack.client() as client:
        first = client.get("/?page=1")
        assert first.headers["X-Cache"] in MADE
        again = until_cached(client, "/?page=1")
    assert again.text == first.text
    check_headers(stack, again.headers.multi_items())
    for response in (first, again):
        # Neither a browser nor another proxy may store it, and nobody sees the mark for nginx.
        assert response.headers["Cache-Control"] == "private, no-cache"
        assert "X-Accel-Expires" not in response.headers
        assert "Cookie" in response.headers["Vary"]
    # The id is the request's own. The request that filled the cache had another.
    assert again.headers["X-Request-ID"] != first.headers["X-Request-ID"]
    [line] = logged(stack, "nginx", again.headers["X-Request-ID"])
    assert line["cache"] in STORED


def test_no_page_is_two_seconds_old(stack: Stack, ask: Callable[..., Subject]) -> None:
    """Neither under load nor after a pause of any length."""
    page, pauses = ask().page, [0, 0.02, 0.3, 0.7, 0.95, 1.05, 1.5, 1.95, 2.05, 2.5, 3.1]
    seen = set()
    with stack.client() as client:
        for pause in pauses + pauses[::-1]:
            time.sleep(pause)
            asked = time.time()
            response = client.get(page)
            seen.add(from_cache(response))
            assert asked < page_second(response.text) + 2, response.headers["X-Cache"]
    assert seen == {True, False}


def test_a_voter_sees_the_vote_at_once(stack: Stack, people: Iterator[Person], ask: Callable[..., Subject]) -> None:
    subject = ask()
    for expected in (1, 2, 3):
        with stack.client() as anybody, next(people).client() as voter:
            until_cached(anybody, subject.page)
            assert "0 votes" in voter.get(subject.page).text
            form = {"choice": subject.choices[0], "csrfmiddlewaretoken": "c" * 32}
            answer = voter.post(f"{subject.page}vote/", data=form, follow_redirects=True)
            assert answer.headers["X-Cache"] == "BYPASS"
            assert f'id="total">{expected} vote' in answer.text


def test_personal_pages_stay_out(stack: Stack, people: Iterator[Person], ask: Callable[..., Subject]) -> None:
    person, page = next(people), ask().page
    with stack.client() as anybody, stack.client(cookies=person.cookies) as known:
        # A page for a person does not get in, and a person gets no page from there.
        for _ in range(3):
            mine = never_cached(known, page)[-1].text
            assert "Log out" in mine
            assert "csrfmiddlewaretoken" in mine
            for response in (anybody.get(page), until_cached(anybody, page)):
                assert "Log out" not in response.text
                assert "csrfmiddlewaretoken" not in response.text
                assert "Set-Cookie" not in response.headers


@pytest.mark.parametrize(
    "header",
    [
        {"Cookie": "a=b"},
        {"Cookie": "="},
        {"Authorization": "Basic YTpi"},
        # A view may answer these with another page, or a part of it.
        {"X-Requested-With": "XMLHttpRequest"},
        {"Content-Length": "0"},
    ],
)
def test_a_request_that_may_have_another_page_passes_the_cache(stack: Stack, header: dict[str, str]) -> None:
    with stack.client() as client:
        until_cached(client, PAGE)
        never_cached(client, PAGE, **header)
        path = f"{PAGE}?{next(iter(header.values()))}"
        never_cached(client, path, **header)
        assert client.get(path).headers["X-Cache"] == "MISS"


@pytest.mark.parametrize(
    "path",
    ["/accounts/login/", "/accounts/signup/", "/accounts/", "/admin/login/", "/admin/", "/questions/new/", "/nowhere/",
     "/accounts", "/questions/0/"],
)  # fmt: skip
def test_forms_redirects_and_errors_stay_out(stack: Stack, path: str) -> None:
    """The form of a page has a secret, which comes with a cookie."""
    with stack.client() as client:
        tokens = []
        for _ in range(3):
            client.cookies.clear()
            page = client.get(path)
            assert not from_cache(page)
            tokens += re.findall(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)
    assert len(set(tokens)) == len(tokens)


def test_a_head_leaves_no_page_without_a_body(stack: Stack) -> None:
    with stack.client() as client:
        path = f"{PAGE}?head"
        never_cached(client, path, "HEAD")
        assert len(client.get(path).content) > 1000
        assert len(until_cached(client, path).content) > 1000


def test_each_address_has_its_own_page(stack: Stack) -> None:
    with stack.client() as client:
        for query in ("state=open", "state=closed", "state=closed&page=1"):
            assert client.get(f"/?{query}").headers["X-Cache"] in MADE
        assert 'page" href' not in until_cached(client, "/?state=closed").text
        marks = [re.findall(r'<a href="\?state=(\w+)" aria-current', until_cached(client, f"/?state={state}").text)
                 for state in ("open", "closed")]  # fmt: skip
    assert marks == [["open"], ["closed"]]


def test_what_a_client_claims_poisons_nothing(stack: Stack) -> None:
    host, port = stack.authority.rsplit(":", 1)
    path = f"{PAGE}?lies"
    with stack.client() as client:
        honest = client.get(PAGE).text
        client.get(path, headers=lies(stack) | {"Accept-Language": "de", "Referer": "https://evil.example/"})
        page = until_cached(client, path)
        for word in ("evil", "203.0.113.7", "made-up"):
            assert word not in page.text
            assert word not in str(page.headers)
        # The same page but for the second at which it was made.
        assert re.sub(r"as of [\d:]+", "", page.text) == re.sub(r"as of [\d:]+", "", honest)
        # A page for another port, which Django's absolute addresses have, is another page.
        assert client.get(path, headers={"Host": f"{host}:1"}).headers["X-Cache"] == "MISS"
        assert client.get(path, headers={"Host": "evil.example"}).status_code == 400
        assert from_cache(client.get(path, headers={"Host": f"{host.upper()}:{port}"}))


def test_a_condition_of_a_client_leaves_no_empty_page(stack: Stack) -> None:
    with stack.client() as client:
        path = f"{PAGE}?condition"
        client.get(path, headers={"If-None-Match": "*", "If-Modified-Since": "Fri, 01 Jan 2100 00:00:00 GMT"})
        client.get(path, headers={"Range": "bytes=0-9"})
        assert len(until_cached(client, path).content) > 1000


def test_only_the_user_of_the_stack_may_read_the_cache(stack: Stack) -> None:
    pages = stack.seen / "tmp/site-pages"
    assert pages.stat().st_mode & 0o777 == 0o700
    assert pages.stat().st_uid == (stack.seen / "run").stat().st_uid
