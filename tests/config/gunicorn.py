"""gunicorn's settings, as gunicorn reads its file."""

import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

from deploy.core.apps import App
from deploy.core.settings import PROJECT
from tests.environment import environment


@cache
def gunicorn(app: App) -> dict[str, str]:
    """Return the settings of an app's first instance as gunicorn understands them, with CORES=3."""
    own = {"APP": app.name, "INSTANCE": app.instances[0].name, "CORES": "3"}
    done = subprocess.run(
        [Path(sys.executable).with_name("gunicorn"), "--config", "deploy/gunicorn/config.py", "--print-config"],
        cwd=PROJECT,
        env=os.environ | environment("/nowhere") | own,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return dict(re.findall(r"^(\w+) += (.*)$", done.stdout, re.M))
