"""The settings file: how it is read, what each app gets from it, and how it is created."""

import io
from pathlib import Path

import pytest
from dotenv import dotenv_values

from deploy.core import settings
from deploy.core.apps import App
from deploy.servers import SERVERS

APP = App("one", SERVERS["command"], ("a",), without=("SECRET_KEY",))

LINES = r"""
# A comment
PLAIN=value
EMPTY=
export EXPORTED=yes
SINGLE='a # b'
DOUBLE="a # b" # a comment
HASH=a#b
COMMENT=a b # a comment
QUOTE='it\'s'
BACKSLASH='a\\b'
EQUALS=a=b=
TWICE=1
TWICE=2
TRAILING=a  
"""  # noqa: W291


def test_a_file_is_read_as_the_apps_read_it() -> None:
    found = settings.parse(LINES)
    assert found == dict(dotenv_values(stream=io.StringIO(LINES)))
    assert (found["COMMENT"], found["QUOTE"], found["TWICE"]) == ("a b", "it's", "2")


@pytest.mark.parametrize("value", ["", "plain", "it's", 'a "b"', "a\\b", "\\'", " a # b ", "x=y", "ü"])
def test_a_quoted_value_is_read_as_it_was(value: str) -> None:
    line = f"NAME={settings.quote(value)}\n"
    assert settings.parse(line) == {"NAME": value} == dict(dotenv_values(stream=io.StringIO(line)))


def test_an_app_gets_every_setting_but_those_of_others() -> None:
    given = dict.fromkeys(("SECRET_KEY", "ANYTHING", "LOG_LEVEL", "PORT", "TLS_KEY", "POSTGRES_PASSWORD", "CPUS"), "x")
    assert set(settings.of_app(APP, given)) == {"ANYTHING", "LOG_LEVEL"}


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        *((name, True) for name in ("SECRET_KEY", "TOKEN_KEYS", "SMTP_PASSWORD", "CLIENT_SECRET", "DATABASE_URL")),
        *((name, True) for name in ("SENTRY_DSN", "API_TOKEN", "REDIS_URL", "POSTGRES_PASSWORD")),
        *((name, False) for name in ("TLS_KEY", "TLS_CERTIFICATE", "KEYS", "URLS", "LOG_LEVEL", "MEDIA_STORE")),
    ],
)
def test_secrets_are_known_by_their_names(name: str, secret: bool) -> None:
    assert settings.is_secret(name) == secret


def test_each_setting_has_a_comment_and_no_secret_has_a_value() -> None:
    lines = settings.EXAMPLE.read_text().splitlines()
    for before, line in zip(["", *lines], lines, strict=False):
        if line and not line.startswith("#"):
            name, value = line.split("=", 1)
            assert before, f"{name} has no comment above it"
            assert not settings.is_secret(name) or value == ""


@pytest.fixture
def env_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(settings, "ENV_FILE", tmp_path / ".env")
    for name in settings.SECRETS:
        monkeypatch.delenv(name, raising=False)
    return tmp_path / ".env"


def test_the_file_is_made_with_fresh_secrets(env_file: Path) -> None:
    assert settings.make_env_file()
    assert env_file.stat().st_mode & 0o777 == 0o600
    made = settings.parse(env_file.read_text())
    assert made.keys() >= settings.parse(settings.EXAMPLE.read_text()).keys()
    assert len({made[name] for name in settings.SECRETS}) == len(settings.SECRETS)
    assert len(made["SECRET_KEY"]) >= 50
    assert not settings.make_env_file()
    env_file.unlink()
    settings.make_env_file()
    again = settings.parse(env_file.read_text())
    assert not [name for name in settings.SECRETS if again[name] == made[name]]


@pytest.mark.parametrize(
    "line", ["SECRET_KEY=mine", "export SECRET_KEY='mine'", 'SECRET_KEY="mine" # from the old server']
)
def test_a_secret_on_the_first_line_is_kept(env_file: Path, line: str) -> None:
    env_file.write_text(f"{line}\nPORT=9000")
    assert settings.make_env_file()
    text = env_file.read_text()
    assert text.startswith(f"{line}\nPORT=9000\n")
    found = settings.parse(text)
    assert (found["SECRET_KEY"], found["PORT"]) == ("mine", "9000")
    assert all(found[name] for name in settings.SECRETS)


def test_an_empty_secret_is_filled_in(env_file: Path) -> None:
    env_file.write_text("SECRET_KEY=\nTOKEN_KEYS=mine:x\n")
    assert settings.make_env_file()
    lines = env_file.read_text().splitlines()
    assert lines[0].startswith("SECRET_KEY=")
    assert len(lines[0]) > 50
    assert lines[1] == "TOKEN_KEYS=mine:x"
    assert len(lines) == len(settings.SECRETS)


def test_the_environment_wins(env_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    env_file.write_text("PORT=9000\nOWN=own\nREDIS_URL=redis://x\n")
    monkeypatch.setenv("PORT", "9001")
    monkeypatch.setenv("REDIS_URL", "")
    assert settings.values()["PORT"] == settings.setting("PORT") == "9001"
    assert settings.values()["OWN"] == settings.setting("OWN") == "own"
    assert settings.values()["REDIS_URL"] == settings.setting("REDIS_URL") == ""
    assert settings.setting("TLS") == "off"


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        ("DEBUG", "on", "DEBUG is 'on': remove it, and use `make dev`, which shows debug pages"),
        ("CORES", "two", "CORES is 'two': should be a whole number from 1, or empty"),
        ("TLS", "yes", "TLS is 'yes': should be on or off"),
        ("PORT", "80", "PORT is '80': should be a number from 1024 to 65535"),
        ("PORT", "", "PORT is '': should be a number from 1024 to 65535"),
        ("UPLOAD_LIMIT_MB", "20 MB", "UPLOAD_LIMIT_MB is '20 MB': should be a number of megabytes from 1 to 999"),
    ],
)
def test_a_malformed_setting_is_named(
    env_file: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, fault: str
) -> None:
    assert settings.faults() == []
    monkeypatch.setenv(name, value)
    assert settings.faults() == [fault]


def test_a_path_that_servers_could_not_read(env_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "VAR", Path("/home/me/my project/var"))
    assert settings.faults() == ["The path /home/me/my project/var should be letters, digits, and . _ - + @ alone"]
