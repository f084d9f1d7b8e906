"""A vote is the same row, whichever app takes it."""

import asyncio
import os
import sys
from collections import Counter

import pytest

from tests.api.checks import problem
from tests.api.polls.questions import ask, vote
from tests.api.served import PROJECT, Served
from tests.api.watching import newest
from tests.site.commands import manage

pytestmark = pytest.mark.slow


async def test_site_and_api_write_the_same_row(api: Served, database_url: str) -> None:
    """Django's constraint rejects the second vote, whichever app took the first."""
    asked = await ask(api)
    cast = f"from polls.models import Vote; Vote.cast({asked.id}, {asked.choices[0]}, 1)"
    done = await asyncio.to_thread(manage, "shell", "-v0", "-c", cast, DATABASE_URL=database_url)
    done.check_returncode()
    problem(await vote(api, asked, user=1), 409)
    assert (await vote(api, asked, user=2)).status_code == 201
    every = "SELECT question_id, choice_id, created_at FROM polls_vote WHERE question_id = :id ORDER BY voter_id"
    (*theirs, their_time), (*ours, our_time) = await api.app.database.read(every, id=asked.id)
    assert theirs == ours
    assert type(their_time) is type(our_time)
    assert len(str(their_time)) == len(str(our_time))


VOTE_ON_THE_SITE = """
from concurrent.futures import ThreadPoolExecutor
from polls.models import Vote

def cast(voter):
    Vote.cast(QUESTION, CHOICE, voter, f"key-{voter}")

with ThreadPoolExecutor(4) as threads:
    print("ready", flush=True)
    input()
    list(threads.map(cast, VOTERS))
"""


async def test_votes_sent_many_times_to_site_and_api_at_once(api: Served, database_url: str) -> None:
    asked, voters = await ask(api), list(range(1, 21)) * 3
    words = {"QUESTION": asked.id, "CHOICE": asked.choices[0], "VOTERS": voters}
    script = VOTE_ON_THE_SITE
    for word, value in words.items():
        script = script.replace(word, str(value))
    site = await asyncio.create_subprocess_exec(
        *[sys.executable, "django_site/manage.py", "shell", "-v0", "-c", script],
        cwd=PROJECT,
        env=os.environ | {"DATABASE_URL": database_url},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert site.stdin
    assert site.stdout
    assert await site.stdout.readline() == b"ready\n"
    # In reverse order, and started first, so that each app takes votes that the other one gets too.
    sent = [asyncio.ensure_future(vote(api, asked, user=voter, key=f"key-{voter}")) for voter in voters[::-1]]
    await asyncio.wait(sent, return_when=asyncio.FIRST_COMPLETED)
    site.stdin.write(b"\n")
    answers = await asyncio.gather(*sent)
    async with asyncio.timeout(60):
        assert await site.wait() == 0
    assert Counter(answer.status_code for answer in answers) == {201: len(voters)}
    results = await newest(api, asked)
    assert (results["total"], results["version"]) == (20, 20)
