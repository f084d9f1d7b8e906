"""`make dev` serves what you save and shows errors. `make up` ends it."""

import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator

import httpx
import pytest

from tests.sample import ENDPOINT, HANDLER, HEADING, MODELS, VIEW, WORD
from tests.stacks import ComposeStack, Stack, copied, directory, edited

# Seconds. After a save the app is back in 2 to 5 on an idle machine, and may take much longer on a busy one.
BACK = 120
# More than enough to reach both instances.
ASKED = 6
# What `make dev` mounts in containers.
SOURCES = ("django_site", "tornado_api")

BASE = ("<header>\n", "<header>saved\n", "/", "<header>\n")
STYLE = (":root {\n", ":root {\n--saved: 1;", "/static/site.css", ":root {\n  ")
NATIVE_IF_SHORT = pytest.mark.native_if_short


class Dev:
    """`make dev`, which follows the logs until it is interrupted."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.said: list[str] = []
        self.make = subprocess.Popen(
            # Whoever starts these tests in the background makes them, and what they start, ignore an interrupt.
            ["env", "--default-signal=INT", "make", "--no-print-directory", "dev"],
            cwd=stack.project,
            env=stack.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.reader = threading.Thread(target=self.read)
        self.reader.start()

    def read(self) -> None:
        assert self.make.stdout
        self.said.extend(iter(self.make.stdout.readline, ""))

    def says(self, words: str, after: int = 0, seconds: float = BACK) -> None:
        wait(lambda: any(words in line for line in self.said[after:]), lambda: "".join(self.said[after:]), seconds)

    def serves(self, path: str, words: str, status: int = 200) -> httpx.Response:
        """Return the answer when both instances give it with these words and this status."""
        answers: list[httpx.Response] = []

        def agreed() -> bool:
            with self.stack.client() as client:
                answers[:] = [client.get(path) for _ in range(ASKED)]
            return all(answer.status_code == status and words in answer.text for answer in answers)

        wait(agreed, lambda: "\n".join(f"{answer.status_code}: {answer.text[:2000]}" for answer in answers[:1]), BACK)
        return answers[0]

    def interrupt(self) -> None:
        if self.make.poll() is None:
            os.killpg(self.make.pid, signal.SIGINT)
        self.make.wait(timeout=60)
        self.reader.join()


def wait(until: Callable[[], bool], what_there_is: Callable[[], str], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < deadline, what_there_is()
        time.sleep(0.2)


@pytest.fixture(scope="module")
def dev(stack_class: type[Stack]) -> Iterator[Dev]:
    with copied() as project, directory() as files:
        stack = stack_class(files, project=project)
        running = Dev(stack)
        try:
            running.says(" s. `make status`", seconds=600)
            yield running
        finally:
            running.interrupt()
            stack.down()


@pytest.mark.parametrize(
    ("file", "old", "new", "path", "unsaved"),
    [
        (*VIEW, '    return HttpResponse("saved")\n' + VIEW[1], "/", HEADING),
        pytest.param("django_site/templates/base.html", *BASE, marks=NATIVE_IF_SHORT),
        pytest.param("django_site/static/site.css", *STYLE, marks=NATIVE_IF_SHORT),
        (*HANDLER, '        return self.finish("saved")', ENDPOINT, WORD),
    ],
)
def test_a_saved_file_is_served(dev: Dev, file: str, old: str, new: str, path: str, unsaved: str) -> None:
    dev.serves(path, unsaved)
    with edited(dev.stack, file, old, new):
        dev.serves(path, "saved")
    dev.serves(path, unsaved)


def test_browsers_ask_again_for_a_static_file(dev: Dev) -> None:
    dev.serves("/", '"/static/site.css"')
    assert dev.serves("/static/site.css", "").headers["Cache-Control"] == "no-cache"


def test_django_shows_its_page_for_an_exception(dev: Dev) -> None:
    with edited(dev.stack, *VIEW, '    raise RuntimeError("wrong")\n' + VIEW[1]):
        answer = dev.serves("/", "RuntimeError at /", status=500)
    assert "raise RuntimeError(" in answer.text
    [policy] = answer.headers.get_list("Content-Security-Policy")
    for kind in ("style", "script"):
        assert f"{kind}-src 'self' 'unsafe-inline';" in policy


def test_mail_appears_in_the_log(dev: Dev) -> None:
    send = (
        '    from django.core.mail import send_mail\n    send_mail("Hello, reader", "", None, ["reader@localhost"])\n'
    )
    said = len(dev.said)
    with edited(dev.stack, *VIEW[:2], f'{send}    return HttpResponse("sent")\n{VIEW[1]}'):
        dev.serves("/", "sent")
        dev.says("Subject: Hello, reader", after=said)
    dev.serves("/", HEADING)


def test_the_debug_toolbar(dev: Dev) -> None:
    if isinstance(dev.stack, ComposeStack):
        pytest.skip("containers do not have it")
    page = dev.serves("/", 'id="djDebug"').text
    for file in re.findall(r'(?:href|src)="(/static/debug_toolbar/[^"]+)"', page):
        dev.serves(file, "")


def test_the_api_answers_the_traceback_of_an_exception(dev: Dev) -> None:
    with edited(dev.stack, *HANDLER, '        raise RuntimeError("wrong")'):
        answer = dev.serves(ENDPOINT, "RuntimeError: wrong", status=500)
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["detail"].startswith("Traceback (most recent call last):\n")
    assert 'raise RuntimeError("wrong")' in answer.json()["detail"]


@pytest.mark.parametrize(
    ("file", "old", "path", "words"),
    [
        pytest.param(MODELS, "\nclass ", "/", HEADING, marks=NATIVE_IF_SHORT),
        ("django_site/config/settings.py", "\nDATABASES", "/", HEADING),
        pytest.param("tornado_api/application.py", "\nclass ", ENDPOINT, WORD, marks=NATIVE_IF_SHORT),
        # gunicorn's master imports it too.
        ("tornado_api/settings.py", "\ntry:", ENDPOINT, WORD),
    ],
)
def test_the_next_save_repairs_a_syntax_error(dev: Dev, file: str, old: str, path: str, words: str) -> None:
    dev.serves(path, words)
    said = len(dev.said)
    with edited(dev.stack, file, old, f"\n({old}"):
        dev.says("SyntaxError", after=said)
        if isinstance(dev.stack, ComposeStack):
            dev.serves(path, "Back in a moment", status=503)
        else:
            # An instance with the code before still serves.
            dev.says("It is out of rotation", after=said)
            dev.serves(path, words)
    dev.serves(path, words)


def test_make_up_ends_it(dev: Dev) -> None:
    dev.interrupt()
    assert "The stack is still running. `make down` stops it.\n" in dev.said
    dev.serves("/", HEADING)
    # Not for `/` itself: `make up` fails if the front page does.
    with edited(dev.stack, *VIEW, '    if request.GET:\n        raise RuntimeError("wrong")\n' + VIEW[1]):
        dev.stack.up()
        answer = dev.serves("/?page=1", "Something broke", status=500)
    assert "RuntimeError" not in answer.text
    assert "unsafe" not in answer.headers["Content-Security-Policy"]
    assert re.search(r"/static/site\.[0-9a-f]{12}\.css", dev.serves("/accounts/login/", "Log in").text)
    if isinstance(dev.stack, ComposeStack):
        assert not any(path in str(each["Mounts"]) for each in dev.stack.containers().values() for path in SOURCES)
