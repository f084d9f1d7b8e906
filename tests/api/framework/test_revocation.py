"""Revoked tokens: rejected by the next write, and by reads as soon as the process has read its list again."""

import asyncio
import time
from datetime import UTC, datetime, timedelta

import pytest
from websockets.asyncio.client import connect

from tests.api.checks import problem
from tests.api.framework.sample import fresh
from tests.api.framework.waiting import until
from tests.api.served import Served
from tests.api.tokens import USERS, owner, token
from tornado_api import revocation
from tornado_api.auth import Token
from tornado_api.database import NoUser, Unavailable
from tornado_api.revocation import Revocations

LAST = USERS - 1


async def record(api: Served, id: str, user: int | None, expires_in: int = 60) -> None:
    """Write what the site writes of a token."""
    expires_at = datetime.now(UTC) + timedelta(seconds=expires_in)
    sql = "INSERT INTO tokens_token (jti, user_id, expires_at) VALUES (:id, :user, :expires_at)"
    await api.app.database.execute(sql, id=id, user=user, expires_at=expires_at)


async def revoke(api: Served, id: str) -> None:
    await api.app.database.execute("UPDATE tokens_token SET user_id = NULL WHERE jti = :id", id=id)


def is_refused(api: Served, token: Token) -> bool:
    try:
        api.app.revocations.check(token)
    except NoUser:
        return True
    return False


async def test_the_next_write_after_a_revocation(api: Served) -> None:
    await record(api, "written", 1)
    subject = await fresh(api)
    headers = {"Authorization": f"Bearer {token(jti='written')}"}
    address = f"/api/v1/counters/{subject.id}"
    assert (await api.client.post(address, json={"by": 1}, headers=headers)).status_code == 201
    await revoke(api, "written")
    # The process has not read its list since.
    response = await api.client.post(address, json={"by": 1}, headers=headers)
    assert "revoked" in problem(response, 401)["detail"]
    assert "invalid_token" in response.headers["WWW-Authenticate"]


async def test_reads_know_revoked_tokens_without_a_query(api: Served) -> None:
    """Those of deleted and inactive users too, and none that expired."""
    tokens = [owner(1), owner(1), owner(LAST), owner(10**9), owner(1)]
    good, revoked, inactive, deleted, expired = tokens
    for each in (good, revoked, inactive):
        await record(api, each.id, each.user_id)
    await record(api, deleted.id, None)
    await record(api, expired.id, None, expires_in=-60)
    await revoke(api, revoked.id)
    deactivate = "UPDATE accounts_user SET is_active = :active WHERE id = :id"
    await api.app.database.execute(deactivate, active=False, id=LAST)
    assert not any(is_refused(api, each) for each in tokens)
    await api.app.revocations.refresh()
    assert [is_refused(api, each) for each in tokens] == [False, True, True, True, False]
    await api.app.database.execute(deactivate, active=True, id=LAST)


async def test_the_list_is_read_again(api: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revocation, "INTERVAL", 0.05)
    revocations = Revocations(api.app.database)
    await revocations.start()
    await record(api, "followed", None)
    await until(lambda: "followed" in revocations.ids)
    revocations.stop()


async def test_no_answer_from_an_old_list(api: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """The list stays while the database is unavailable, and counts for a minute."""
    revocations = api.app.revocations
    monkeypatch.setattr(revocation, "REVOKED", "SELECT nothing FROM nowhere")
    await revocations.refresh()
    revocations.check(owner(1))
    monkeypatch.setattr(revocations, "read_at", time.monotonic() - revocation.OLDEST - 1)
    with pytest.raises(Unavailable):
        revocations.check(owner(1))
    monkeypatch.undo()
    await revocations.refresh()
    revocations.check(owner(1))


@pytest.mark.slow
async def test_a_connection_of_a_revoked_token_is_closed(api: Served) -> None:
    url = f"ws://{api.address}/api/v1/sockets/echo"
    tokens = {name: {"Authorization": f"Bearer {token(jti=name)}"} for name in ("held", "kept")}
    for name in tokens:
        await record(api, name, 1)
    async with (
        connect(url, additional_headers=tokens["held"]) as held,
        connect(url, additional_headers=tokens["kept"]) as kept,
    ):
        await asyncio.gather(held.recv(), kept.recv())
        await revoke(api, "held")
        await api.app.revocations.refresh()
        async with asyncio.timeout(10):
            await held.wait_closed()
        assert (held.close_code, held.close_reason) == (1008, "the token was revoked")
        await kept.send("still here")
        assert await asyncio.wait_for(kept.recv(), 10) == "still here"
    await until(lambda: not api.app.revocations.closers)
