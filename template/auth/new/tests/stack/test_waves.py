"""Waves under concurrency, through both applications at once: each counts once, and everybody sees it."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import httpx
import pytest

from tests.people import Person
from tests.sample import ENDPOINT, LIVE, State, write_by_api, write_on_site
from tests.stack import watchers
from tests.stacks import AnyStack

WRITERS = 40
# Within this many seconds, on a busy machine too, everybody has seen everything.
SEEN = 60


def at_once(people: list[Person], key: str = "") -> list[httpx.Response]:
    """All send a wave at the same moment, every other one on the site; the same one, with this key."""
    barrier = threading.Barrier(len(people))

    def send(number: int) -> httpx.Response:
        with people[number].client() as client:
            barrier.wait()
            return (write_on_site if number % 2 else write_by_api)(client, key)

    with ThreadPoolExecutor(len(people)) as threads:
        return list(threads.map(send, range(len(people))))


def newest(stack: AnyStack) -> State:
    with stack.client() as client:
        state: State = client.get(ENDPOINT).json()
    return state


def test_one_wave_fifty_times(stack: AnyStack, people: Iterator[Person]) -> None:
    before, person = newest(stack)["total"], next(people)
    statuses = Counter(response.status_code for response in at_once([person] * 50, key="one"))
    assert statuses == {201: 25, 302: 25}
    assert newest(stack)["total"] == before + 1


def test_everybody_at_once_while_others_watch(stack: AnyStack, people: Iterator[Person]) -> None:
    before = newest(stack)["total"]

    def watch(states: Iterator[State], started: threading.Barrier) -> list[State]:
        """Every state that a watcher sees, from the one before to that with all waves."""
        seen = [next(states)]
        started.wait(SEEN)
        while seen[-1]["total"] < before + WRITERS:
            seen.append(next(states))
        return seen

    # As many of each kind as there are api processes: each process has watchers.
    ways = [watchers.events, watchers.messages, watchers.polls] * (2 * stack.cores)
    started = threading.Barrier(len(ways) + 1)
    with ThreadPoolExecutor(len(ways)) as threads:
        watching: list[Future[list[State]]] = [threads.submit(watch, way(stack, LIVE), started) for way in ways]
        started.wait(SEEN)
        answers = at_once([next(people) for _ in range(WRITERS)])
        assert Counter(answer.status_code for answer in answers) == {201: WRITERS / 2, 302: WRITERS / 2}
        histories = [future.result(SEEN) for future in watching]

    final = newest(stack)
    assert final["total"] == before + WRITERS
    for history in histories:
        assert history[0]["total"] == before
        assert history[-1] == final
        versions = [state["version"] for state in history]
        assert versions == sorted(set(versions)), "a version came twice, or an older one later"


@pytest.mark.parametrize("way", [watchers.events, watchers.messages, watchers.polls])
def test_a_wave_on_the_site_reaches_every_api_process(
    stack: AnyStack, people: Iterator[Person], way: Callable[[AnyStack, str], Iterator[State]]
) -> None:
    before = newest(stack)["total"]
    watching = [way(stack, LIVE) for _ in range(2 * stack.cores)]
    assert {next(states)["total"] for states in watching} == {before}
    if way is not watchers.polls:
        spread = [figures["watchers"] for figures in stack.api_stats().values()]
        assert all(spread), spread
    with next(people).client() as writer:
        assert write_on_site(writer).status_code == 302
    assert {next(states)["total"] for states in watching} == {before + 1}
