"""What this app serves besides its document and its health checks.

A project without the polls sample has another version of this file, with an empty list.
"""

from .application import Feature
from .openapi import About
from .polls.feature import POLLS

ABOUT = About("Tandem", "Questions, votes, and live results.", "/api/")
FEATURES: list[Feature] = [POLLS]
