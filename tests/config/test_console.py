"""Output survives whatever it prints, and whoever reads it; nothing in a log acts on a terminal."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from deploy.core import console
from deploy.core.settings import PROJECT

# What sets titles, clears, moves, or turns the direction of text: C0, C1, and Unicode's formatting characters.
ATTACKS = ["\x1b]0;title\x07", "\x1b[2J", "\x9b31m", "\r", "\x7f", "\u202e", "\u2028", "\x85", "\ufeff", "\udcff", "\0"]


def acts_on_a_terminal(text: str) -> bool:
    return any(not char.isprintable() and char not in "\n\t" for char in text)


@given(st.binary())
@example(b'{"time":"2026-01-01T00:00:00","level":"INFO","message":"a\\u001b[2Jb","exc_info":"x\\u001b]0;y\\u0007"}')
@example(b'{"time":1,"level":2,"message":[]}')
@example(b"bad\xffagent \x1b[31m")
@example(b"[" * 100_000)
def test_any_line_of_a_log_is_harmless(line: bytes) -> None:
    said = console.readable(line.decode(errors="surrogateescape").rstrip())
    assert not acts_on_a_terminal(said)
    said.encode()


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("key", ["message", "request_id", "level", "time", "exc_info", "path", "client"])
def test_no_field_of_an_entry_acts_on_a_terminal(key: str, attack: str) -> None:
    entry = {"time": "2026-01-01T00:00:00", "level": "INFO", "method": "GET", "path": "/", "status": 200, "client": ""}
    entry |= {"duration": 1, "request_id": "1"} | ({} if key in ("path", "client") else {"message": "said"})
    said = console.readable(json.dumps(entry | {key: f"12345678901{attack}\nforged line"}))
    assert not acts_on_a_terminal(said)
    # Only a traceback has several lines.
    assert ("\nforged" in said) == (key == "exc_info")


def test_an_entry_keeps_its_letters() -> None:
    entry = {"time": "2026-01-01T01:02:03", "level": "INFO", "message": "Grüße\t✓ \\ 日本", "request_id": "7"}
    assert console.readable(json.dumps(entry)) == "01:02:03 INFO    Grüße\t✓ \\ 日本  7"


PRINTS = "from deploy.core.console import guard_output; guard_output(); "


@pytest.mark.slow
@pytest.mark.parametrize("out", ["head -n 1", "false", "cat >/dev/full"])
def test_a_reader_that_ends_does_not_end_the_command(out: str, tmp_path: Path) -> None:
    code = f"{PRINTS}[print('line ✓', flush=True) for _ in range(10_000)]; open({str(tmp_path / 'done')!r}, 'w')"
    command = f'{sys.executable} -c "$CODE" | {out}; exit ${{PIPESTATUS[0]}}'
    if out.startswith("cat"):
        command = f'{sys.executable} -c "$CODE" >/dev/full'
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=PROJECT,
        env={"CODE": code, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert (tmp_path / "done").exists()


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_an_8_bit_terminal(encoding: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"{PRINTS}print('✓ ü \\udcff 日')"],
        cwd=PROJECT,
        env={"PYTHONIOENCODING": encoding},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b"\\u2713 ")


@pytest.mark.slow
def test_closed_output() -> None:
    done = subprocess.run(["bash", "-c", f'{sys.executable} -c "{PRINTS}print(1)" >&- 2>&-'], cwd=PROJECT, check=False)
    assert done.returncode == 0


@pytest.mark.parametrize(("answer", "yes", "deleted"), [("", "", False), ("no\n", "", False), ("", "yes", True)])
def test_deleting_needs_a_terminal_or_yes(
    answer: str, yes: str, deleted: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("YES", yes)
    given = tmp_path / "answer"
    given.write_text(answer)
    with given.open() as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        if deleted:
            console.confirm("shop", "all of it")
            return
        with pytest.raises(console.Failed) as failed:
            console.confirm("shop", "all of it")
    assert ("make destroy YES=yes" in str(failed.value)) == (answer == "")
