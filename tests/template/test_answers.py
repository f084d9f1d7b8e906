"""`make new` prompts, and rejects an unsuitable answer before it makes anything."""

import os
import pty
import re
import select
import subprocess
import time
from pathlib import Path

import pytest

from tests.template.conftest import ENVIRONMENT, make, output

GOOD = {"NAME": "Corner Shop", "DOMAIN": "shop.example.com", "APPS": "site,api", "SAMPLE": "none"}


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ({"NAME": "Class"}, "class is a keyword of Python"),
        ({"NAME": "2 Shops"}, "begin with a letter"),
        ({"NAME": "Shop; rm -rf /"}, "use words of the letters A to Z and digits"),
        ({"NAME": "Café"}, "use words of the letters A to Z and digits"),
        ({"NAME": "A Name Of More Than Thirty Letters And Digits"}, "use 2 to 30 letters, digits and spaces"),
        ({"NAME": "Django"}, "django is one of the project's packages"),
        ({"NAME": "Post Gres"}, "a part of the deployment is called postgres"),
        ({"NAME": "Order"}, "order is a keyword of SQL"),
        ({"NAME": "Tan Dem Bikes"}, "it contains the name of the template"),
        ({"DOMAIN": "https://shop.example.com"}, "without https:// and port"),
        ({"DOMAIN": "localhost"}, "use a domain such as shop.example.org"),
        ({"DOMAIN": "-shop.example.com"}, "use a domain such as shop.example.org"),
        ({"APPS": "everything"}, "everything"),
        ({"SAMPLE": "chat"}, "chat"),
        ({"PROOF": "yes"}, "the proofs need APPS=site,api and SAMPLE=polls"),
        ({"NAME": ""}, "NAME: missing, and there is no terminal to prompt for it"),
    ],
)
def test_an_unsuitable_answer_is_named_and_leaves_nothing(
    template: Path, tmp_path: Path, answers: dict[str, str], reason: str
) -> None:
    folder = tmp_path / "shop"
    done = make(template, "new", FOLDER=str(folder), **(GOOD | answers))
    assert done.returncode != 0, done.stdout
    assert reason in " ".join(done.stdout.partition("✗")[2].split()), done.stdout
    assert "Traceback" not in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_empty_stays_as_it_is(template: Path, tmp_path: Path) -> None:
    (tmp_path / "work").write_text("a year's")
    done = make(template, "new", FOLDER=str(tmp_path), **GOOD)
    assert done.returncode != 0
    assert f"FOLDER is {tmp_path}, which exists" in done.stdout
    assert (tmp_path / "work").read_text() == "a year's"
    assert len(list(tmp_path.iterdir())) == 1
    done = make(template, "new", FOLDER=str(template / "mine"), **GOOD)
    assert done.returncode != 0
    assert "in this repository" in done.stdout


def test_uncommitted_changes_stop_it(template: Path, tmp_path: Path) -> None:
    stray = template / "stray"
    stray.write_text("")
    try:
        done = make(template, "new", FOLDER=str(tmp_path / "shop"), **GOOD)
    finally:
        stray.unlink()
    assert done.returncode != 0
    assert "uncommitted" in done.stdout
    assert "?? stray" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_it_prompts_at_a_terminal(template: Path, tmp_path: Path) -> None:
    """Every question but the folder has a good default."""
    folder = tmp_path / "corner-shop"
    master, terminal = pty.openpty()
    with subprocess.Popen(
        ["make", "--no-print-directory", "new"],
        cwd=template,
        env=ENVIRONMENT | {"TERM": "xterm"},
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
    ) as prompting:
        os.close(terminal)
        said = ""
        for question, answer in (
            ("Folder of the project", f"{folder}\n"),
            ("The name of your project", "\r"),
            ("The domain of your project", "\r"),
            # One down: the site alone.
            ("The apps", "\x1b[B\r"),
            ("The sample", "\r"),
            ("prove the deployment", "\r"),
            ("make up", ""),
        ):
            deadline = time.monotonic() + 60
            while question not in said:
                assert time.monotonic() < deadline, said
                if select.select([master], [], [], 1)[0]:
                    said += os.read(master, 2**16).decode()
            said = said.partition(question)[2]
            os.write(master, answer.encode())
        assert prompting.wait(timeout=60) == 0
    answers = (folder / ".copier-answers.yml").read_text()
    for expected in ("name: Corner Shop", "domain: cornershop.example.org", "apps: site", "sample: none"):
        assert re.search(f"(?m)^{expected}$", answers), answers
    assert output(folder, "git", "rev-list", "--count", "HEAD") == "1\n"
