"""Start every mode of the lab for each of its jobs and send it a few requests."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.core.console import Failed
from lab import data, load
from lab.mode import JOBS, LAB, read_all, read_page
from lab.report import JOB_REPORTS
from tests.servers import Missing, program
from tests.stacks import directory

MODES = read_all()


@pytest.fixture(scope="module")
def var() -> Iterator[Path]:
    with directory() as path:
        data.prepare(path)
        yield path


@pytest.mark.parametrize(("name", "job"), [(name, job) for name, mode in MODES.items() for job in mode.jobs])
def test_a_mode_answers(var: Path, name: str, job: str) -> None:
    if missing := MODES[name].missing():
        raise Missing(f"{name} needs {'; '.join(missing)}")
    with MODES[name].start(job, var) as running:
        answers = [running.get() for _ in range(10)]
    varies = JOBS[job].varies.replace("%", "\\").encode()
    expected = re.sub(varies, b"", running.body)
    assert not [answer for answer in answers if (answer[0], re.sub(varies, b"", answer[1])) != (200, expected)]
    assert not running.processes()


@pytest.mark.parametrize("job", [job for job in JOBS if job != "page"])
def test_the_reference_is_measured(var: Path, job: str) -> None:
    program("wrk", "wrk")
    with MODES[JOBS[job].reference].start(job, var) as running:
        figures = load.measure(running, var / "db.sqlite3")
    expected = {"slow": {"answered", "of", "p50"}, "live": {"p50", "p99", "memory"}}
    assert figures.keys() == expected.get(job, {*JOB_REPORTS["hello"].columns, "generator"})
    assert min(figures.values()) > 0


def test_a_wrong_answer_voids_the_sample(var: Path) -> None:
    program("wrk", "wrk")
    with MODES["scratch-always"].start("hello", var) as running:
        running.body = b"Hello, World!\n"
        with pytest.raises(load.Void, match="wrong answers"):
            load.measure(running, var / "db.sqlite3")


def test_slow_clients_block_sync_workers(var: Path) -> None:
    """A sync worker reads one request at a time, so slow clients occupy every worker."""
    with MODES["gunicorn-sync"].start("slow", var) as running:
        assert load.measure(running, var / "db.sqlite3")["answered"] == 0


def test_a_mode_that_does_not_start_says_why(var: Path, tmp_path: Path) -> None:
    page = tmp_path / "broken.md"
    page.write_text((LAB / "modes/gunicorn-sync.md").read_text().replace("${APPLICATION}", "nothing:application"))
    with pytest.raises(Failed, match="No module named 'nothing'"), read_page(page)[0].start("hello", var):
        pass


def test_a_page_that_is_not_one_says_so(tmp_path: Path) -> None:
    page = tmp_path / "half.md"
    page.write_text('# A mode\n\n```toml\nfamily = "CGI"\n```\n')
    with pytest.raises(Failed, match=r"half\.md: not a mode's page"):
        read_page(page)


def test_ruff_accepts_the_python_of_the_pages(tmp_path: Path) -> None:
    for mode in MODES.values():
        for name, text in mode.files.items():
            if name.endswith(".py"):
                (tmp_path / f"{mode.name}-{name}").write_text(text)
    ruff = [sys.executable, "-m", "ruff"]
    options = ["--config", "pyproject.toml", "--extend-ignore", "I001", str(tmp_path)]
    done = subprocess.run([*ruff, "check", *options], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
