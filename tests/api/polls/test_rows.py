"""A row that should not exist, from an old dump or written by hand, costs itself and never a list."""

import pytest
import sqlalchemy as sa

from tests.api.polls.questions import ask
from tests.api.served import Served

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


@pytest.mark.parametrize("column", ["closes_at", "created_at", "text", "picture"])
async def test_a_row_that_should_not_exist(api: Served, column: str) -> None:
    asked = await ask(api)
    engine = api.app.database.engine
    if engine.dialect.name == "postgresql":
        async with engine.begin() as connection:
            drop = "ALTER TABLE polls_question DROP CONSTRAINT IF EXISTS polls_question_closes_at"
            await connection.exec_driver_sql(drop)
    for value in BAD[engine.dialect.name][column]:
        async with engine.begin() as connection:
            if engine.dialect.name == "sqlite":
                await connection.exec_driver_sql("PRAGMA ignore_check_constraints = ON")
            update = f"UPDATE polls_question SET {column} = {value} WHERE id = {asked.id}"  # noqa: S608
            await connection.exec_driver_sql(update)
        paths = ["", "?state=open", "?state=closed", f"/{asked.id}", f"/{asked.id}/results"]
        for path in paths:
            response = await api.client.get(f"/api/v1/questions{path}")
            assert response.status_code == 200, (value, path, response.text)
    async with engine.begin() as connection:
        await connection.execute(sa.text("DELETE FROM polls_choice WHERE question_id = :id").bindparams(id=asked.id))
        await connection.execute(sa.text("DELETE FROM polls_question WHERE id = :id").bindparams(id=asked.id))
