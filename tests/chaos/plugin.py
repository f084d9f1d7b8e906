"""The table of faults and the stacks with faults, for the tests of every target."""

from .faulty import faulty_compose, faulty_native
from .table import pytest_configure, pytest_terminal_summary, record

__all__ = ["faulty_compose", "faulty_native", "pytest_configure", "pytest_terminal_summary", "record"]
