"""A site that speaks two languages (USE_I18N=on), through nginx and its cache."""

import itertools
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.people import CSRF
from tests.stacks import NativeStack, running

# What browsers send, and the language that they get. The site speaks English first.
BROWSERS = {
    **dict.fromkeys(["de", "DE", "de-AT,de;q=0.9,en;q=0.8", "fr, de;q=0.5", "fr,\tde\t;\tq=0.1", "en;q=0,de"], "de"),
    **dict.fromkeys(["en", "en-US,en;q=0.9,de;q=0.8", "fr", "", "*", "den", "x-de", "de;q=0", "de; q=0.00, en"], "en"),
}
SUBJECTS = """
from base64 import b64decode
from email import message_from_bytes, policy
from django_tasks_db.models import DBTaskResult
for job in DBTaskResult.objects.filter(task_path="jobs.mail.send"):
    mail = message_from_bytes(b64decode(job.args_kwargs["args"][2]), policy=policy.default)
    print(mail["Subject"].partition("] ")[2])
"""


@pytest.fixture(scope="module")
def bilingual() -> Iterator[NativeStack]:
    with running(NativeStack, {"USE_I18N": "on", "LANGUAGES": "en,de", "CORES": "1"}) as stack:
        yield stack


def get(stack: NativeStack, path: str, browser: str) -> httpx.Response:
    with stack.client(headers={"Accept-Language": browser}) as client:
        return client.get(path)


def language(page: httpx.Response) -> str:
    [found] = [each for each in ("de", "en") if f'<html lang="{each}">' in page.text]
    assert page.headers["Content-Language"] == found
    assert ("Anmelden" in page.text, "Log in" in page.text) == (found == "de", found == "en")
    return found


def test_the_cache_keeps_languages_apart(bilingual: NativeStack) -> None:
    """Visitors at once, until each kind of browser got a page from the cache."""
    hits, deadline = set[str](), time.monotonic() + 30
    with ThreadPoolExecutor(4) as pool:
        for browser in itertools.cycle(BROWSERS):
            at_once = [browser, "de", "en", browser]
            pages = list(pool.map(lambda each: get(bilingual, "/", each), at_once))
            assert [language(page) for page in pages] == [BROWSERS[each] for each in at_once]
            # With Vary, a visitor could fill the cache with a page for each spelling of the header.
            assert all("Accept-Language" not in page.headers["Vary"] for page in pages)
            hits |= {browser for page in pages[::3] if page.headers["X-Cache"] == "HIT"}
            if hits == BROWSERS.keys():
                return
            assert time.monotonic() < deadline


def test_a_visitor_chooses_a_language(bilingual: NativeStack) -> None:
    """In the form of each page. Other sites cannot choose where it leads."""
    page = f"{bilingual.url}/accounts/login/"
    with bilingual.client(headers={"Accept-Language": "en", "Referer": page}) as client:
        assert language(client.get("/")) == "en"
        chosen = client.post("/language/", data={"language": "de"})
        assert (chosen.status_code, chosen.headers["Location"]) == (302, page)
        assert {"HttpOnly", "SameSite=Lax"} <= set(chosen.headers["Set-Cookie"].split("; "))
        german = client.get("/")
        assert (language(german), german.headers["X-Cache"]) == ("de", "BYPASS")
        assert language(get(bilingual, "/", "en")) == "en"
        elsewhere = client.post("/language/", data={"language": "en", "next": "https://evil.example/"})
        assert elsewhere.headers["Location"] == page
        assert language(client.get("/")) == "en"


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/nothing/", "Hier ist nichts"),
        ("/?q=%00", "Diese Anfrage ist ungültig"),
        ("/language/", "Das geht hier nicht"),
        # nginx's own page.
        ("/health/live", "Not found"),
    ],
)
def test_the_language_of_an_error(bilingual: NativeStack, path: str, text: str) -> None:
    page = get(bilingual, path, "de").text
    assert text in page
    assert f'<html lang="{"en" if path.startswith("/health") else "de"}">' in page


def test_a_mail_is_in_the_language_of_the_visitor(bilingual: NativeStack) -> None:
    for browser in ("de", "en"):
        headers = {"Accept-Language": browser, "Origin": bilingual.url}
        with bilingual.client(headers=headers, cookies={"tandem_csrf": CSRF}) as client:
            form = {"email": f"{browser}@example.org", "csrfmiddlewaretoken": CSRF}
            assert client.post("/accounts/password/reset/", data=form).status_code == 302
    subjects = bilingual.manage("shell", "--verbosity=0", "--command", SUBJECTS).splitlines()
    assert sorted(subjects) == ["Unbekanntes Konto", "Unknown Account"]
