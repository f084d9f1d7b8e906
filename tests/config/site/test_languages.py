"""The German texts are complete, and their compiled files are up to date: a deploy compiles none."""

import gettext
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.environment import PROJECT
from tests.servers import program


def texts(compiled: Path) -> dict[object, str]:
    """Return the translations of a .mo file, without its headers."""
    with compiled.open("rb") as file:
        catalog: dict[object, str] = vars(gettext.GNUTranslations(file))["_catalog"]
    return {text: translation for text, translation in catalog.items() if text}


@pytest.mark.slow
def test_every_marked_text_is_in_german(tmp_path: Path) -> None:
    msgfmt, msgattrib = program("msgfmt", "gettext"), program("msgattrib", "gettext")
    site = shutil.copytree(PROJECT / "django_site", tmp_path / "site")
    command = [sys.executable, "-m", "django", "makemessages", "--locale=de", "--no-obsolete"]
    subprocess.run(command, cwd=site, env={"PATH": os.environ["PATH"]}, check=True)
    files = sorted(site.rglob("locale/de/LC_MESSAGES/django.po"))
    assert files
    for file in files:
        for missing in ("--untranslated", "--only-fuzzy"):
            assert subprocess.run([msgattrib, missing, file], capture_output=True, text=True, check=True).stdout == ""
        committed = texts(file.with_suffix(".mo"))
        # `make new` would replace it, and not correct the positions of the texts behind it.
        assert b"tandem" not in file.with_suffix(".mo").read_bytes().lower()
        subprocess.run([msgfmt, "--check", "-o", file.with_suffix(".mo"), file], check=True)
        assert committed == texts(file.with_suffix(".mo")), f"make manage ARGS=compilemessages: {file}"
