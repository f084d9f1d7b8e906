"""The output of an app's seed, kept until it was shown, because it may have a password."""

from collections.abc import Callable
from typing import IO, Any

from deploy.core.console import is_output_lost
from deploy.core.settings import VAR, replace

KEPT = VAR / "first-data"
FRESH = VAR / "first-data.new"


def show(seed: Callable[[IO[Any]], object]) -> None:
    """Call `seed` with the file for its output, and print the output, or that of an earlier run that was interrupted.

    A seed prints before it commits. So what a killed one left is right, unless this one makes the same data again.
    """
    keep()
    replace(FRESH, "")
    with FRESH.open("w") as file:
        seed(file)
    keep()
    if KEPT.exists():
        print(f"\n{KEPT.read_text().strip()}\n", flush=True)
        if not is_output_lost():
            KEPT.unlink()


def keep() -> None:
    if FRESH.exists() and FRESH.read_text().strip():
        FRESH.replace(KEPT)
    FRESH.unlink(missing_ok=True)
