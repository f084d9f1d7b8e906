"""`make new` asks, and takes no answer that would not do."""

import os
import pty
import re
import select
import subprocess
import time
from pathlib import Path

import pytest

from tests.template.conftest import ENVIRONMENT, make, output

GOOD = {"NAME": "Corner Shop", "DOMAIN": "shop.example.com", "KEEP": "auth"}


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ({"NAME": "Class"}, "class is a word of Python's own"),
        ({"NAME": "2 Shops"}, "begins with a letter"),
        ({"NAME": "Shop; rm -rf /"}, "words of the letters A to Z and digits"),
        ({"NAME": "Café"}, "words of the letters A to Z and digits"),
        ({"NAME": "A Name Of More Than Thirty Letters And Digits"}, "from 2 to 30 letters, digits and spaces"),
        ({"NAME": "Django"}, "django is one of its packages"),
        ({"NAME": "Post Gres"}, "postgres is what a part of the deployment is called"),
        ({"NAME": "Order"}, "order is a word of SQL's own"),
        ({"NAME": "Tan Dem Bikes"}, "it has the name of what it is made from"),
        ({"DOMAIN": "https://shop.example.com"}, "without https:// and port"),
        ({"DOMAIN": "localhost"}, "a domain is like shop.example.org"),
        ({"DOMAIN": "-shop.example.com"}, "a domain is like shop.example.org"),
        ({"KEEP": "everything"}, "everything"),
        ({"NAME": ""}, "NAME: missing, and there is no terminal to ask at"),
    ],
)
def test_a_wrong_answer_is_named_and_leaves_nothing(
    template: Path, tmp_path: Path, answers: dict[str, str], reason: str
) -> None:
    folder = tmp_path / "shop"
    done = make(template, "new", FOLDER=str(folder), **(GOOD | answers))
    assert done.returncode != 0, done.stdout
    assert reason in " ".join(done.stdout.partition("✗")[2].split()), done.stdout
    assert "Traceback" not in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_has_something_in_it_is_left_as_it_is(template: Path, tmp_path: Path) -> None:
    (tmp_path / "work").write_text("a year's")
    done = make(template, "new", FOLDER=str(tmp_path), **GOOD)
    assert done.returncode != 0
    assert f"FOLDER is {tmp_path}, which exists" in done.stdout
    assert (tmp_path / "work").read_text() == "a year's"
    assert len(list(tmp_path.iterdir())) == 1
    done = make(template, "new", FOLDER=str(template / "mine"), **GOOD)
    assert done.returncode != 0
    assert "in this repository" in done.stdout


def test_what_is_not_committed_stops_it(template: Path, tmp_path: Path) -> None:
    stray = template / "stray"
    stray.write_text("")
    try:
        done = make(template, "new", FOLDER=str(tmp_path / "shop"), **GOOD)
    finally:
        stray.unlink()
    assert done.returncode != 0
    assert "not committed" in done.stdout
    assert "?? stray" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_at_a_terminal_it_asks(template: Path, tmp_path: Path) -> None:
    """Four questions, of which those for the name and the domain have good defaults."""
    folder = tmp_path / "corner-shop"
    master, terminal = pty.openpty()
    with subprocess.Popen(
        ["make", "--no-print-directory", "new"],
        cwd=template,
        env=ENVIRONMENT | {"TERM": "xterm"},
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
    ) as asking:
        os.close(terminal)
        said = ""
        for question, answer in (
            ("Folder for it", f"{folder}\n"),
            ("Its name", "\r"),
            ("The domain", "\r"),
            # One down from polls.
            ("What to keep", "\x1b[B\r"),
            ("make up", ""),
        ):
            deadline = time.monotonic() + 60
            while question not in said:
                assert time.monotonic() < deadline, said
                if select.select([master], [], [], 1)[0]:
                    said += os.read(master, 2**16).decode()
            said = said.partition(question)[2]
            os.write(master, answer.encode())
        assert asking.wait(timeout=60) == 0
    answers = (folder / ".copier-answers.yml").read_text()
    for expected in ("name: Corner Shop", "domain: cornershop.example.org", "keep: auth"):
        assert re.search(f"(?m)^{expected}$", answers), answers
    assert output(folder, "git", "rev-list", "--count", "HEAD") == "1\n"
