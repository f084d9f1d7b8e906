#!/usr/bin/env python3
"""Fills in ${WORDS} in a directory of configuration files from the environment: `render.py SOURCE DESTINATION`.

Only words in capitals and braces are ours; nginx's own $variables stay as they are. A word that is not set stops the
command, with a line that says which.
"""

import os
import shutil
import string
import sys
from collections.abc import Mapping
from pathlib import Path


class Configuration(string.Template):
    pattern = r"\$\{(?P<braced>[A-Z_]+)\}|(?P<escaped>(?!))|(?P<named>(?!))|(?P<invalid>(?!))"  # type: ignore[assignment]


def render(source: Path, destination: Path, variables: Mapping[str, str]) -> None:
    """Writes every file of `source`, filled in, to `destination`, which is made anew.

    Raises KeyError with the name of a variable that is not in `variables`.
    """
    shutil.rmtree(destination, ignore_errors=True)
    shutil.copytree(source, destination)
    for file in destination.rglob("*.conf"):
        file.write_text(Configuration(file.read_text()).substitute(variables))


if __name__ == "__main__":
    try:
        render(Path(sys.argv[1]), Path(sys.argv[2]), os.environ)
    except KeyError as missing:
        raise SystemExit(f"{missing.args[0]} is not set, and {sys.argv[1]} needs it") from None
