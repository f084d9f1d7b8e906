"""The table of faults with what clients saw, at the end of pytest's output."""

from collections.abc import Callable

import pytest

COLUMNS = ("fault", "requests sent", "failed", "sent again", "seconds to recover", "what clients saw")

Row = tuple[str, ...]
rows = pytest.StashKey[list[Row]]()
Record = Callable[..., None]


def pytest_configure(config: pytest.Config) -> None:
    config.stash[rows] = []


@pytest.fixture
def record(pytestconfig: pytest.Config) -> Record:
    """Write a row of the table."""

    def record(fault: str, sent: int, failed: int, resent: int, recovered_seconds: float | None, note: str) -> None:
        seconds = "" if recovered_seconds is None else f"{recovered_seconds:.1f}"
        pytestconfig.stash[rows].append((fault, f"{sent:,}", str(failed), str(resent), seconds, note))

    return record


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if not config.stash[rows]:
        return
    table = [COLUMNS, *config.stash[rows]]
    widths = [max(len(row[column]) for row in table) for column in range(len(COLUMNS))]
    terminalreporter.section("faults")
    for row in table:
        # Align numbers to the right, words to the left.
        cells = [
            cell.rjust(width) if 0 < column < 5 else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        terminalreporter.write_line("  ".join(cells).rstrip())
