"""Questions for the tests of polls."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from polls.models import Question


@pytest.fixture
def new_question(db: None) -> Callable[..., Question]:
    """`new_question("a", "b", text=…)` has the choices a and b."""
    from polls.models import Choice, Question

    def new(*choices: str, **fields: Any) -> Question:
        question = Question.objects.create(**{"text": "Tea or coffee?"} | fields)
        for position, text in enumerate(choices or ("Tea", "Coffee")):
            Choice.objects.create(question=question, text=text, position=position)
        return question

    return new


@pytest.fixture
def question(new_question: Callable[..., Question]) -> Question:
    return new_question()
