"""Requests that share reads: each gets a read that began after it arrived."""

import asyncio
from unittest.mock import Mock

import msgspec
import pytest

from tests.api.framework.sample import fresh
from tests.api.served import Served
from tests.api.watching import newest
from tornado_api import live, reads
from tornado_api.reads import Reads


class Source:
    """Counts the reads of `state`. Each waits until `go` is set, and returns its number."""

    def __init__(self) -> None:
        self.begun = self.running = 0
        self.go = asyncio.Event()

    async def state(self, id: int) -> dict[str, int]:
        self.begun += 1
        self.running += 1
        assert self.running == 1, "the same read ran twice at a time"
        number = self.begun
        await self.go.wait()
        self.running -= 1
        if id < 0:
            raise ValueError(number)
        return {"number": number}


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def numbers(requests: list[asyncio.Future[reads.Encoded]]) -> list[int]:
    return [msgspec.json.decode(found.json)["number"] for found in await asyncio.gather(*requests)]


async def test_requests_during_a_read_share_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded = Mock(side_effect=live.encode)
    monkeypatch.setattr(reads, "encode", encoded)
    source, shared = Source(), Reads()
    first = [shared.share(source.state, 1) for _ in range(3)]
    await turns()
    later = [shared.share(source.state, 1) for _ in range(3)]
    later[0].cancel()
    await turns()
    assert source.begun == 1
    source.go.set()
    assert await numbers(first) == [1, 1, 1]
    assert await numbers(later[1:]) == [2, 2]
    assert encoded.call_count == 2
    await turns()
    assert await numbers([shared.share(source.state, 1)]) == [3]
    await turns()
    assert not shared.waiting
    assert not shared.tasks


async def test_reads_with_other_arguments_are_not_shared() -> None:
    one, other, shared = Source(), Source(), Reads()
    requests = [shared.share(one.state, 1), shared.share(other.state, 1)]
    await turns()
    assert (one.begun, other.begun) == (1, 1)
    one.go.set()
    other.go.set()
    assert await numbers(requests) == [1, 1]
    assert await numbers([shared.share(one.state, 1), shared.share(one.state, 2)]) == [2, 3]


async def test_every_request_gets_the_exception_of_its_read() -> None:
    source, shared = Source(), Reads()
    source.go.set()
    found = await asyncio.gather(*(shared.share(source.state, -1) for _ in range(3)), return_exceptions=True)
    assert [str(each) for each in found] == ["1", "1", "1"]
    with pytest.raises(ValueError, match="2"):
        await shared.share(source.state, -1)


SLOW = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000000) SELECT MAX(i) FROM n"


@pytest.mark.slow
async def test_a_slow_read_does_not_block_the_loop(api: Served) -> None:
    subject = await fresh(api)
    read = asyncio.create_task(api.app.database.read(SLOW))
    answers = 0
    while not read.done():
        assert (await newest(api, subject))["total"] == 0
        answers += 1
    assert await read == [(2_000_000,)]
    assert answers > 5
