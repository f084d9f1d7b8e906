"""The site's settings for mypy's Django plugin, which imports them without an environment."""

import os

from tests.environment import environment

os.environ |= environment(var="/nonexistent")

from config.settings import *  # noqa: F403
