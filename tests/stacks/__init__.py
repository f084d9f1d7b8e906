"""Running stacks for the tests that go through nginx: a class for each target, and fixtures (plugin.py)."""

from tests.environment import PROJECT

from .base import Stack
from .compose import ComposeStack, docker
from .files import copied, directory, edited
from .native import NativeStack
from .network import addresses, enter, outside
from .running import database, running

__all__ = [
    "PROJECT",
    "ComposeStack",
    "NativeStack",
    "Stack",
    "addresses",
    "copied",
    "database",
    "directory",
    "docker",
    "edited",
    "enter",
    "outside",
    "running",
]
