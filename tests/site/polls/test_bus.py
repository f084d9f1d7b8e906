from typing import Any

import pytest
from accounts.models import User
from django.db import transaction
from django.test import Client
from polls.models import Question, Vote
from redis import Redis

from tests import servers


@pytest.mark.django_db(transaction=True)
def test_a_change_is_published_after_its_commit(user: User, question: Question, settings: Any, new_bus: None) -> None:
    with servers.redis() as settings.REDIS_URL, Redis.from_url(settings.REDIS_URL) as redis, redis.pubsub() as channel:
        channel.subscribe("changes")
        assert channel.get_message(timeout=5)["type"] == "subscribe"
        with transaction.atomic():
            Vote.cast(question.pk, question.choices.all()[0].pk, user.pk)
            assert channel.get_message(timeout=0.2) is None
        assert channel.get_message(timeout=5)["data"] == f"polls:{question.pk}".encode()
        for change in (question.save, user.delete, question.choices.all()[0].delete):
            change()
            assert channel.get_message(timeout=5)["data"] == f"polls:{question.pk}".encode()


@pytest.mark.django_db(transaction=True)
def test_a_vote_counts_without_the_bus(
    member: Client, question: Question, settings: Any, new_bus: None, caplog: pytest.LogCaptureFixture
) -> None:
    settings.REDIS_URL = f"redis://127.0.0.1:{servers.free_port()}/0"
    response = member.post(f"/questions/{question.pk}/vote/", {"choice": question.choices.all()[0].pk})
    assert response.status_code == 302
    assert Vote.objects.count() == 1
    assert "not published" in caplog.text
