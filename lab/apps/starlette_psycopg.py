"""The API's reads in Starlette with psycopg_pool, as people write them by hand. `make bench` measures it."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import msgspec
from psycopg_pool import AsyncConnectionPool
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tornado_api.database import in_postgresql
from tornado_api.polls.store import PAGE_SIZE, QUESTIONS, TALLY

pool = AsyncConnectionPool(os.environ["DATABASE_URL"], min_size=4, open=False, kwargs={"autocommit": True})
COLUMNS = ("id", "text", "picture", "created_at", "closes_at", "version")


@asynccontextmanager
async def lifespan(_: Starlette) -> AsyncIterator[None]:
    async with pool:
        yield


async def read(sql: str, **values: Any) -> list[tuple[Any, ...]]:
    async with pool.connection() as connection:
        return await (await connection.execute(in_postgresql(sql), values)).fetchall()


def as_json(value: object) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json")


async def results(request: Request) -> Response:
    id = request.path_params["id"]
    rows = await read(TALLY, id=id)
    if not rows:
        raise HTTPException(404)
    version, closes_at, *_ = rows[0]
    choices = [{"id": id, "text": text, "votes": votes} for _, _, id, text, votes in rows if id is not None]
    total = sum(choice["votes"] for choice in choices)
    return as_json(
        {"question": id, "version": version, "closes_at": closes_at, "total": total, "choices": choices},
    )


async def questions(_: Request) -> Response:
    rows = await read(QUESTIONS, now=datetime.now(UTC), limit=PAGE_SIZE + 1, offset=0)
    found = [dict(zip(COLUMNS, row, strict=True)) for row in rows[:PAGE_SIZE]]
    for question in found:
        question["picture"] = f"/media/{question['picture']}" if question["picture"] else None
    return as_json({"questions": found, "page": 1, "next": 2 if len(rows) > PAGE_SIZE else None})


application = Starlette(
    routes=[Route("/api/v1/questions/{id:int}/results", results), Route("/api/v1/questions", questions)],
    lifespan=lifespan,
)
