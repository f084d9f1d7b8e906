"""The scripts of live results. A project without the api has neither them nor this file."""

from django.test import Client
from polls.models import Question


def test_an_open_question_loads_the_scripts(client: Client, question: Question) -> None:
    page = client.get(f"/questions/{question.pk}/").content.decode()
    assert 'src="/static/polls/polls.' in page
    assert 'src="/static/polls/live.' in page
