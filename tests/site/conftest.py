"""pytest loads this file before there are settings, so imports of Django are inside functions."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from accounts.models import User
    from django.test import Client


@pytest.fixture(scope="session", autouse=True)
def static_files() -> None:
    """The pages name static files by their hashes."""
    from django.core.management import call_command

    call_command("collectstatic", interactive=False, verbosity=0)


@pytest.fixture(scope="session")
def django_db_modify_db_settings() -> None:
    """Use a file. Django would test SQLite in memory, where WAL and a second writer behave differently."""
    from django.conf import settings

    if not os.environ["DATABASE_URL"].startswith("postgresql"):
        databases: Any = settings.DATABASES
        databases["default"]["TEST"]["NAME"] = str(Path(os.environ["VAR_DIR"]) / "test.sqlite3")


@pytest.fixture(autouse=True)
def quick_passwords(settings: Any) -> None:
    """Django's default hasher is slow on purpose."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def user(db: None) -> User:
    from accounts.models import User

    return User.objects.create_user("mel", password="correct horse")


@pytest.fixture
def member(client: Client, user: User) -> Client:
    """A client that is logged in as `user`."""
    client.force_login(user)
    return client


@pytest.fixture
def fresh_limits(db: None) -> None:
    """Forget the attempts, and the used codes, of other tests."""
    from django.core.cache import cache

    cache.clear()


@pytest.fixture(autouse=True)
def redis_not_known_to_be_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("config.redis.Client.back", 0)


@pytest.fixture
def new_bus() -> Iterator[None]:
    from config import bus

    bus.client.cache_clear()
    yield
    bus.client.cache_clear()
