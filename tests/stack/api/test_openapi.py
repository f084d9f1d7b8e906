"""schemathesis checks that the api answers valid and invalid requests as its OpenAPI document says."""

from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from requests.adapters import HTTPAdapter
from schemathesis import GenerationMode

from tests.stack.api.tokens import sign
from tests.stacks import Stack


class OwnAddress(HTTPAdapter):
    """Requests from addresses of their own, because nginx limits rates by address."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        super().__init__()

    def init_poolmanager(self, *args: Any, **options: Any) -> Any:
        return super().init_poolmanager(*args, source_address=(next(self.stack.addresses), 0), **options)


@pytest.fixture(scope="session")
def described(stack: Stack) -> Any:
    schema = schemathesis.openapi.from_url(f"{stack.url}/api/openapi.json", verify=stack.certificate or True)
    # These two never end; polls/test_live.py has tests of them.
    return schema.exclude(path_regex="/(events|socket)$")


@pytest.fixture(scope="session")
def bearer(stack: Stack) -> dict[str, str]:
    return {"Authorization": f"Bearer {sign(stack)}"}


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=lambda mode: mode.value)
def test_as_described(stack: Stack, described: Any, bearer: dict[str, str], mode: GenerationMode) -> None:
    operations = [found.ok() for found in described.get_all_operations()]
    assert operations

    def check(case: schemathesis.Case[Any]) -> None:
        # Do not wait for a long-poll; polls/test_live.py has tests of the wait.
        if isinstance(case.query.get("wait"), int | float) and 0 <= case.query["wait"] <= 15:
            case.query["wait"] = 0
        with requests.Session() as session:
            session.mount(f"{stack.url}/", OwnAddress(stack))
            case.call_and_validate(session=session, headers=bearer, verify=stack.certificate or True)

    bounds = settings(max_examples=25, derandomize=True, suppress_health_check=list(HealthCheck))
    for operation in operations:
        bounds(given(operation.as_strategy(generation_mode=mode))(check))()  # type: ignore[no-untyped-call]
