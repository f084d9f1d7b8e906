"""uWSGI's options, as uWSGI understands its files."""

import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

from deploy.core.apps import App, Instance
from deploy.core.settings import PROJECT


@cache
def uwsgi(instance: Instance, var: str = "/nowhere", **variables: str) -> list[tuple[str, str]]:
    """Return an instance's options as uWSGI understands them."""
    ini = f"deploy/uwsgi/{instance.app.name}.ini"
    own = {"APP": instance.app.name, "INSTANCE": instance.name, "VAR_DIR": var}
    done = subprocess.run(
        [Path(sys.executable).with_name("uwsgi"), "--ini", ini, "--show-config", "--no-server", "--need-app=false"],
        cwd=PROJECT,
        env={"PATH": os.environ["PATH"]} | own | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    found = re.findall(r"^([a-z][\w-]*) = (.*)$", done.stdout, re.M)
    assert found, done.stdout
    return found


def uwsgi_number(app: App, option: str) -> int:
    return int(dict(uwsgi(app.instances[0]))[option])
