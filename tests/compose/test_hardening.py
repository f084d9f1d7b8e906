"""Permissions, limits and network access of containers, according to the engine and the kernel."""

import re
import socket
from pathlib import Path

import httpx
import psutil
import pytest
from dotenv import dotenv_values

from deploy.core.settings import listen_addresses
from tests.compose.conftest import SENDERS, SERVICES, processes, wait_healthy
from tests.stacks import ComposeStack, docker, enter, outside

SITE = {"/tmp", *(f"/srv/app/var/{name}" for name in ("run", "static", "media"))}  # noqa: S108
API = {"/tmp", *(f"/srv/app/var/{name}" for name in ("run", "log", "supervisor"))}  # noqa: S108
JOBS = {"/tmp", "/srv/app/var/run"}  # noqa: S108
# Every container also has /dev.
WRITABLE = {
    "nginx": {"/tmp", "/srv/app/var"},  # noqa: S108
    "site-a": SITE,
    "site-b": SITE,
    "api-a": API,
    "api-b": API,
    "jobs-a": JOBS,
    "jobs-b": JOBS,
    "postgres": {"/tmp", "/run/postgresql", "/var/lib/postgresql/data"},  # noqa: S108
    "redis": {"/data"},
}
every_service = pytest.mark.parametrize("service", SERVICES)


def read(pid: int, name: str) -> str:
    """Return a file of a process in /proc; empty if the process, perhaps a health check, has ended."""
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes().decode(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""


@every_service
def test_no_process_is_root_or_can_become_root(stack: ComposeStack, service: str) -> None:
    for pid in processes(stack, service):
        status = dict(line.split(":\t", 1) for line in read(pid, "status").splitlines())
        if not status:
            continue
        assert "0" not in (status["Uid"] + status["Gid"]).split(), status["Name"]
        for capabilities in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            assert int(status[capabilities], 16) == 0, (status["Name"], capabilities)
        assert status["NoNewPrivs"] == "1"
        # The engine's default list filters system calls.
        assert status["Seccomp"] == "2"


@every_service
def test_only_the_necessary_paths_are_writable(stack: ComposeStack, service: str) -> None:
    """Try as the service's user. The root file system is read-only for everybody."""
    find = "find / -path /proc -prune -o -path /dev -prune -o -type d -writable -print -prune 2>/dev/null || true"
    assert {*stack.run(service, "sh", "-c", find).split()} == WRITABLE[service]
    assert stack.container(service)["HostConfig"]["ReadonlyRootfs"]


@every_service
def test_its_resources_are_limited(stack: ComposeStack, service: str) -> None:
    container = stack.container(service)
    host = container["HostConfig"]
    assert 0 < host["Memory"] <= 2 * 1024**3
    assert 0 < host["PidsLimit"] <= 512
    for pid in processes(stack, service):
        for files in re.findall(r"^Max open files +(\d+)", read(pid, "limits"), re.M):
            assert int(files) <= 20000
    assert {"max-size", "max-file"} <= host["LogConfig"]["Config"].keys(), "its log grows"


@every_service
def test_it_is_restarted_and_has_a_health_check(stack: ComposeStack, service: str) -> None:
    wait_healthy(stack, service)
    assert stack.container(service)["HostConfig"]["RestartPolicy"]["Name"] == "unless-stopped"


def test_nginx_alone_is_published_and_to_this_machine_alone(stack: ComposeStack) -> None:
    port = int(stack.environment["PORT"])
    bound = {
        service: {
            (at["HostIp"].strip("[]"), at["HostPort"])
            for ports in container["NetworkSettings"]["Ports"].values()
            for at in ports or []
        }
        for service, container in stack.containers().items()
    }
    with outside():
        own = {(address, str(port)) for address in listen_addresses("127.0.0.1")}
    assert bound == {service: own if service == "nginx" else set() for service in bound}
    with outside():
        assert httpx.get(f"http://127.0.0.1:{port}/").status_code == 200
        of_this_machine = [
            at.address
            for all_of_it in psutil.net_if_addrs().values()
            for at in all_of_it
            if at.family == socket.AF_INET
        ]
        for address in {*of_this_machine} - {"127.0.0.1"}:
            assert not answers(address, port), address


def answers(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), timeout=2).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize(("service", "port"), [("postgres", 5432), ("redis", 6379)])
def test_nginx_cannot_reach_the_data(stack: ComposeStack, service: str, port: int) -> None:
    address = stack.container(service)["NetworkSettings"]["Networks"][f"{stack.name}_data"]["IPAddress"]
    with outside():
        enter(f"/proc/{stack.container('site-a')['State']['Pid']}/ns/net")
        assert answers(address, port), "nobody listens there, and this test tells nothing"
        enter(f"/proc/{stack.nginx_pid}/ns/net")
        assert not answers(address, port)


@pytest.mark.parametrize("service", [name for name in SERVICES if name not in ("nginx", *SENDERS)])
def test_there_is_no_way_out_but_nginxs(stack: ComposeStack, service: str) -> None:
    """Packets of an internal network are not forwarded, not even to nginx's network."""
    container, nginx = stack.container(service), stack.container("nginx")["NetworkSettings"]["Networks"]
    assert container["NetworkSettings"]["Networks"].keys() == {f"{stack.name}_data"}
    assert docker("network", "inspect", "--format={{.Internal}}", f"{stack.name}_data") == "true\n"
    with outside():
        address = nginx[f"{stack.name}_edge"]["IPAddress"]
        assert answers(address, 8000), "nobody listens there, and this test tells nothing"
        enter(f"/proc/{container['State']['Pid']}/ns/net")
        assert not answers(address, 8000)


@pytest.mark.parametrize("service", SENDERS)
def test_the_sender_of_mail_has_a_way_out(stack: ComposeStack, service: str) -> None:
    networks = stack.container(service)["NetworkSettings"]["Networks"]
    assert networks.keys() == {f"{stack.name}_data", f"{stack.name}_out"}
    with outside(), socket.create_server(("", 0)) as server:
        enter(f"/proc/{stack.container(service)['State']['Pid']}/ns/net")
        assert answers(networks[f"{stack.name}_out"]["Gateway"], server.getsockname()[1])


def test_no_secret_is_visible(stack: ComposeStack) -> None:
    """Not in containers, images, processes or logs."""
    file = dotenv_values(stack.environment["ENV_FILE"])
    secrets = {
        name: str(file[name]).rpartition(":")[2]
        for name in ("SECRET_KEY", "TOKEN_KEYS", "POSTGRES_PASSWORD", "REDIS_PASSWORD")
    }
    assert all(len(secret) > 20 for secret in secrets.values())
    seen = {}
    for service, container in stack.containers().items():
        seen[f"inspect {service}"] = docker("inspect", container["Id"])
        seen[f"logs of {service}"] = docker("logs", container["Id"])
        seen[f"image of {service}"] = docker("image", "inspect", container["Image"])
        seen[f"history of {service}"] = docker("history", "--no-trunc", container["Image"])
        for pid in processes(stack, service) if container["State"]["Running"] else []:
            for what in ("environ", "cmdline"):
                seen[f"{what} of {service}'s {pid}"] = read(pid, what)
    assert [(name, where) for name, secret in secrets.items() for where, text in seen.items() if secret in text] == []
