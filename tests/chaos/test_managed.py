"""PostgreSQL and Redis that run elsewhere, with TLS: directly, and through PgBouncer in transaction mode."""

import asyncio
from collections.abc import Iterator

import psycopg
import pytest
import redis

from deploy.core.elsewhere import with_authorities
from deploy.doctor.servers import database_time, redis_time
from tests.chaos.faulty import faulty
from tests.chaos.load import Load
from tests.faults import self_signed
from tests.sample import Crowd
from tests.stacks import NativeStack, directory, running
from tests.stacks.managed import POOL, Managed, managed

OF_STACK = "FROM pg_stat_activity JOIN pg_stat_ssl USING (pid) WHERE usename = 'stack'"


@pytest.fixture(scope="module")
def services() -> Iterator[Managed]:
    with managed() as services:
        yield services


async def test_a_roll_from_the_database_to_its_pooler(services: Managed) -> None:
    with faulty() as project, running(NativeStack, services.settings(pooled=False), project) as stack:
        crowd = Crowd.gather(stack)
        async with Load(stack, crowd) as load:
            await asyncio.sleep(1)
            [[direct, with_tls]] = services.ask(f"SELECT count(*), bool_and(ssl) {OF_STACK}")
            stack.environment |= services.settings(pooled=True)
            done = [await asyncio.to_thread(stack.deploy)]
            done += [await asyncio.to_thread(stack.make, "restart")]
            [[pooled]] = services.ask(f"SELECT count(*) {OF_STACK}")
        with stack.client() as client:
            asked = client.get("/api/v1/questions/1").json()
        assert [each.returncode for each in done] == [0, 0], done
        assert (load.failed(), load.sum("resent"), load.cut) == (0, 0, {}), load.report()
        assert with_tls
        assert direct > POOL >= pooled > 0
        # Not in the zone of the role.
        assert asked["created_at"].endswith("Z")
        stack.wait_ready()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"CA_FILE": ""}, "certificate verify failed"),
        ({"DATABASE_POOLER": "off"}, "unsupported startup parameter: options"),
    ],
)
def test_a_start_that_fails(services: Managed, given: dict[str, str], said: str) -> None:
    with directory() as files:
        stack = NativeStack(files, services.settings(pooled=True) | given)
        done = stack.make("up")
        assert done.returncode
        assert said in done.stdout.splitlines()[-2], done.stdout
        assert "Traceback" not in done.stdout


def test_servers_of_another_authority(services: Managed) -> None:
    def urls(authority: str) -> list[str]:
        return list(
            with_authorities({"DATABASE_URL": services.database, "REDIS_URL": services.bus}, authority).values()
        )

    with directory() as files:
        other = self_signed(files)["TLS_CERTIFICATE"]
        for read_time, right, wrong in zip(
            (database_time, redis_time), urls(services.authority), urls(other), strict=True
        ):
            assert read_time(right)
            with pytest.raises((psycopg.OperationalError, redis.ConnectionError), match="certificate verify failed"):
                read_time(wrong)
