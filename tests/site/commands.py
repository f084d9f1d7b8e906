"""The site's manage.py in a process of its own."""

import os
import subprocess
import sys

from tests.environment import PROJECT

SITE = PROJECT / "django_site"


def manage(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", *command],
        cwd=SITE,
        env=os.environ | {"APP": "site"} | environment,
        text=True,
        capture_output=True,
        timeout=180,
        check=False,
    )
