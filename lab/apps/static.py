"""Static files served by Python with WhiteNoise, for a site without nginx."""

import os

from hello import application as hello
from whitenoise import WhiteNoise  # type: ignore[import-untyped]

application = WhiteNoise(hello, root=f"{os.environ['VAR_DIR']}/static", prefix="static/")
