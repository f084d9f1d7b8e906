"""503 for polls too while the database is gone or blocked."""

import pytest
from django.db import connection
from django.test import Client
from polls.models import Question, Vote

from tests import servers
from tests.site.test_unavailable import locked


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("path", ["/", "/?state=closed", "/questions/{}/"])
def test_without_a_database(client: Client, question: Question, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    client.raise_request_exception = False
    name, value = {"postgresql": ("PORT", servers.free_port()), "sqlite": ("NAME", "/nowhere/db")}[connection.vendor]
    with monkeypatch.context() as elsewhere:
        elsewhere.setitem(connection.settings_dict, name, value)
        connection.close()
        answer = client.get(path.format(question.pk))
    connection.close()
    assert answer.status_code == 503
    assert "Back in a moment" in answer.content.decode()
    assert client.get(path.format(question.pk)).status_code == 200


@pytest.mark.django_db(transaction=True)
def test_a_vote_that_waits_for_a_lock(member: Client, question: Question) -> None:
    member.raise_request_exception = False
    path, form = f"/questions/{question.pk}/vote/", {"choice": str(question.choices.all()[0].pk)}
    with locked("polls_vote"):
        answer = member.post(path, form)
        assert answer.status_code == 503
        assert "Back in a moment" in answer.content.decode()
        assert member.get(f"/questions/{question.pk}/").status_code == 200  # reading goes on
    assert not Vote.objects.exists()
    assert member.post(path, form).status_code == 302
