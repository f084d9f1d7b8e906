"""The environment of commands: a caller's variables change nothing that a command runs."""

import subprocess
import sys
from pathlib import Path

import pytest

from deploy.core import environment, settings

# Variables that a tool reads which a command here runs, each with a value that breaks it or changes what it does.
HOSTILE = """
PIP_USER PIP_TARGET PIP_PREFIX PIP_REQUIRE_VIRTUALENV PIP_INDEX_URL PIP_NO_INDEX PIP_CONSTRAINT PIP_CONFIG_FILE
PIP_DRY_RUN UV_PROJECT_ENVIRONMENT UV_SYSTEM_PYTHON UV_PYTHON UV_OFFLINE UV_FROZEN UV_CONFIG_FILE UV_LOCKED UV_NO_SYNC
UV_LINK_MODE PYTHONPATH PYTHONHOME PYTHONSTARTUP PYTHONIOENCODING PYTHONSAFEPATH PYTHONWARNINGS PYTHONOPTIMIZE
PYTHONUTF8 PYTHONCASEOK PYTHONINSPECT PYTHONNOUSERSITE PYTHONDEVMODE PYTHONPLATLIBDIR PYTHONPYCACHEPREFIX
PYTHONBREAKPOINT VIRTUAL_ENV CONDA_PREFIX DJANGO_SETTINGS_MODULE DJANGO_CONFIGURATION DJANGO_COLORS
DJANGO_ALLOW_ASYNC_UNSAFE GUNICORN_CMD_ARGS UWSGI_INI UWSGI_PROCESSES GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE
GIT_CONFIG_GLOBAL GIT_CONFIG_COUNT GIT_AUTHOR_DATE GIT_EDITOR GIT_TEMPLATE_DIR GIT_TRACE ANSIBLE_DEBUG ANSIBLE_CONFIG
ANSIBLE_STDOUT_CALLBACK ANSIBLE_INVENTORY ANSIBLE_VERBOSITY ANSIBLE_HOME ANSIBLE_FORCE_COLOR COMPOSE_FILE
COMPOSE_PROFILES COMPOSE_ENV_FILES COMPOSE_PATH_SEPARATOR DOCKER_BUILDKIT DOCKER_DEFAULT_PLATFORM BUILDKIT_PROGRESS
PGHOST PGUSER PGPASSWORD PGSERVICE PGOPTIONS PGSSLMODE NGINX NGINX_BPF OPENSSL_CONF SSLKEYLOGFILE LD_PRELOAD
LD_LIBRARY_PATH BASH_ENV ENV IFS CDPATH POSIXLY_CORRECT GREP_OPTIONS TAR_OPTIONS MAKEFLAGS MAKELEVEL TZ LC_ALL LC_TIME
LANGUAGE INSTANCE APP XDG_CONFIG_HOME XDG_CACHE_HOME SUPERVISOR_LOG_SIZE SUPERVISOR_SERVER_URL BIND LISTEN MEDIA_STORE
SITE_HOSTS API_HOSTS
"""


def test_what_tools_read_does_not_reach_them() -> None:
    given = dict.fromkeys(HOSTILE.split(), "/hostile")
    assert "/hostile" not in environment.chosen(given).values()


def test_settings_and_whereabouts_do() -> None:
    known = settings.read_file(settings.EXAMPLE)
    given = dict.fromkeys([*known, "HOME", "STACK", "VAR_DIR", "SSH_AUTH_SOCK", "https_proxy", "DOCKER_HOST"], "x")
    assert given.items() <= environment.chosen(given).items()
    assert environment.chosen(given)["TZ"] == "UTC"


def test_an_own_setting_of_env_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "ENV_FILE", tmp_path / "env")
    settings.ENV_FILE.write_text("EMAIL_URL=\n")
    assert environment.chosen({"EMAIL_URL": "smtp://x"})["EMAIL_URL"] == "smtp://x"


@pytest.mark.slow
@pytest.mark.parametrize(
    "hostile",
    [
        {"PYTHONPATH": "/nonexistent", "PYTHONSAFEPATH": "1", "PYTHONWARNINGS": "error", "PYTHONOPTIMIZE": "2"},
        {"PYTHONIOENCODING": "ascii", "LC_ALL": "C", "LANG": "xx_YY.ISO-8859-1", "PYTHONUTF8": "0"},
        {"PATH": ""},
        {"HOME": "/nonexistent", "TERM": "", "COLUMNS": "0"},
    ],
    ids=lambda hostile: "-".join(hostile),
)
def test_the_command_line_starts_in_any_environment(hostile: dict[str, str], tmp_path: Path) -> None:
    own = {"VAR_DIR": str(tmp_path / "var"), "ENV_FILE": str(tmp_path / "env")}
    done = subprocess.run(
        [sys.executable, "-E", "-m", "deploy", "status"],
        cwd=settings.PROJECT,
        env=own | {"PATH": "/usr/bin:/bin"} | hostile,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (3, "Nothing has run here yet. `make up` starts it.\n", "")
    assert not list(tmp_path.iterdir()), "a command that looks made something"
