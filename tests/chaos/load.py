"""Steady load on a stack: requests of every kind, their outcomes, and proof that each write counted once.

    async with Load(stack, crowd) as load:
        ...  # an operation that must not disturb clients
    assert load.failed() == 0, load.report()

Clients keep their connections, as browsers do. Each has its own address, because nginx limits writes by address.
"""

import asyncio
import itertools
import json
import random
import re
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import httpx
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from deploy.core.probe import UNCACHED
from tests.chaos.client import PATIENCE, Answer, Connection, Lost, blocks
from tests.people import CSRF
from tests.sample import PNG, Crowd, State, Subject, Write
from tests.stacks import Stack

# 5 MB that take no time to decode: decoders ignore bytes after a picture's end.
PICTURE = PNG.ljust(5_000_000, b"\0")

# Requests that clients may repeat, so that none has to fail; and requests that they may not repeat.
GETS = (
    "static",
    "site page",
    "site page, logged in",
    "site 3 s",
    "api read",
    "api 3 s",
    "api long-poll",
    "api events",
    "api socket",
)
POSTS = ("site write", "site upload", "api write")
SITE = tuple(kind for kind in GETS + POSTS if kind.startswith("site"))
API = tuple(kind for kind in GETS + POSTS if kind.startswith("api"))


@dataclass
class Count:
    """The outcomes of one kind of request. `refused` has the seconds of each allowed 503 with Retry-After."""

    sent: int = 0
    answered: int = 0
    resent: int = 0
    # Seconds of the slowest request.
    slowest: float = 0
    refused: list[float] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)


@dataclass
class Watcher:
    """A watcher and its newest state."""

    kind: str
    subject: Subject
    state: State = field(default_factory=lambda: {"version": -1})
    # False until a connection's first state: changes that it missed before are not late.
    following: bool = False
    left: float | None = None


class Load:
    """The clients, at about 250 requests per second where `stack.slower` is 1.

    The `refusable` kinds may get a 503 with Retry-After.
    """

    def __init__(self, stack: Stack, crowd: Crowd, refusable: Iterable[str] = (), watchers: int = 8) -> None:
        self.stack = stack
        self.people = crowd.people
        self.refusable = refusable
        self.counts = {kind: Count() for kind in GETS + POSTS}
        self.writes = crowd.writes()
        self.acknowledged: list[Write] = []
        # The times of the writes that the api acknowledged, by version.
        self.counted: dict[tuple[Subject, int], float] = {}
        self.watchers = [
            Watcher(kind, subject)
            for kind in ("api events", "api socket", "api long-poll")
            for _, subject in zip(range(watchers), itertools.cycle(self.writes.subjects[:4]), strict=False)
        ]
        # Of watchers: announced disconnects, and unannounced ones; the seconds until they reconnected; and, by time,
        # how much later than the writer they received a change.
        self.told: Counter[str] = Counter()
        self.cut: Counter[str] = Counter()
        self.back: dict[str, list[float]] = {"api events": [], "api socket": []}
        self.late: list[tuple[float, float]] = []
        self.wrong: list[str] = []
        self.stopping = asyncio.Event()
        self.connections: list[Connection] = []

    async def __aenter__(self) -> Self:
        self.began = time.monotonic()
        subject = self.writes.subjects[0]
        style = re.search(r'/static/[^"]+\.css', (await self.connection().ask("GET", subject.page)).body.decode())
        assert style
        known = {"Cookie": self.people[0].cookie}
        clients = [
            *(self.get("static", style[0], pause=0.05) for _ in range(6)),
            *(self.get("site page", subject.page, pause=0.15, headers=UNCACHED) for _ in range(4)),
            *(self.get("site page, logged in", subject.page, pause=0.15, headers=known) for _ in range(2)),
            *(self.get("api read", subject.endpoint, pause=0.07) for _ in range(6)),
            self.get("site 3 s", "/faults/sleep?seconds=3", pause=2),
            self.get("api 3 s", "/api/v1/faults/sleep?seconds=3", pause=2),
            *(self.write(kind, pause=0.4) for kind in ("site write", "api write") for _ in range(4)),
            self.upload(pause=5),
        ]
        ways = {"api events": self.events, "api socket": self.socket, "api long-poll": self.long_poll}
        self.clients = [asyncio.create_task(each) for each in clients]
        self.watching = [asyncio.create_task(ways[watcher.kind](watcher)) for watcher in self.watchers]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stopping.set()
        try:
            if error is None:
                # Writers repeat a write until it is acknowledged.
                _, unfinished = await asyncio.wait(self.clients, timeout=2 * PATIENCE)
                assert not unfinished, f"clients that never got what they wanted: {self.report()}"
                await asyncio.gather(*self.clients)
                await self.settle()
        finally:
            for task in self.clients + self.watching:
                task.cancel()
            await asyncio.gather(*self.clients, *self.watching, return_exceptions=True)
            for connection in self.connections:
                connection.close()

    async def settle(self) -> None:
        """Check invariants after any fault: each write counted once, and every watcher has the last state."""
        connection = self.connection()
        newest = {
            subject: json.loads((await connection.ask("GET", subject.endpoint)).body)
            for subject in self.writes.subjects
        }
        await asyncio.to_thread(self.writes.verify, self.stack, self.acknowledged, newest)
        deadline = time.monotonic() + PATIENCE
        while behind := [watcher for watcher in self.watchers if watcher.state != newest[watcher.subject]]:
            for task in self.watching:
                if task.done():
                    task.result()
            assert time.monotonic() < deadline, f"watchers that have not heard of the last write: {behind}"
            await asyncio.sleep(0.1)
        assert not self.wrong, self.wrong

    # The clients

    async def send(
        self, kind: str, connection: Connection, method: str, target: str, headers: Mapping[str, str], body: bytes = b""
    ) -> Answer | None:
        """Try once. Return None unless the response is the expected one."""
        count = self.counts[kind]
        count.sent += 1
        began = time.monotonic()
        try:
            answer = await connection.ask(method, target, headers, body)
        except Lost as lost:
            self.lost(kind, lost)
            return None
        finally:
            count.slowest = max(count.slowest, time.monotonic() - began)
        if answer.status >= 400 or (method == "POST" and answer.status not in (201, 302)):
            self.unwanted(kind, answer.status, answer.headers, time.monotonic() - began)
            return None
        count.answered += 1
        return answer

    def lost(self, kind: str, lost: Lost) -> None:
        """Repeat a GET where RFC 9112 allows it, and a write in any case, because it has a key."""
        if (lost.unheard and kind in GETS) or kind.endswith("write"):
            self.counts[kind].resent += 1
        else:
            self.counts[kind].failures[str(lost)] += 1

    def unwanted(self, kind: str, status: int, headers: dict[str, str], seconds: float) -> None:
        if status == 503 and "retry-after" in headers and kind in self.refusable:
            self.counts[kind].refused.append(seconds)
        else:
            self.counts[kind].failures[str(status)] += 1

    def connection(self) -> Connection:
        self.connections.append(Connection(self.stack))
        return self.connections[-1]

    async def rest(self, seconds: float) -> None:
        """Sleep, at most until the load stops."""
        with suppress(TimeoutError):
            async with asyncio.timeout(random.uniform(0.5, 1.5) * seconds):
                await self.stopping.wait()

    async def get(self, kind: str, target: str, pause: float, headers: Mapping[str, str] = {}) -> None:
        connection = self.connection()
        while not self.stopping.is_set():
            await self.send(kind, connection, "GET", target, headers)
            await self.rest(self.stack.slower * pause)

    async def write(self, kind: str, pause: float) -> None:
        connection = self.connection()
        while not self.stopping.is_set():
            write = next(self.writes)
            target, headers, body = write.request(kind)
            while (answer := await self.send(kind, connection, "POST", target, headers, body)) is None:  # noqa: ASYNC110
                await asyncio.sleep(random.uniform(0.5, 1.5))
            self.acknowledged.append(write)
            if kind == "api write":
                self.counted[write.subject, json.loads(answer.body)["version"]] = time.monotonic()
            await self.rest(pause)

    async def upload(self, pause: float) -> None:
        form = {"text": "With a picture", "choices": "Yes\nNo", "csrfmiddlewaretoken": CSRF}
        request = httpx.Request("POST", "http://any/", data=form, files={"picture": ("p.png", PICTURE)})
        body = request.read()
        connection = self.connection()
        while not self.stopping.is_set():
            # A user may store only so many.
            headers = {"Cookie": random.choice(self.people).cookie, "Content-Type": request.headers["Content-Type"]}
            await self.send("site upload", connection, "POST", "/questions/new/", headers, body)
            await self.rest(pause)

    # Watchers

    def came(self, watcher: Watcher) -> None:
        self.counts[watcher.kind].answered += 1
        if watcher.left is not None:
            self.back[watcher.kind].append(time.monotonic() - watcher.left)
        watcher.following = False

    def went(self, watcher: Watcher, told: bool, how: str) -> None:
        watcher.left = time.monotonic()
        (self.told if told else self.cut)[f"{watcher.kind}: {how}"] += 1

    def hear(self, watcher: Watcher, state: State) -> None:
        now, last = time.monotonic(), watcher.state["version"]
        if state["version"] < last:
            self.wrong.append(f"{watcher.kind}: version {state['version']} after {last}")
        if watcher.following:
            for version in range(last + 1, state["version"] + 1):
                if written := self.counted.get((watcher.subject, version)):
                    self.late.append((now, now - written))
                    break
        watcher.state, watcher.following = state, True

    async def events(self, watcher: Watcher) -> None:
        connection, retry = self.connection(), 1.0
        while True:
            last, began = {"": "nothing"}, time.monotonic()
            version = watcher.state["version"]
            headers = {"Last-Event-ID": str(version)} if version >= 0 else {}
            self.counts[watcher.kind].sent += 1
            try:
                answer = await connection.begin("GET", f"{watcher.subject.live}/events", headers)
            except Lost as lost:
                self.lost(watcher.kind, lost)
            else:
                if answer.status == 200:
                    self.came(watcher)
                    try:
                        async for last in blocks(connection.data()):
                            retry = int(last.get("retry", retry * 1000)) / 1000
                            if "data" in last:
                                self.hear(watcher, json.loads(last["data"]))
                        told = "retry" in last
                        self.went(watcher, told, how="ended" if told else "ended without retry")
                    except Lost as lost:
                        self.went(watcher, told=False, how=str(lost))
                else:
                    connection.close()
                    self.unwanted(watcher.kind, answer.status, answer.headers, time.monotonic() - began)
            await asyncio.sleep(retry)

    async def socket(self, watcher: Watcher) -> None:
        address = f"{self.stack.url.replace('http', 'ws', 1)}{watcher.subject.live}/socket"
        while True:
            began = time.monotonic()
            self.counts[watcher.kind].sent += 1
            try:
                async with connect(
                    address,
                    ssl=self.stack.tls,
                    local_addr=(next(self.stack.addresses), 0),
                    proxy=None,
                    open_timeout=PATIENCE,
                    ping_interval=None,
                ) as socket:
                    self.came(watcher)
                    while True:
                        async with asyncio.timeout(PATIENCE):
                            self.hear(watcher, json.loads(await socket.recv()))
            except ConnectionClosed as closed:
                code = closed.rcvd.code if closed.rcvd else "without a word"
                self.went(watcher, told=code == 1012, how=f"closed {code}")
            except InvalidStatus as refused:
                response = refused.response
                headers = {name.lower(): value for name, value in response.headers.raw_items()}
                self.unwanted(watcher.kind, response.status_code, headers, time.monotonic() - began)
            except (OSError, InvalidHandshake, TimeoutError) as error:
                self.counts[watcher.kind].failures[type(error).__name__] += 1
            await asyncio.sleep(random.uniform(0.5, 5))

    async def long_poll(self, watcher: Watcher) -> None:
        connection = self.connection()
        while True:
            last = watcher.state["version"]
            target = f"{watcher.subject.live}/poll?after={last}&wait={15 if last >= 0 else 0}"
            answer = await self.send(watcher.kind, connection, "GET", target, {})
            if answer is None:
                watcher.following = False
                await asyncio.sleep(random.uniform(0.5, 1.5))
            elif answer.status == 200:
                self.hear(watcher, json.loads(answer.body))

    # The outcomes

    def sum(self, what: str, kinds: Iterable[str] = GETS + POSTS) -> int:
        figures = (getattr(self.counts[kind], what) for kind in kinds)
        return sum(figure if isinstance(figure, int) else len(figure) for figure in figures)

    def failed(self, kinds: Iterable[str] = GETS + POSTS) -> int:
        return sum(self.counts[kind].failures.total() for kind in kinds)

    @property
    def rate(self) -> float:
        """Return requests per second so far."""
        return self.sum("sent") / (time.monotonic() - self.began)

    def figures(self) -> tuple[int, int, int]:
        """Return the numbers for the table: sent, failed, sent again."""
        return self.sum("sent"), self.failed(), self.sum("resent")

    def saw(self) -> str:
        """Describe in a few words what clients saw."""
        seen = Counter({"503 with Retry-After": self.sum("refused"), "watchers cut": self.cut.total()})
        for count in self.counts.values():
            seen += count.failures
        return ", ".join(f"{what} × {number:,}" for what, number in seen.items() if number) or "nothing"

    def report(self) -> str:
        text = f"{'':<22}      sent  answered   refused    resent    failed\n"
        for kind, count in self.counts.items():
            figures = (count.sent, count.answered, len(count.refused), count.resent, count.failures.total())
            how = ", ".join(f"{reason} × {number}" for reason, number in count.failures.most_common())
            text += f"{kind:<22}{''.join(f'{figure:>10,}' for figure in figures)}  {how}".rstrip() + "\n"
        return f"\n{text}watchers told: {dict(self.told)}, cut: {dict(self.cut)}; written: {len(self.acknowledged)}"
