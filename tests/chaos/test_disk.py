"""Full disks for logs and for uploads: small real disks that only the processes of the stack see."""

import asyncio
import os
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from deploy.core.probe import UNCACHED
from tests import servers
from tests.chaos.faulty import faulty
from tests.chaos.load import Load
from tests.chaos.recovery import seconds_until, workers
from tests.chaos.table import Record
from tests.people import CSRF
from tests.sample import ENDPOINT, PAGE, PNG, Crowd
from tests.stacks import NativeStack, database

# Parts of var/: the logs, the uploads, and nginx's buffer for bodies that are still arriving.
DISKS = {"log": "6m", "media": "1m", "tmp": "20m"}
LOGS = {"site": ("site-a.log", "site-b.log"), "api": ("api-a.log", "api-b.log")}


def all_workers(stack: NativeStack) -> set[int]:
    return workers(stack, "nginx", *stack.instances)


class Confined(NativeStack):
    """A mount namespace: only the processes that were started in it see its mounts, which disappear with them."""

    def up(self) -> str:
        for name in DISKS:
            (self.var / name).mkdir(parents=True)
        mounts = "".join(f"mount -t tmpfs -o size={size} tmpfs {self.var / name}; " for name, size in DISKS.items())
        if os.geteuid() == 0:
            inside = ["unshare", "--mount", "sh", "-ec", f'{mounts} exec "$@"', "sh"]
        else:
            # Root in a user namespace, to mount; in a second one inside, the original user.
            back = f"unshare --user --map-user={os.geteuid()} --map-group={os.getegid()}"
            inside = [
                "unshare",
                "--user",
                "--map-root-user",
                "--mount",
                "sh",
                "-ec",
                f'{mounts} exec {back} "$@"',
                "sh",
            ]
        if subprocess.run([*inside, "true"], check=False).returncode:
            raise servers.Missing("mounting, which this kernel does not let this user do in a namespace")
        command = [*inside, "make", "--no-print-directory", "up"]
        done = subprocess.run(
            command, cwd=self.project, env=self.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    @property
    def seen(self) -> Path:
        """Return var/ as the stack's processes see it."""
        return Path(f"/proc/{self.processes()[0].pid}/root{self.var}")

    @contextmanager
    def full(self, disk: str) -> Iterator[None]:
        filler = self.seen / disk / "filler"
        with filler.open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(4096))
        try:
            yield
        finally:
            filler.unlink()

    def logs(self, request_id: str, *logs: str) -> bool:
        return any(request_id in (self.seen / "log" / log).read_text() for log in logs)


@pytest.fixture(scope="module")
def confined() -> Iterator[Confined]:
    with faulty() as project:
        stack = Confined(project.parent, database(), project)
        try:
            stack.up()
            yield stack
        finally:
            if (stack.var / "run").exists():
                stack.down()


@pytest.fixture(scope="module")
def confined_crowd(confined: Confined) -> Crowd:
    return Crowd.gather(confined)


async def test_no_room_for_logs(confined: Confined, confined_crowd: Crowd, record: Record, short: bool) -> None:
    stack = confined
    paths = {"site": PAGE, "api": ENDPOINT}

    def ask() -> dict[str, str]:
        """Return the id of a request to each app."""
        with stack.client(headers=UNCACHED) as client:
            return {app: client.get(path).headers["X-Request-ID"] for app, path in paths.items()}

    def logged(ids: dict[str, str]) -> bool:
        return all(stack.logs(ids[app], *LOGS[app]) and stack.logs(ids[app], "access.log") for app in paths)

    ids = ask()
    await seconds_until(lambda: logged(ids))
    before, supervisord = all_workers(stack), stack.processes()[0]
    async with Load(stack, confined_crowd) as load:
        await asyncio.sleep(2)
        size = supervisord.memory_info().rss
        with stack.full("log"):
            await asyncio.sleep(3 if short else 8)
            lost = ask()
            await asyncio.sleep(2)
            assert not any(stack.logs(lost[app], *LOGS[app], "access.log") for app in paths), "the disk was not full"
            grown = (supervisord.memory_info().rss - size) / 1e6
        ids = ask()
        seconds = await seconds_until(lambda: logged(ids))
        await asyncio.sleep(1)
    record("no room for logs", *load.figures(), seconds, load.saw())
    assert (load.failed(), load.sum("resent"), load.cut) == (0, 0, {}), load.report()
    assert all_workers(stack) == before, "a worker was restarted"
    assert grown < 5, f"supervisord keeps what it cannot write: {grown:.0f} MB"


@pytest.mark.parametrize(
    ("disk", "status", "says"),
    [("media", 507, "has no room"), ("tmp", 500, "Something went wrong")],  # The second is nginx's own.
)
async def test_no_room_for_uploads(
    confined: Confined, confined_crowd: Crowd, record: Record, short: bool, disk: str, status: int, says: str
) -> None:
    stack, author, text = confined, confined_crowd.people[0], f"Is there room in {disk}?"

    def upload() -> httpx.Response:
        form = {"text": text, "choices": "Yes\nNo", "csrfmiddlewaretoken": CSRF}
        with stack.client(cookies=author.cookies) as client:
            # Larger than the buffers of nginx and uWSGI.
            return client.post("/questions/new/", data=form, files={"picture": ("p.png", PNG.ljust(500_000, b"\0"))})

    def pictures() -> set[Path]:
        return {*stack.seen.glob("media/pictures/*")}

    before = all_workers(stack)
    async with Load(stack, confined_crowd) as load:
        await asyncio.sleep(1)
        with stack.full(disk):
            stored = pictures()
            refused = [await asyncio.to_thread(upload) for _ in range(3)]
            await asyncio.sleep(2 if short else 6)
            assert pictures() == stored, "a part of a picture was left"
        seconds = await seconds_until(lambda: upload().status_code == 302)
        await asyncio.sleep(1)
    sent, failed, resent = load.figures()
    failures = load.counts["site upload"].failures
    seen = failures + Counter(str(answer.status_code) for answer in refused)
    note = f"uploads: {', '.join(f'{what} × {number}' for what, number in seen.items())}; else nothing"
    record(
        f"no room for uploads in var/{disk}", sent + len(refused), failed - failures[str(status)], resent, seconds, note
    )
    for answer in refused:
        assert answer.status_code == status
        assert says in answer.text
    assert failed == failures[str(status)], load.report()
    assert (resent, load.cut) == (0, {}), load.report()
    assert all_workers(stack) == before, "a worker was restarted"
    count = f"from polls.models import Question; print(Question.objects.filter(text='{text}').count())"
    assert stack.manage("shell", "--verbosity=0", "--command", count).strip() == "1", (
        "a question that was refused is there"
    )
