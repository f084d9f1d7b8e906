"""What is reported to Sentry when an error is logged."""

import asyncio
import logging
from collections.abc import Iterator

import pytest
import sentry_sdk
from sentry_sdk.integrations.logging import EventHandler

from tests.api.served import Served
from tests.sentry import Receiver, receiver
from tornado_api.application import Feature
from tornado_api.handler import Handler
from tornado_api.log import RequestId
from tornado_api.sentry import report_to


class FaultyHandler(Handler):
    async def get(self) -> None:
        raise ValueError(f"a fault\nDETAIL: {self.get_query_argument('q')}")


@pytest.fixture
def features() -> list[Feature]:
    return [Feature([(r"/faulty/.*", FaultyHandler)])]


@pytest.fixture
def sentry() -> Iterator[Receiver]:
    handler = EventHandler(logging.ERROR)
    handler.addFilter(RequestId())
    with receiver() as this:
        report_to(this.dsn, "api-b", "20261130")
        logging.root.addHandler(handler)
        try:
            yield this
        finally:
            logging.root.removeHandler(handler)
            sentry_sdk.get_client().close()
            sentry_sdk.init()


@pytest.mark.slow
async def test_sentry_gets_an_error_without_data_of_people(
    api: Served, sentry: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    headers = {"X-Request-ID": "0123abcd", "X-Real-IP": "192.0.2.7", "Cookie": "secret=1"}
    answer = await api.client.get("/faulty/private?q=secret", headers=headers)
    assert answer.status_code == 500
    text, event = await asyncio.to_thread(sentry.reports.get, timeout=30)
    assert event["tags"] == {"request_id": "0123abcd"}
    assert (event["server_name"], event["release"]) == ("api-b", "20261130")
    [error] = event["exception"]["values"]
    assert (error["type"], error["value"]) == ("ValueError", "a fault")
    for hidden in ("secret", "private", "192.0.2.7"):
        assert hidden not in text
    logged = [record.getMessage() for record in caplog.records if record.name.startswith("tornado")]
    assert logged == ["uncaught exception in GET /faulty/private"]
