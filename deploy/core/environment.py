"""The environment of every command: settings, and the caller's variables that say who and where, and nothing else.

A caller's PIP_USER, PYTHONPATH, DJANGO_SETTINGS_MODULE, GIT_DIR or ANSIBLE_DEBUG would change what the tools do that a
command runs. So `python3 -m deploy` starts again with these variables, which every process below it inherits.
"""

import os
import pwd
import re
from collections.abc import Mapping
from pathlib import Path

# Variables of the caller that commands keep, beside the settings.
KEPT = re.compile(
    r"HOME|USER|LOGNAME|SHELL|TERM|COLUMNS|LINES|NO_COLOR|EDITOR|VISUAL|TMPDIR|XDG_RUNTIME_DIR|CI"
    r"|GIT_(AUTHOR|COMMITTER)_(NAME|EMAIL)"
    # ssh's agent, a proxy and its certificates, Docker's engine.
    r"|SSH_AUTH_SOCK|SSH_AGENT_PID|(?i:https?|no|all)_(proxy|PROXY)"
    r"|SSL_CERT_FILE|SSL_CERT_DIR|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE|GIT_SSL_CAINFO"
    r"|DOCKER_(HOST|CONTEXT|CONFIG|CERT_PATH|TLS_VERIFY|API_VERSION)"
    # Documented here, or by Django and Ansible for use without a terminal.
    r"|STACK|VAR_DIR|ENV_FILE|DEBUG|ARGS|YES|ANSIBLE_VAULT_PASSWORD_FILE|DJANGO_SUPERUSER_[A-Z]+"
)
# /usr/sbin is Debian's place for nginx, which an ordinary user's PATH leaves out.
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def chosen(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the environment that a command and all its processes have instead of the caller's."""
    from deploy.core.settings import names

    known = names()
    kept = {name: value for name, value in environment.items() if name in known or KEPT.fullmatch(name)}
    home = kept.get("HOME") or home_of(os.geteuid())
    # One time zone for the log lines of nginx and of the apps.
    always = {"PATH": f"{environment.get('PATH') or PATH}:/usr/sbin", "LANG": "C.UTF-8", "TZ": "UTC", "HOME": home}
    return kept | always


def home_of(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_dir
    except KeyError:
        return "/"


def is_writable(directory: str | Path) -> bool:
    return os.access(directory, os.W_OK | os.X_OK)
