"""nginx's configuration: the files in nginx/, filled in, and replaced only if nginx accepts them.

nginx's container runs `python3 -m deploy.core.nginx start`. Standard library only.
"""

import ipaddress
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from deploy.core.apps import APPS, INSTANCES, PROJECT, App
from deploy.core.console import Failed
from deploy.core.cores import cores
from deploy.core.elsewhere import SYSTEM_CA
from deploy.core.probe import put_in_rotation
from deploy.core.settings import Words, bracketed, listen_addresses, values

# Seconds between two looks at the certificate that certbot renews.
LOOK = 2


def words_of_app(app: App, run: Path, workers: int, variables: Mapping[str, str]) -> dict[str, str]:
    """Return what is filled in only in an app's own files.

    `variables` may name the app's hosts in <APP>_HOSTS, for example `local 10.0.0.2:4`: this host, and another with
    four workers in each instance. Without it, all instances are on this machine.
    """
    hosts = variables.get(f"{app.name.upper()}_HOSTS") or "local"
    # Idle connections keep a draining worker waiting until they time out. Keep none to other hosts: a request
    # on a kept connection to a host that lost power waits for an answer; a new connection fails after one second.
    keeps = app.server.keeps_connections and all(host.startswith("local") for host in hosts.split())
    return {
        "APP": app.name,
        "PREFIX": app.prefix,
        "SERVERS": upstream_servers(app, hosts, run, workers),
        # Long connections are counted by the app itself.
        "LIVE_SERVERS": upstream_servers(app, hosts, run, workers, limited=False),
        "KEEPALIVE": "keepalive 16; keepalive_timeout 2s;" if keeps else "",
    }


def upstream_servers(app: App, hosts: str, run: Path, workers: int, limited: bool = True) -> str:
    """Return the `server` lines of an app's upstream block. `limited` sets max_conns."""
    lines = []
    for host in hosts.split():
        address, _, count = host.partition(":")
        here = int(count or workers)
        limit = f" max_conns={app.server.max_conns(here)}" if limited else ""
        for instance in app.instances:
            for worker, name in enumerate(instance.sockets(here)):
                if address == "local":
                    lines.append(f"server unix:{run}/upstream/{instance}/{name}.sock max_fails=0{limit};")
                else:
                    # A dead host costs a request the time to connect, so nginx skips it for ten seconds. The second
                    # line lets nginx try it anyway when no other server is left (http.conf).
                    server = f"server {address}:{instance.port(worker)}{limit}"
                    lines += [f"{server} max_fails=1 fail_timeout=10s;", f"{server} max_fails=0 backup;"]
    return "\n    ".join(lines)


def networks(name: str, variables: Mapping[str, str]) -> list[str]:
    """Return the networks that a setting names, separated by commas. Raises Failed."""
    try:
        given = [each.strip() for each in variables.get(name, "").split(",") if each.strip()]
        return [str(ipaddress.ip_network(each, strict=False)) for each in given]
    except ValueError as error:
        raise Failed(f"{name}: {error}; should be networks, separated by commas, for example 10.0.0.0/8") from None


def listen_words(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the addresses of IPv6 beside LISTEN and LISTEN_PLAIN, and `#` in IPV6 if there are none."""
    words = {"IPV6": "#"}
    for name in ("LISTEN", "LISTEN_PLAIN"):
        address, _, port = variables[name].rpartition(":")
        others = listen_addresses(address)[1:]
        words[f"{name}_IPV6"] = "".join(f"{bracketed(other)}:{port}" for other in others)
        if others:
            words["IPV6"] = ""
    return words


def acme_words(edges: Sequence[str]) -> dict[str, str]:
    """Return where nginx looks for the proof that it does not have: on the hosts with these addresses, if any."""
    servers = [f"server {address}:80;" for address in edges] or ["server 127.0.0.1 down;"]
    return {"ACME_EDGES": " ".join(servers), "ACME_ELSEWHERE": "error_page 404 = @other_edges;" if edges else ""}


def language_words(variables: Mapping[str, str]) -> dict[str, str]:
    """Return a pattern for the languages of the site, and what it gets of Accept-Language: all, without USE_I18N."""
    if variables.get("USE_I18N") != "on":
        return {"LANGUAGE": "(?!)", "ACCEPT_LANGUAGE": "$http_accept_language"}
    # The longest first: pt-br before pt.
    longest_first = sorted(variables["LANGUAGES"].split(","), key=len, reverse=True)
    return {"LANGUAGE": "|".join(longest_first), "ACCEPT_LANGUAGE": "$language"}


def bucket_origin(url: str) -> str:
    """Return scheme, host and port of S3_URL; empty without one. nginx gets no more of it: the rest is secret."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}" if url else ""


def resolvers(file: Path = Path("/etc/resolv.conf")) -> str:
    """Return the name servers of this machine, as nginx writes their addresses."""
    lines = [line.split() for line in file.read_text().splitlines()] if file.exists() else []
    # fe80::1%eth0 is an address that nginx does not take.
    found = [words[1] for words in lines if words[:1] == ["nameserver"] and len(words) > 1 and "%" not in words[1]]
    return " ".join(f"[{each}]" if ":" in each else each for each in found) or "127.0.0.1"


def render(source: Path, destination: Path, run: Path, workers: int, variables: Mapping[str, str]) -> None:
    """Write every file of `source`, filled in, to `destination`.

    Raises KeyError with a word without a value, and Failed for a malformed setting.
    """
    shutil.rmtree(destination, ignore_errors=True)
    shutil.copytree(source, destination)
    proxies, admins = networks("TRUSTED_PROXIES", variables), networks("ADMIN_NETWORKS", variables)
    bucket = variables.get("BUCKET") or bucket_origin(variables.get("S3_URL", ""))
    derived = {
        "BUCKET": bucket,
        "CA_FILE": variables.get("CA_FILE") or SYSTEM_CA,
        "RESOLVERS": resolvers(),
        "REAL_IP": " ".join(f"set_real_ip_from {network};" for network in proxies),
        "PROXIES": " ".join(f"{network} yes;" for network in proxies),
        "ADMIN_CLOSED": "yes" if admins else '""',
        "ADMIN_OPEN": " ".join(f'{network} "";' for network in admins),
        "SERVER_NAMES": variables["ALLOWED_HOSTS"].replace(",", " "),
        "MEDIA": "bucket" if bucket else "store" if variables.get("MEDIA_STORE") else "files",
        "MEDIA_STORE": variables.get("MEDIA_STORE", ""),
        "CORES": str(workers),
        **acme_words(variables.get("ACME_EDGES", "").split()),
        **listen_words(variables),
        **language_words(variables),
    }
    for file in destination.rglob("*.conf"):
        # A folder with an app's name has that app's files.
        app = APPS.get(file.relative_to(destination).parts[0])
        own = words_of_app(app, run, workers, variables) if app else {}
        file.write_text(Words(file.read_text()).substitute({**variables, **derived, **own}))


def configure(var: Path, workers: int, variables: Mapping[str, str]) -> bool:
    """Write nginx's configuration to `var`/nginx. Return True if anything changed.

    Raises Failed, and leaves the old configuration, when nginx does not accept the new one.
    """
    fresh, current = var / "nginx.new", var / "nginx"
    render(PROJECT / "nginx", fresh, var / "run", workers, variables)
    if contents(fresh) == contents(current):
        shutil.rmtree(fresh)
        return False
    command = ["nginx", "-t", "-q", "-p", str(var), "-c", str(fresh / "nginx.conf"), "-e", "stderr"]
    test = subprocess.run(command, capture_output=True, text=True, check=False)
    if test.returncode:
        raise Failed(f"nginx does not accept its configuration:\n{test.stderr}")
    shutil.rmtree(current, ignore_errors=True)
    fresh.rename(current)
    return True


def contents(root: Path) -> dict[Path, bytes]:
    return {file.relative_to(root): file.read_bytes() for file in root.rglob("*") if file.is_file()}


def prepare_run(run: Path) -> None:
    """Before nginx starts: put all instances in rotation the first time, and remove what a killed nginx left behind."""
    if not (run / "upstream").exists():
        for instance in INSTANCES:
            put_in_rotation(run, instance)
    for left in run.glob("nginx.*"):
        left.unlink()


def reload_renewed(certificate: Path) -> None:
    """Make nginx reload whenever its certificate changes, from a second process: the caller becomes nginx."""
    known, nginx = certificate.read_bytes(), os.getpid()
    if os.fork():
        return
    while os.getppid() == nginx:
        time.sleep(LOOK)
        if (now := certificate.read_bytes()) != known:
            known = now
            os.kill(nginx, signal.SIGHUP)


def main(command: str) -> None:
    """`check` tests the files, `prepare` leaves the start to the caller, `start` becomes nginx, `reload` reloads."""
    # A container reads the settings from a file (ENV_FILE), so that a changed setting is a reload.
    os.environ.update(values())
    var = Path(os.environ["VAR_DIR"])
    for directory in ("tmp", "log"):
        (var / directory).mkdir(exist_ok=True)
    access_log = var / "log/access.log"
    # On a host there is a file; a container logs to its own output.
    if not os.path.lexists(access_log):
        access_log.symlink_to("/dev/stdout")
    changed = configure(var, cores(), os.environ)
    if command in ("start", "prepare"):
        prepare_run(var / "run")
    if command == "start":
        if os.environ.get("ACME_EMAIL"):
            reload_renewed(Path(os.environ["TLS_CERTIFICATE"]))
        os.execvp("nginx", ["nginx", "-p", str(var), "-c", "nginx/nginx.conf", "-e", "stderr", "-g", "daemon off;"])
    if command == "reload" and changed:
        os.kill(int((var / "run/nginx.pid").read_text()), signal.SIGHUP)
        print("reloaded")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except KeyError as missing:
        raise SystemExit(f"{missing.args[0]} is not set, and nginx's configuration needs it") from None
    except Failed as failed:
        raise SystemExit(str(failed)) from None
