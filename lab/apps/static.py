"""Static files from Python, by WhiteNoise, as a site without nginx has to."""

import os

from hello import application as hello
from whitenoise import WhiteNoise  # type: ignore[import-untyped]

application = WhiteNoise(hello, root=f"{os.environ['VAR_DIR']}/static", prefix="static/")
