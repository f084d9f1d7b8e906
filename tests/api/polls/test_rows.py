"""A row that should not exist, from an old dump or written by hand, costs itself and never a list."""

from collections.abc import Iterable
from functools import partial

import pytest

from tests.api.polls.questions import ask, delete
from tests.api.served import Served
from tornado_api.database import Connection

ALLOW = {
    "sqlite": "PRAGMA ignore_check_constraints = ON",
    "postgresql": "ALTER TABLE polls_question DROP CONSTRAINT IF EXISTS polls_question_closes_at",
}
BAD = {
    "sqlite": {
        "closes_at": ["'10000-01-01 00:00:00'", "'2500-13-45 00:00:00'", "'soon'", "''", "x'ff'", "7"],
        "created_at": ["'0000-00-00 00:00:00'", "'soon'", "x'ff'", "7"],
        "text": ["CAST(x'ff41' AS TEXT)", "''"],
        "picture": ["CAST(x'ff' AS TEXT)"],
    },
    "postgresql": {
        "closes_at": ["'infinity'", "'-infinity'", "'10000-01-01'", "'0044-03-15 BC'"],
        "created_at": ["'infinity'", "'-infinity'", "'10000-01-01'", "'0044-03-15 BC'"],
        "text": ["''"],
        "picture": ["'../../x'"],
    },
}


def execute_all(statements: Iterable[str], connection: Connection) -> None:
    for statement in statements:
        connection.execute(statement)


@pytest.mark.parametrize("column", ["closes_at", "created_at", "text", "picture"])
async def test_a_row_that_should_not_exist(api: Served, database_url: str, column: str) -> None:
    asked = await ask(api)
    kind, _, _ = database_url.partition(":")
    for value in BAD[kind][column]:
        statements = (ALLOW[kind], f"UPDATE polls_question SET {column} = {value} WHERE id = {asked.id}")  # noqa: S608
        await api.app.database.call(partial(execute_all, statements))
        paths = ["", "?state=open", "?state=closed", f"/{asked.id}", f"/{asked.id}/results"]
        for path in paths:
            response = await api.client.get(f"/api/v1/questions{path}")
            assert response.status_code == 200, (value, path, response.text)
    await delete(api, asked)
