"""The api answers as its OpenAPI description says, to what is valid and to what is not (schemathesis)."""

from collections.abc import Iterator
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from requests.adapters import HTTPAdapter
from schemathesis import GenerationMode

from tests.people import Person
from tests.stacks import AnyStack


class OwnAddress(HTTPAdapter):
    """Requests from an address of their own: nginx counts what an address writes."""

    def __init__(self, stack: AnyStack) -> None:
        self.stack = stack
        super().__init__()

    def init_poolmanager(self, *args: Any, **options: Any) -> Any:
        return super().init_poolmanager(*args, source_address=(next(self.stack.addresses), 0), **options)


@pytest.fixture(scope="session")
def described(stack: AnyStack, people: Iterator[Person]) -> Any:
    schema = schemathesis.openapi.from_url(f"{stack.url}/api/openapi.json", verify=stack.certificate or True)
    # These two never end: test_live.py.
    return schema.exclude(path_regex="/(events|socket)$")


@pytest.fixture(scope="session")
def bearer(people: Iterator[Person]) -> dict[str, str]:
    return {"Authorization": f"Bearer {next(people).token}"}


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=lambda mode: mode.value)
def test_as_described(stack: AnyStack, described: Any, bearer: dict[str, str], mode: GenerationMode) -> None:
    operations = [found.ok() for found in described.get_all_operations()]
    assert operations

    def check(case: schemathesis.Case[Any]) -> None:
        # A long-poll waits; that it does is in test_live.py.
        if isinstance(case.query.get("wait"), int | float) and 0 <= case.query["wait"] <= 15:
            case.query["wait"] = 0
        with requests.Session() as session:
            session.mount(f"{stack.url}/", OwnAddress(stack))
            case.call_and_validate(session=session, headers=bearer, verify=stack.certificate or True)

    bounds = settings(max_examples=25, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
    for operation in operations:
        bounds(given(operation.as_strategy(generation_mode=mode))(check))()  # type: ignore[no-untyped-call]
