"""The settings file: how it is read, what each app gets from it, and how it is created."""

import io
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from dotenv import dotenv_values
from hypothesis import HealthCheck, given
from hypothesis import settings as settings_of_hypothesis
from hypothesis import strategies as st

from deploy.core import settings
from deploy.core.apps import App
from deploy.servers import SERVERS
from tests.faults import self_signed

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
    for name in settings.read_file(settings.EXAMPLE):
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
    assert len(lines) == len(settings.MADE)


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
        (
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "localhost:4318",
            "OTEL_EXPORTER_OTLP_ENDPOINT is 'localhost:4318': should be the address of a server of OTLP, such as "
            "http://localhost:4318, or empty",
        ),
        ("PORT", "0", "PORT is '0': should be a number from 1 to 65535"),
        ("PORT", "", "PORT is '': should be a number from 1 to 65535"),
        ("ACME_EMAIL", "me@example.org", "ACME_EMAIL is set, and TLS is not on: should be on"),
        ("ALERT_URL", "hooks.example.org", "ALERT_URL should be the address of a webhook, https://…"),
        (
            *("PROMETHEUS_PORT", "9090"),
            "PROMETHEUS_PORT is set, and METRICS_PORT is empty: should be a port too, for what Prometheus reads",
        ),
        ("CPUS", "\u0661", "CPUS is '\u0661': should be a number of cores, for example 1.5; 0 for all"),
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
    assert settings.faults() == [
        "The path /home/me/my project/var should be letters, digits, and . _ - + @ alone: set VAR_DIR to another"
    ]


# What people have in such files. None of it may end a reader, and no line may change the value of another.
ODD_LINES = [
    b"", b"# caf\xe9, in Latin-1", b"  # indented", b"\tLOG_LEVEL = DEBUG  ",
    b"export LOG_LEVEL=DEBUG", b"LOG_LEVEL='DEBUG' # mine", b'LOG_LEVEL="DEBUG"', b"LOG_LEVEL=DEBUG\r", b"CORES=",
]  # fmt: skip
UNREADABLE_LINES = [
    b"PORT", b"PORT: 8000", b"2PORT=1", b"LOG_LEVEL='DEBUG", b'LOG_LEVEL="DEBUG', b"LOG_LEVEL='a' b",
    b"LOG_LEVEL=D\xe9BUG",
    b"LOG_LEVEL=a\0b", b"LOG_LEVEL=a\x1bb", b"<<<<<<< HEAD", b"-----BEGIN PRIVATE KEY-----", b"\xff\xfeP\0",
]  # fmt: skip
texts = st.text(st.characters(exclude_characters="\n\r\0", exclude_categories=["Cs", "Cc"]))


@given(texts)
def test_any_value_is_read_as_it_was_written(value: str) -> None:
    assert settings.parse(f"A=1\nNAME={settings.quote(value)}\nB=2") == {"A": "1", "NAME": value, "B": "2"}


@given(st.binary())
def test_any_bytes_are_read_or_named_without_their_text(content: bytes) -> None:
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        path = Path(file.name)
        read = settings.read_file(path)
        for name, value in read.items():
            assert re.fullmatch(r"[A-Za-z_]\w*", name, re.A), name
            assert "\n" not in value
        for fault in settings.unreadable_lines(path):
            assert fault.isprintable()
            assert fault.startswith(f"{path}, line ")


@given(
    st.lists(st.sampled_from(ODD_LINES)),
    st.permutations(list(settings.MADE)),
    st.sampled_from([b"", b"\n", b"\r\n"]),
    st.sampled_from([b"", b"\xef\xbb\xbf"]),
)
@settings_of_hypothesis(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_secrets_are_filled_in_and_nothing_else_changes(
    env_file: Path, lines: list[bytes], order: list[str], end: bytes, mark: bytes
) -> None:
    """A secret on the first line, one on the last, an empty one, two that lack, and odd lines between them."""
    first, last, empty, *_ = order
    own = [f"{first}=mine-{first}".encode(), *lines, f"{empty}=  ".encode(), f"{last}='mine-{last}'".encode()]
    env_file.write_bytes(mark + b"\n".join(own) + end)
    before = settings.read_file(env_file)
    assert not settings.unreadable_lines(env_file)
    assert settings.make_env_file()
    after = settings.read_file(env_file)
    assert after == before | {name: after[name] for name in settings.MADE}
    assert (after[first], after[last]) == (f"mine-{first}", f"mine-{last}")
    assert all(after[name] for name in settings.MADE)
    assert not settings.make_env_file()
    # Comments too.
    written = {line.strip() for line in env_file.read_bytes().split(b"\n")}
    assert {line.strip() for line in own if not line.startswith(empty.encode())} <= written | {b""}


@pytest.mark.parametrize("line", UNREADABLE_LINES)
def test_a_line_that_cannot_be_read_stops_the_preflight(env_file: Path, line: bytes) -> None:
    env_file.write_bytes(b"SECRET_KEY=hunter2\n" + line + b"\nPORT=8001\n")
    [fault] = settings.faults()
    assert fault.startswith(f"{env_file}, line 2: ")
    assert "hunter2" not in fault


@pytest.mark.parametrize("name", [*settings.SHAPES, "PORT", "PLAIN_PORT", "ADDRESS", *settings.TLS_FILES])
def test_a_refusal_shows_no_secret_that_was_glued_to_a_value(
    env_file: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """`echo SECRET_KEY=… >>.env` after a last line without its end."""
    env_file.write_text(f"TLS=on\n{name}=8000SECRET_KEY=hunter2")
    faults = settings.faults()
    assert any(fault.startswith(name) for fault in faults), faults
    assert "hunter2" not in "".join(faults)


@pytest.mark.parametrize("value", ["two\nlines", "\udcff", "\x1b[2J", "tab\t"])
@pytest.mark.parametrize("name", ["SECRET_KEY", "PORT", "REDIS_PASSWORD"])
def test_a_value_in_the_environment_that_no_file_can_have(
    env_file: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    assert settings.faults() == [f"{name} in the environment should be UTF-8 without control characters and line ends"]


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("localhost, 127.0.0.1", "localhost,127.0.0.1"),
        (" www.example.org ,", "www.example.org"),
        (".example.org,[::1]", ".example.org,[::1]"),
    ],
)
def test_hosts_with_blanks(env_file: Path, given: str, read: str) -> None:
    env_file.write_text(f"ALLOWED_HOSTS={given}\n")
    assert settings.values()["ALLOWED_HOSTS"] == read
    assert settings.faults() == []


@pytest.mark.parametrize(
    "host",
    [
        *("*", "*.example.org", "http://example.org", "example.org:8000", "::1", "exa$mple", "x;", "~^x"),
        *("Example.org", "a..b", "[x]", "é", "[::1]:80", "a/b", "a b"),
    ],
)
def test_a_host_that_nginx_and_django_read_differently(env_file: Path, host: str) -> None:
    env_file.write_text(f"ALLOWED_HOSTS=localhost,{host}\n")
    [fault] = settings.faults()
    assert fault.startswith(f"ALLOWED_HOSTS has {host!r}: should be ")


@pytest.mark.parametrize("address", ["::1", "::", "0.0.0.0", "127.0.0.2"])  # noqa: S104
def test_addresses(env_file: Path, address: str) -> None:
    env_file.write_text(f"ADDRESS={address}\n")
    assert settings.faults() == []


@pytest.mark.parametrize("address", ["", "localhost", "[::1]", "fe80::1%eth0", "127.1", "1.2.3.4:80", "*"])
def test_addresses_that_nginx_would_not_take(env_file: Path, address: str) -> None:
    env_file.write_text(f"ADDRESS={address}\n")
    assert settings.faults() == [f"ADDRESS is {address!r}: should be an IP address of this machine, 0.0.0.0 or ::"]


@pytest.mark.parametrize("value", ["64m", "255m", "2", "2gb", "0g", "1k", "-1m"])
def test_too_little_memory(env_file: Path, value: str) -> None:
    env_file.write_text(f"MEMORY={value}\n")
    assert settings.faults() == [f"MEMORY is {value!r}: should be at least 256m, for example 512m or 2g"]


def test_a_path_that_is_too_long_for_sockets(env_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "VAR", Path("/" + "x" * 71))
    assert "is too long for the sockets in it" in settings.faults()[0]
    monkeypatch.setattr(settings, "VAR", Path("/" + "x" * 70))
    assert settings.faults() == []


def test_relative_paths_of_the_certificate_are_below_the_project(env_file: Path) -> None:
    env_file.write_text("TLS=on\nTLS_CERTIFICATE=c.pem\nTLS_KEY=/etc/k.pem\nPLAIN_PORT=8000\n")
    assert settings.values()["TLS_CERTIFICATE"] == f"{settings.PROJECT}/c.pem"
    assert settings.faults() == [
        f"TLS_CERTIFICATE is '{settings.PROJECT}/c.pem': there is no such file",
        "TLS_KEY is '/etc/k.pem': there is no such file",
        "PLAIN_PORT is 8000, as PORT: should be another, for the redirect to HTTPS",
    ]


def test_authorities_that_nothing_can_use(env_file: Path, tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    env_file.write_text(f"CA_FILE={file}\n")
    assert settings.faults() == [f"CA_FILE: {file}: No such file or directory"]
    file.write_text("no certificate\n")
    [fault] = settings.faults()
    assert fault.startswith(f"CA_FILE: {file} has no certificate: should be PEM")
    file.write_text(Path(self_signed(tmp_path)["TLS_CERTIFICATE"]).read_text())
    assert settings.faults() == []


def test_mandatory_verification_needs_a_mail_server(env_file: Path) -> None:
    settings_of_mail = {"EMAIL_VERIFICATION": "mandatory", "EMAIL_URL": ""}
    assert "set EMAIL_URL" in settings.mail_faults(settings_of_mail)[0]
    for change in ({"EMAIL_VERIFICATION": "optional"}, {"EMAIL_URL": "console:"}):
        assert settings.mail_faults(settings_of_mail | change) == []
    if "EMAIL_VERIFICATION" in settings.names():
        env_file.write_text("EMAIL_VERIFICATION=mandatory\n")
        assert settings.faults() == settings.mail_faults(settings_of_mail)


@pytest.mark.parametrize(
    ("more", "fault"),
    [
        ("", ""),
        ("ALLOWED_HOSTS=localhost,127.0.0.1,[::1]", "ALLOWED_HOSTS has no name for a certificate (ACME_EMAIL)"),
        ("ALLOWED_HOSTS=.example.org", "ALLOWED_HOSTS has .example.org: should be each name by itself"),
        ("TLS_KEY=/etc/k.pem", "TLS_KEY and ACME_EMAIL are set: should be one of them"),
        ("ACME_EMAIL=me", "ACME_EMAIL is 'me': should be the address of somebody who reads it, or empty"),
        ("ACME_DIRECTORY=http://ca.example.org", "ACME_DIRECTORY is 'http://ca.example.org': should be the https"),
    ],
)
def test_a_certificate_of_an_authority(env_file: Path, more: str, fault: str) -> None:
    names = "ALLOWED_HOSTS=localhost,127.0.0.1,[::1],www.example.org,example.org"
    env_file.write_text(f"TLS=on\nACME_EMAIL=me@example.org\n{names}\n{more}\n")
    assert [each[: len(fault)] for each in settings.faults()] == ([fault] if fault else [])
    if not more:
        assert settings.public_names(settings.values()) == ["www.example.org", "example.org"]
        assert settings.certificate_faults() == []


def test_a_name_for_containers_is_of_this_clone(
    env_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COMPOSE_PROJECT_NAME", raising=False)
    monkeypatch.setattr(settings, "VAR", tmp_path)
    settings.make_env_file()
    first = settings.values()["COMPOSE_PROJECT_NAME"]
    env_file.unlink()
    settings.make_env_file()
    assert first != settings.values()["COMPOSE_PROJECT_NAME"]
    # Containers from before there was such a setting keep their name.
    env_file.unlink()
    (tmp_path / "compose.json").touch()
    settings.make_env_file()
    assert settings.values()["COMPOSE_PROJECT_NAME"] == settings.OLD_NAME
    assert f"name: {settings.OLD_NAME}\n" in (settings.PROJECT / "docker-compose.yml").read_text()


@pytest.mark.slow
def test_a_command_gets_the_settings_of_a_file(tmp_path: Path) -> None:
    """What supervisord starts. python-dotenv would replace ${HOME}, in quotes too."""
    file = tmp_path / "environment"
    file.write_text(f"ODD={settings.quote('it`s ${HOME} # $x')}\n")
    command = [sys.executable, "-m", "deploy.core.settings", str(file), "printenv", "ODD"]
    assert (
        subprocess.run(command, cwd=settings.PROJECT, capture_output=True, text=True, check=True).stdout
        == "it`s ${HOME} # $x\n"
    )


@pytest.mark.slow
def test_a_child_keeps_the_lock_of_a_parent_that_was_killed(tmp_path: Path) -> None:
    """Otherwise the next `make up` would migrate beside a migration that a killed one left behind."""
    lock = tmp_path / "lock"
    child = "import time; time.sleep(1.5)"
    code = (
        "import os, subprocess, sys; from pathlib import Path; from deploy.core.settings import HELD, one_at_a_time\n"
        f"with one_at_a_time(Path({str(lock)!r})):\n"
        f"    subprocess.Popen([sys.executable, '-c', {child!r}], pass_fds=HELD); os.kill(os.getpid(), 9)"
    )
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", code], cwd=settings.PROJECT, check=False)
    with settings.one_at_a_time(lock):
        assert time.monotonic() - began > 1.5
