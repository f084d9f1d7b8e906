"""Jobs and mail on every target, with a real SMTP server: links that work, and no job lost under kills and outages."""

import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from email.message import Message

import httpx
import pytest

from tests.chaos.table import Record
from tests.servers import free_port
from tests.site.jobs.smtp import Server, smtp_server
from tests.stacks import Stack, outside

# It enqueues until ENOUGH, while workers are killed and rolled, and prints what was committed.
ENQUEUE = """
import time
from django.core.cache import cache
from django.core.mail import send_mail
from django.db import transaction
cache.delete("enough")
number = 0
while not cache.get("enough"):
    for subject in (f"mail {number}", "rolled back"):
        with transaction.atomic():
            send_mail(subject, "", None, ["mel@example.org"])
            transaction.set_rollback(subject == "rolled back")
    print("committed: mail", number)
    number += 1
    time.sleep(0.05)
"""
ENOUGH = """
from django.core.cache import cache
cache.set("enough", True)
"""
COUNT = """
from django_tasks_db.models import DBTaskResult
print("left:", DBTaskResult.objects.filter(task_path="jobs.mail.send").count())
"""
PERIODIC = """
from django_tasks_db.models import DBTaskResult
print("rows:", DBTaskResult.objects.filter(task_path="jobs.tasks.delete_expired_sessions").count())
"""


@pytest.fixture(scope="module")
def server(stack: Stack) -> Iterator[Server]:
    with outside(), smtp_server(stack.mail_port or free_port()) as server:
        stack.send_mail_to(server.port)
        yield server


@pytest.fixture
def workers(stack: Stack) -> list[str]:
    return stack.instances_of("jobs")


def wait_until(condition: Callable[[], object], seconds: float = 180) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def mail_to(server: Server, address: str, subject: str) -> Message:
    """Return the mail to an address once the server has received it."""
    found: list[Message] = []

    def arrived() -> bool:
        found[:] = [message for to, message in server.received if to == address and subject in message["Subject"]]
        return bool(found)

    wait_until(arrived)
    return found[0]


def link(message: Message) -> str:
    body = message.get_payload(decode=True)
    assert isinstance(body, bytes)
    [url] = re.findall(r"https?://\S+", body.decode())
    return str(url)


def post(client: httpx.Client, path: str, **form: str) -> httpx.Response:
    """Fill in the form of a page, and follow its redirects."""
    page = client.get(path)
    [token] = {*re.findall(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)}
    headers = {"Origin": client.headers["Origin"], "Referer": str(page.url)}
    answer = client.post(page.url, data={"csrfmiddlewaretoken": token} | form, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer


def test_links_in_mail(stack: Stack, server: Server) -> None:
    """Sign up, verify the address, and reset the password."""
    name, old, new = f"jo{time.time_ns()}", "battery staple", "correct horse"
    address = f"{name}@example.org"
    with stack.client(headers={"Origin": stack.url}, follow_redirects=True) as client:
        post(client, "/accounts/signup/", username=name, email=address, password1=old, password2=old)
        assert "not verified" in client.get("/accounts/email/").text
        post(client, link(mail_to(server, address, "Confirm")))
        assert "not verified" not in client.get("/accounts/email/").text
    with stack.client(headers={"Origin": stack.url}, follow_redirects=True) as client:
        post(client, "/accounts/password/reset/", email=address)
        post(client, link(mail_to(server, address, "Reset")), password1=new, password2=new)
        for password, path in ((old, "/accounts/login/"), (new, "/")):
            assert post(client, "/accounts/login/", login=name, password=password).url.path == path


def test_no_mail_is_lost(stack: Stack, server: Server, workers: list[str], record: Record) -> None:
    """Maintenance, kills, a roll and a restart of the database, while jobs are enqueued and run."""
    outages = not stack.setting("DATABASE_URL").startswith("sqlite")
    server.seconds = 0.1  # So that a killed worker has begun a job.
    server.received.clear()
    assert stack.make("maintenance on").returncode == 0
    with ThreadPoolExecutor() as pool:
        enqueued = pool.submit(stack.manage, "shell", "-c", ENQUEUE)
        try:
            for worker in workers * 2:
                before, pid = len(server.received), stack.pids()[worker]
                wait_until(lambda before=before: len(server.received) > before)  # type: ignore[misc]
                stack.kill(worker)
                wait_until(lambda worker=worker, pid=pid: stack.pids()[worker] not in (0, pid))  # type: ignore[misc]
            done = stack.make("restart", APP="jobs")
            assert done.returncode == 0, done.stdout
        finally:
            stack.manage("shell", "-c", ENOUGH)
        expected = {*re.findall(r"committed: (mail \d+)", enqueued.result())}
    if outages:
        with stack.outage("database", "stopped"):
            time.sleep(2)
    assert stack.make("maintenance off").returncode == 0
    wait_until(lambda: expected <= {message["Subject"] for _, message in server.received})
    wait_until(lambda: "left: 0" in stack.manage("shell", "-c", COUNT))
    # The other test's last mail may still arrive.
    counts = Counter(message["Subject"] for _, message in server.received if "[" not in message["Subject"])
    twice = counts.total() - len(counts)
    kills = len(workers) * 2
    what = f"jobs: kill -9 of workers {kills} ×, a roll" + ", the database stopped" * outages
    record(what, len(expected), len(expected - counts.keys()), twice, None, "mails; sent again: twice")
    assert counts.keys() == expected
    # A kill interrupts one job, and the outage one of each worker.
    assert twice <= kills + len(workers) * outages
    assert "rows: 1" in stack.manage("shell", "-c", PERIODIC)
    status = stack.make("status").stdout
    assert all(worker in status for worker in workers), status
