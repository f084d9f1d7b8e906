"""Checks of what runs: the database and Redis, migrations, services, and a request through nginx."""

import re
import time

from deploy.core import elsewhere
from deploy.core.apps import django
from deploy.core.console import readable
from deploy.core.probe import why_no_page
from deploy.core.settings import bracketed

from .findings import Findings, right, unknown, wrong
from .stacks import NativeStack, password

# Seconds. The apps accept a token that another machine's clock dates up to 5 s ahead.
CLOCK_DIFFERENCE = 2


def data(stack: NativeStack) -> Findings:
    """The database and Redis answer, and their clocks agree with this machine's."""
    for name, read_time in (("DATABASE_URL", database_time), ("REDIS_URL", redis_time)):
        url = stack.url(name)
        if not url.startswith(("postgresql:", "redis:", "rediss:")):
            continue
        where, before = ", ".join(elsewhere.hosts(url)), time.time()
        try:
            theirs = read_time(url)
        except ImportError:
            yield unknown(f"{name}: the Python packages are not installed")
        except Exception as error:
            said = (str(error).strip() or type(error).__name__).splitlines()[0]
            if (secret := password(url)) and secret in said:
                said = type(error).__name__
            yield wrong(f"{name}: {where} does not answer: {said}", f"start the server, or correct {name}")
        else:
            difference = max(before - theirs, theirs - time.time(), 0)
            said = f"{name}: {where} answers, its clock differs by {difference:.1f} s"
            sync = "on both machines: sudo timedatectl set-ntp true"
            yield right(said) if difference <= CLOCK_DIFFERENCE else wrong(said, sync)


def database_time(url: str) -> float:
    """Return the database server's time, in seconds since 1970."""
    import psycopg

    with psycopg.connect(url, connect_timeout=3) as connection:
        row = connection.execute("SELECT extract(epoch FROM clock_timestamp())::float").fetchone()
    assert row
    return float(row[0])


def redis_time(url: str) -> float:
    import redis

    with redis.Redis.from_url(url, socket_timeout=3, socket_connect_timeout=3) as connection:
        seconds, microseconds = connection.time()
    return float(seconds) + float(microseconds) / 1e6


def migrations(stack: NativeStack) -> Findings:
    app = django()
    if not app or app not in [instance.app for instance in stack.instances]:
        return
    if not stack.is_running:
        yield unknown("migrations: nothing is running")
        return
    plan = stack.manage(app, "showmigrations", "--plan")
    if missing := re.findall(r"^\[ \]  (\S+)", plan, re.M):
        yield wrong(f"migrations not applied: {', '.join(missing)}", stack.start)
    else:
        yield right(f"migrations: all {plan.count('[X]')} applied")


def services(stack: NativeStack) -> Findings:
    """nginx and every instance are ready, and nginx sends requests to every instance."""
    if not stack.is_running:
        yield unknown(f"services: nothing is running; `{stack.start}` starts them")
        return
    out = [instance for instance in stack.instances if not stack.is_in_rotation(instance)]
    for service in stack.services:
        said, remedy = [], ""
        if why := stack.why_not_ready(service):
            end = [readable(line) for line in stack.log(service).splitlines()[-5:]]
            said.append(why)
            remedy = "\n".join(
                (f"{stack.start}; {stack.logs_command(service)} shows more than this end of its log:", *end)
            )
        if instance := next((instance for instance in out if instance.name == service), None):
            said.append("out of rotation, so nginx sends it nothing")
            remedy = remedy or stack.restart_command(instance.app)
        yield wrong(f"{service}: {'; '.join(said)}", remedy) if said else right(f"{service}: ready")


def front_door(stack: NativeStack) -> Findings:
    """A request on nginx's own port, for the first name in ALLOWED_HOSTS."""
    if not stack.is_running or "nginx" not in stack.services:
        return
    name = stack.setting("ALLOWED_HOSTS").split(",")[0].lstrip(".")
    address, number = next(stack.addresses())
    said = f"GET / of {name} at {bracketed(address)}:{number}"
    variables = {name: stack.setting(name) for name in ("TLS", "ALLOWED_HOSTS")}
    began = time.monotonic()
    if why := why_no_page(address, number, variables, "/"):
        yield wrong(f"{said}: {why.partition(': ')[2]}", f"{stack.start}; {stack.logs_command('nginx')}")
    else:
        yield right(f"{said}: answered after {time.monotonic() - began:.2f} s")
