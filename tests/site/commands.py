"""The site's manage.py in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

from django.conf import settings

SITE = Path(settings.BASE_DIR)


def manage(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", *command],
        cwd=SITE,
        env=os.environ | environment,
        text=True,
        capture_output=True,
        timeout=60,
        check=False,
    )
