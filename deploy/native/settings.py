"""The settings of the stack on this machine: from .env and the environment, checked, and what each part gets."""

import os

from dotenv import dotenv_values, load_dotenv
from environs import Env, EnvValidationError, validate

from deploy.cores import cores
from deploy.env import ENV_FILE, EXAMPLE, VAR

# What no application reads: a change of these is a reload of nginx and nothing more.
NGINX_ONLY = {"ADDRESS", "PORT", "LISTEN", "LISTEN_PLAIN", "PLAIN_PORT", "SERVER_NAMES", "DEBUG_UPSTREAM"}
NGINX_ONLY |= {"TLS_CERTIFICATE", "TLS_KEY"}
CONTAINERS_ONLY = {"POSTGRES_PASSWORD", "REDIS_PASSWORD", "CPUS", "MEMORY", "APP_UID"}


def read() -> dict[str, str]:
    """The variables of .env.example: from the environment, or .env, or that file itself; and what follows from them.

    Stops the program with a line for each of nginx's own that is malformed; the applications check theirs.
    """
    load_dotenv(ENV_FILE)
    load_dotenv(EXAMPLE)
    env = Env(eager=False)
    port_range = validate.Range(1024, 65535)
    on_or_off = validate.OneOf(["on", "off"])
    address, port = env.str("ADDRESS"), env.int("PORT", validate=port_range)
    hosts: list[str] = env.list("ALLOWED_HOSTS", validate=validate.Length(min=1))
    tls = env.str("TLS", validate=on_or_off)
    env.str("DEBUG_UPSTREAM", validate=on_or_off)
    if tls == "on":
        plain_port = env.int("PLAIN_PORT", validate=port_range)
        for file in ("TLS_CERTIFICATE", "TLS_KEY"):
            env.path(file, validate=lambda path: path.is_file())
    try:
        env.seal()
    except EnvValidationError as error:
        lines = [f"{name}: {' '.join(faults)}" for name, faults in error.error_messages.items()]  # type: ignore[union-attr]
        raise SystemExit("\n".join([*lines, f"Each is explained in .env.example; mend it in {ENV_FILE}."])) from None
    return {name: os.environ.get(name, "") for name in dotenv_values(EXAMPLE).keys() - CONTAINERS_ONLY} | {
        "VAR_DIR": str(VAR),
        "DATABASE_URL": os.environ.get("DATABASE_URL") or f"sqlite:///{VAR}/db.sqlite3",
        "CORES": str(cores()),
        "LISTEN": f"{address}:{port}",
        "LISTEN_PLAIN": f"{address}:{plain_port}" if tls == "on" else "",
        "SERVER_NAMES": " ".join(hosts),
        "API_BIND": f"unix:{VAR}/run/api-{{instance}}-{{slot}}.sock",
    }
