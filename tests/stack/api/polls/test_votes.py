"""Concurrent votes through both apps: each counts once, and every watcher sees it."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import httpx
import pytest

from tests.people import Person
from tests.sample import State, Subject
from tests.stack.api.polls import watchers
from tests.stack.api.polls.test_live import held
from tests.stack.api.polls.votes import vote_by_api
from tests.stack.site.polls.fixtures import vote_on_site
from tests.stacks import Stack

VOTERS = 40
# Seconds in which every watcher gets every tally, on a busy machine too.
SEEN = 60


def at_once(voters: list[Person], question: Subject) -> list[httpx.Response]:
    """All vote at the same moment, on the site and by the api in turn, for each choice in turn."""
    barrier = threading.Barrier(len(voters))

    def vote(number: int) -> httpx.Response:
        voter = voters[number]
        barrier.wait()
        cast = vote_on_site if number % 2 else vote_by_api
        return cast(voter, question.id, question.choices[number // 2 % 2])

    with ThreadPoolExecutor(len(voters)) as threads:
        return list(threads.map(vote, range(len(voters))))


def results(stack: Stack, question: Subject) -> dict[str, object]:
    with stack.client() as client:
        tally: dict[str, object] = client.get(f"/api/v1/questions/{question.id}/results").json()
    return tally


def test_one_person_fifty_times(stack: Stack, ask: Callable[..., Subject], people: Iterator[Person]) -> None:
    asked, person = ask(), next(people)
    statuses = Counter(response.status_code for response in at_once([person] * 50, asked))
    assert statuses[200] + statuses[201] + statuses[302] == 1, statuses
    assert statuses[409] == 49, statuses
    assert results(stack, asked)["total"] == 1
    rows = stack.manage(
        "shell",
        "--verbosity=0",
        f"--command=from polls.models import Vote; print(Vote.objects.filter(question={asked.id}).count())",
    )
    assert rows.strip() == "1"


def test_everybody_at_once_while_others_watch(
    stack: Stack, ask: Callable[..., Subject], people: Iterator[Person]
) -> None:
    asked = ask()

    def watch(tallies: Iterator[State], started: threading.Barrier) -> list[State]:
        """Return every tally that a watcher gets, from the empty one to the one with all votes."""
        seen = [next(tallies)]
        started.wait(SEEN)
        while seen[-1]["total"] < VOTERS:
            seen.append(next(tallies))
        return seen

    # As many of each kind as the api has workers, so that each worker has watchers.
    ways = [watchers.events, watchers.messages, watchers.long_polls] * (2 * stack.cores)
    started = threading.Barrier(len(ways) + 1)
    with ThreadPoolExecutor(len(ways)) as threads:
        watching: list[Future[list[State]]] = [threads.submit(watch, way(stack, asked.live), started) for way in ways]
        started.wait(SEEN)
        answers = at_once([next(people) for _ in range(VOTERS)], asked)
        assert Counter(answer.status_code for answer in answers).keys() <= {200, 201, 302}
        histories = [future.result(SEEN) for future in watching]

    final = results(stack, asked)
    assert final["total"] == VOTERS
    assert [choice["votes"] for choice in histories[0][-1]["choices"]] == [VOTERS / 2, VOTERS / 2]
    for history in histories:
        assert history[0]["total"] == 0
        assert history[-1] == final
        versions = [tally["version"] for tally in history]
        assert versions == sorted(set(versions)), "a version came twice, or an older one later"


@pytest.mark.parametrize("way", [watchers.events, watchers.messages, watchers.long_polls])
def test_a_vote_on_the_site_reaches_every_worker_of_the_api(
    stack: Stack,
    ask: Callable[..., Subject],
    people: Iterator[Person],
    way: Callable[[Stack, str], Iterator[State]],
) -> None:
    asked = ask()
    watching = [way(stack, asked.live) for _ in range(2 * stack.cores)]
    assert {next(tallies)["total"] for tallies in watching} == {0}
    if way is not watchers.long_polls:
        spread = held(stack)
        assert all(spread.values()), spread
    assert vote_on_site(next(people), asked.id, asked.choices[0]).status_code == 302
    assert {next(tallies)["total"] for tallies in watching} == {1}
