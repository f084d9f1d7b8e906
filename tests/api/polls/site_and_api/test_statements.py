"""The api's SQL is valid on the site's tables: the database checks the names and types of all columns."""

import importlib
import pkgutil
import re
from contextlib import closing

import pytest

import tornado_api
from tests.api.databases import create
from tests.site.commands import manage
from tornado_api.database import connect

SQL = re.compile(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH)\s")


def statements() -> dict[str, str]:
    """Return the constants of the api's modules that are SQL statements."""
    names = [module.name for module in pkgutil.walk_packages(tornado_api.__path__, "tornado_api.")]
    return {
        f"{module}.{name}": value
        for module in names
        for name, value in vars(importlib.import_module(module)).items()
        if name.isupper() and isinstance(value, str) and SQL.match(value)
    }


@pytest.mark.slow
def test_statements() -> None:
    url, faults = create("statements"), []
    manage("migrate", "-v0", DATABASE_URL=url).check_returncode()
    with closing(connect(url)) as connection:
        for name, sql in statements().items():
            if name.endswith("_ON_POSTGRESQL") and url.startswith("sqlite:"):
                continue
            values = dict.fromkeys(re.findall(r"(?<!:):(\w+)", sql))
            try:
                connection.execute(f"EXPLAIN {sql}", **values)
            except Exception as error:
                faults.append(f"{name}: {error}")
    assert not faults
