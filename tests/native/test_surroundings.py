"""What people have around the stack: addresses, ports, certificates, no packages, odd bytes in logs, no terminal."""

import os
import pwd
import re
import signal
import socket
import subprocess
from pathlib import Path

import httpx
import pytest

from deploy.core.apps import APPS, INSTANCES
from deploy.core.supervisor import processes_of
from tests.faults import self_signed
from tests.native.test_commands import BREAK, FIRST
from tests.servers import free_port
from tests.stacks import NativeStack, copied, edited


def logs_until(stack: NativeStack, *wanted: str, **variables: str) -> str:
    """Follow the logs until they have shown these texts, for a minute at most. Return what was printed."""
    command = ["timeout", "--signal=INT", "60", "make", "--no-print-directory", "logs"]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    said = ""
    with subprocess.Popen(command, cwd=stack.project, env=stack.environment | variables, **options) as make:  # type: ignore[call-overload]
        for line in make.stdout:
            said += line
            if all(text in said for text in wanted):
                make.send_signal(signal.SIGTERM)
                break
    return said


def test_an_address_of_ipv6(tmp_path: Path) -> None:
    stack = NativeStack(tmp_path, {"ADDRESS": "::1"})
    url = f"http://[::1]:{stack.environment['PORT']}/"
    try:
        assert f"{url}  up in" in stack.up()
        assert httpx.get(url).status_code == 200
        assert url in stack.make("status").stdout
        assert stack.make("doctor").returncode == 0
    finally:
        stack.down()


def test_a_change_of_the_address_is_said_and_the_running_one_is_known(copy: NativeStack) -> None:
    old, new = copy.environment["PORT"], str(free_port())
    done = copy.make("up", PORT=new)
    try:
        assert f"The address changes from http://127.0.0.1:{old}/ to http://127.0.0.1:{new}/" in done.stdout
        # Without PORT, as in the next shell.
        assert f"http://127.0.0.1:{new}/" in copy.make("status").stdout
        doctor = copy.make("doctor")
        assert doctor.returncode == 0, doctor.stdout
        assert f"port {new} of 127.0.0.1: this stack's nginx" in doctor.stdout
    finally:
        assert "The address changes" in copy.up()


def test_looking_and_stopping_need_no_packages(copy: NativeStack) -> None:
    packages = copy.project / ".venv"
    target = packages.readlink()
    packages.unlink()
    try:
        for half in (False, True):
            if half:
                # As `python3 -m venv` leaves it when it is killed.
                (packages / "bin").mkdir(parents=True)
                (packages / "bin/python").symlink_to("/nonexistent/python3")
                (packages / "bin/uv").write_text("")
            status = copy.make("status")
            assert status.stdout.count(" ready") == 1 + len(INSTANCES), status.stdout
            assert " INFO " in logs_until(copy, " INFO ")
            doctor = copy.make("doctor")
            assert "Traceback" not in doctor.stdout
            assert f"{FIRST.instances[0]}: ready" in doctor.stdout
        assert re.fullmatch(r"Stopped \d+ processes\.\n", copy.make("down").stdout)
        assert not list(processes_of(copy.var))
    finally:
        subprocess.run(["rm", "-rf", packages], check=True)
        packages.symlink_to(target)
        copy.up()


def test_odd_bytes_in_a_log(copy: NativeStack) -> None:
    with (copy.var / "log/access.log").open("ab") as log:
        log.write(b'{"time": "bad\xffagent \x1b]0;title\x07\n\x1b[2Jnot JSON \xe2\x80\xae\n')
    wanted = 'access  {"time": "bad\\xffagent \\x1b]0;title\\x07\n', "access  \\x1b[2Jnot JSON \\u202e\n"
    said = logs_until(copy, *wanted, APP="access")
    assert [text for text in wanted if text not in said] == [], said
    assert "Traceback" not in said


@pytest.mark.parametrize("command", ["status", "doctor", "logs", "up"])
def test_a_reader_that_closes_the_pipe(copy: NativeStack, command: str) -> None:
    shell = f"timeout --signal=INT 60 make --no-print-directory {command} | head -n 1"
    done = subprocess.run(
        ["bash", "-c", shell], cwd=copy.project, env=copy.environment, capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr
    assert "Broken pipe" not in done.stderr
    assert len(done.stdout.splitlines()) == 1


def test_destroy_without_a_terminal(copy: NativeStack) -> None:
    done = copy.make("destroy")
    assert done.returncode
    assert (
        "Nothing was deleted: there is no terminal to ask. `make destroy YES=yes` deletes without asking" in done.stdout
    )
    with copy.client() as client:
        assert client.get(FIRST.prefix).status_code == 200


def test_a_first_start_that_fails_leaves_nothing_running(tmp_path: Path) -> None:
    path, old, new = BREAK[FIRST.server.kind]
    with copied() as project:
        stack = NativeStack(tmp_path, project=project)
        with edited(stack, path.format(app=FIRST.name), old, new):
            done = stack.make("up")
        assert done.returncode
        assert "The end of its log:" in done.stdout
        assert "No module named 'no_such_module_" in done.stdout
        assert "Stopping what was started" in done.stdout
        assert not list(processes_of(stack.var))
        assert "Nothing is running" in stack.make("status").stdout
        # The next one starts, and shows the password that the first one made.
        stack.up()
        stack.down()


def test_a_relative_certificate_and_both_ports(tmp_path: Path) -> None:
    with copied() as project:
        stack = NativeStack(tmp_path, project=project)
        files = self_signed(project)
        for path in files.values():
            Path(path).chmod(0o644)
        given = {name: Path(path).name for name, path in files.items()} | {"TLS": "on", "PLAIN_PORT": str(free_port())}
        with socket.create_server(("127.0.0.1", int(given["PLAIN_PORT"]))):
            done = stack.make("up", **given)
            assert f"✗ port {given['PLAIN_PORT']} of 127.0.0.1: Address already in use" in done.stdout
            assert "make up PLAIN_PORT=" in done.stdout
            assert not list(tmp_path.iterdir()), "something was touched"
        try:
            done = stack.make("up", **given)
            assert done.returncode == 0, done.stdout
            for app in APPS.values():
                if app.prefix:
                    url = f"https://127.0.0.1:{stack.environment['PORT']}{app.prefix}"
                    assert httpx.get(url, verify=False).status_code == 200  # noqa: S501
        finally:
            stack.down()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's stack runs as another user")
def test_a_key_that_the_user_of_roots_stack_may_not_read(tmp_path: Path) -> None:
    with copied() as project:
        stack = NativeStack(tmp_path, project=project)
        files = self_signed(project)
        Path(files["TLS_KEY"]).chmod(0o600)
        done = stack.make("up", TLS="on", PLAIN_PORT=str(free_port()), **files)
        assert done.returncode
        key, group = files["TLS_KEY"], pwd.getpwnam("www-data").pw_gid
        assert f"which may not read {key}.\nAs root: chgrp {group} {key} && chmod g+r {key}\n" in done.stdout
        assert not list(tmp_path.iterdir()), "something was touched"
