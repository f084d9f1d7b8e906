"""Pages that a project may add, and what nginx's cache makes of them; and the cache during a deploy."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import httpx
import pytest

from deploy.core.probe import UNCACHED, why_no_page
from tests.faults import frozen
from tests.sample import NEW, OLD, TEMPLATE
from tests.stacks import NativeStack, copied, edited, running

# Views that a cache may leak, and how many times each ran.
VIEWS = """
import itertools
import time
from django.contrib import messages
from django.http import HttpResponse, StreamingHttpResponse
from django.template import engines
from django.views.decorators.cache import cache_control, never_cache
from django.views.decorators.vary import vary_on_headers

serial = itertools.count()


def number(text=""):
    return HttpResponse(f"{time.time_ns()} {text}")


def public(request):
    return number(request.GET.get("text", ""))


def slow(request):
    response = number()
    time.sleep(1.5)
    return response


def nap(request):
    response = number()
    time.sleep(0.07)
    return response


def cookie(request):
    response = number()
    response.set_cookie("theme", "dark")
    return response


def session(request):
    request.session["seen"] = True
    return number(request.session.session_key)


def message(request):
    messages.info(request, "for one visitor")
    return number()


def form(request):
    return HttpResponse(engines["django"].from_string("{% csrf_token %}").render({}, request))


@never_cache
def never(request):
    return number()


@cache_control(private=True)
def private(request):
    return number()


@cache_control(public=True, max_age=3600)
def hour(request):
    return number()


def expires(request):
    response = number()
    response["Expires"] = "Fri, 01 Jan 2100 00:00:00 GMT"
    return response


@vary_on_headers("Accept-Language")
def language(request):
    return number(request.headers.get("Accept-Language", ""))


@vary_on_headers("*")
def everything(request):
    return number()


def error(request):
    return HttpResponse(f"{time.time_ns()}", status=int(request.GET["status"]))
"""
URLS = """
import inspect
import tries
urlpatterns += [path(f"tries/{name}/", view) for name, view in inspect.getmembers(tries, inspect.isfunction)]
"""


@pytest.fixture(scope="module")
def stack() -> Iterator[NativeStack]:
    with copied() as project:
        (project / "django_site/tries.py").write_text(VIEWS)
        with (project / "django_site/config/urls.py").open("a") as urls:
            urls.write(URLS)
        with running(NativeStack, project=project) as stack:
            yield stack


def get(stack: NativeStack, path: str, **headers: str) -> httpx.Response:
    """Get a page as a new visitor."""
    with stack.client() as client:
        return client.get(f"/tries/{path}", headers={name.replace("_", "-"): text for name, text in headers.items()})


def different(stack: NativeStack, path: str) -> int:
    """Return how many different pages eight visitors get at once."""
    return len({get(stack, path).text for _ in range(8)})


def test_a_page_of_a_project_is_cached_for_a_second(stack: NativeStack) -> None:
    assert different(stack, "public/") <= 4
    assert "evil" not in get(stack, "public/?text=").text
    assert get(stack, "public/?text=evil").text.endswith("evil")
    assert not get(stack, "public/?text=").text.endswith("evil")


@pytest.mark.parametrize("header", [{"Cookie": "a=b"}, {"Authorization": "Basic YTpi"}])
def test_credentials_pass_a_cached_page(stack: NativeStack, header: dict[str, str]) -> None:
    """Also of a view that does not look at the session, so that its page has no `Vary: Cookie`."""
    pages = [get(stack, f"public/?{next(iter(header))}", **header) for _ in range(3)]
    assert {page.headers["X-Cache"] for page in pages} == {"BYPASS"}
    assert get(stack, f"public/?{next(iter(header))}").text not in {page.text for page in pages}


@pytest.mark.parametrize(
    "path",
    ["cookie/", "session/", "message/", "form/", "never/", "private/", "hour/", "everything/"]
    + [f"error/?status={status}" for status in (201, 204, 301, 302, 307, 400, 403, 404, 410, 500, 503)],
)
def test_a_page_that_is_not_for_everybody(stack: NativeStack, path: str) -> None:
    """Or that says itself how long it may be stored: nginx leaves that to the visitor's browser."""
    pages = [get(stack, path) for _ in range(4)]
    assert {page.headers["X-Cache"] for page in pages} <= {"MISS", "EXPIRED"}
    bodies = [page.text for page in pages if page.text]
    assert len(set(bodies)) == len(bodies)


def test_what_a_view_says_reaches_the_browser(stack: NativeStack) -> None:
    assert get(stack, "hour/").headers["Cache-Control"] == "public, max-age=3600"
    assert "no-store" in get(stack, "never/").headers["Cache-Control"]
    assert get(stack, "public/").headers["Cache-Control"] == "private, no-cache"


def test_an_expiry_of_a_view_does_not_count(stack: NativeStack) -> None:
    first = get(stack, "expires/").text
    time.sleep(2.1)
    assert get(stack, "expires/").text != first


def test_each_language_has_its_own_page(stack: NativeStack) -> None:
    for _ in range(3):
        for language in ("de", "en", "fr"):
            assert get(stack, "language/", Accept_Language=language).text.split()[1] == language


def test_a_slow_page_is_not_older_than_others(stack: NativeStack) -> None:
    """It counts from when the site got the request."""
    for pause in (0, 0, 0.3, 0.6):
        time.sleep(pause)
        asked = time.time()
        page = get(stack, "slow/")
        assert asked < int(page.text) / 1e9 + 2, page.headers["X-Cache"]


def test_the_page_of_the_second_before_does_not_wait(stack: NativeStack) -> None:
    """nginx gets the new page in the background."""
    for _ in range(6):
        with stack.client(headers={"Accept-Encoding": "identity"}) as client:
            time.sleep(1.02 - time.time() % 1)
            client.get("/tries/public/")
            time.sleep(1.02 - time.time() % 1)
            pids = stack.pids()
            with frozen(pids["site-a"]), frozen(pids["site-b"]):
                began = time.monotonic()
                response = client.get("/tries/public/")
                assert response.headers["X-Cache"] == "STALE"
                assert time.monotonic() - began < 0.1


def test_visitors_of_a_new_page_share_it(stack: NativeStack) -> None:
    """Four at once, one page. The others wait up to 0.1 s for it, so a busy machine gets five attempts."""

    def visit(client: httpx.Client, path: str, start: threading.Barrier) -> str:
        client.get("/_errors/error.css")  # connects
        start.wait()
        return client.get(path).text

    def pages(attempt: int) -> set[str]:
        start = threading.Barrier(4)
        with ThreadPoolExecutor(4) as pool, ExitStack() as clients:
            visitors = [clients.enter_context(stack.client()) for _ in range(4)]
            return set(pool.map(lambda client: visit(client, f"/tries/nap/?{attempt}", start), visitors))

    assert any(len(pages(attempt)) == 1 for attempt in range(5))


def test_a_deploy_is_seen_by_everybody_after_two_seconds(stack: NativeStack) -> None:
    stop, seen = threading.Event(), list[tuple[float, bool]]()

    def watch() -> None:
        while not stop.wait(0.02):
            with stack.client() as client:
                began = time.monotonic()
                page = client.get("/").text
            assert OLD in page or NEW in page
            seen.append((began, NEW in page))

    # Each worker reads the template when it needs it first.
    with stack.client(headers=UNCACHED) as client:
        assert all(OLD in client.get("/").text for _ in range(40))
    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        with edited(stack, TEMPLATE, OLD, NEW):
            stack.up()
            rolled = time.monotonic()
            time.sleep(4)
    finally:
        stop.set()
        watcher.join()
        stack.up()
    assert False in {new for _, new in seen}
    assert {new for began, new in seen if began > rolled + 2} == {True}


def test_make_up_is_not_deceived_by_a_cached_page(stack: NativeStack) -> None:
    """Its last step is a visit. nginx may still have a page of an instance that has stopped."""

    def visits() -> int:
        return sum('"path": "/"' in line for log in stack.read_logs("site") for line in log)

    with stack.client() as client:
        client.get("/")
    before = visits()
    for _ in range(5):
        assert why_no_page(stack.host, str(stack.port), {"TLS": "off", "ALLOWED_HOSTS": "localhost"}, "/") == ""
    # supervisord writes the log a moment later. From the cache, there are two at most.
    deadline = time.monotonic() + 10
    while visits() < before + 5:
        assert time.monotonic() < deadline
        time.sleep(0.1)
