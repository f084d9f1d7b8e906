"""Pictures fit in the upload limit, and the form says how large they may be."""

import os
import subprocess
import sys

import pytest

from deploy.core.settings import PROJECT

pytestmark = pytest.mark.slow

PRINT = """
import django
django.setup()
from polls import forms, pictures
print(pictures.MAX_MB, next(str(f.base_fields["picture"].help_text) for f in vars(forms).values()
      if "picture" in getattr(f, "base_fields", ())))
"""


@pytest.mark.parametrize("limit", [1, 20])
def test_the_largest_picture_follows_the_upload_limit(limit: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PRINT],
        cwd=PROJECT / "django_site",
        env=os.environ | {"UPLOAD_LIMIT_MB": str(limit)},
        capture_output=True,
        text=True,
        check=True,
    )
    largest, _, help_text = done.stdout.partition(" ")
    assert int(largest) == max(1, limit - 1)
    assert f"up to {largest} MB" in help_text
