"""What polls add to the app."""

from ..application import Feature
from .endpoints import PROBLEMS, ROUTES
from .openapi import SECTION
from .store import PollStore

POLLS = Feature(ROUTES, PROBLEMS, [PollStore], SECTION)
