"""The settings of the stack on this machine: from .env and the environment, checked, and what each part gets."""

import os

from dotenv import dotenv_values, load_dotenv

from deploy.cores import cores
from deploy.env import ENV_FILE, EXAMPLE, VAR, setting

# What no application reads: a change of these is a reload of nginx and nothing more.
NGINX_ONLY = {"ADDRESS", "PORT", "LISTEN", "LISTEN_PLAIN", "PLAIN_PORT", "SERVER_NAMES", "DEBUG_UPSTREAM"}
NGINX_ONLY |= {"TLS_CERTIFICATE", "TLS_KEY"}
CONTAINERS_ONLY = {"POSTGRES_PASSWORD", "REDIS_PASSWORD", "CPUS", "MEMORY", "APP_UID"}


def read() -> dict[str, str]:
    """The variables of .env.example: from the environment, or .env, or that file itself; and what follows from them."""
    load_dotenv(ENV_FILE)
    load_dotenv(EXAMPLE)
    address, hosts, tls = setting("ADDRESS"), setting("ALLOWED_HOSTS"), setting("TLS") == "on"
    return {name: os.environ.get(name, "") for name in dotenv_values(EXAMPLE).keys() - CONTAINERS_ONLY} | {
        "VAR_DIR": str(VAR),
        "DATABASE_URL": os.environ.get("DATABASE_URL") or f"sqlite:///{VAR}/db.sqlite3",
        "CORES": str(cores()),
        "DEBUG": "off",
        "LISTEN": f"{address}:{setting('PORT')}",
        "LISTEN_PLAIN": f"{address}:{setting('PLAIN_PORT')}" if tls else "",
        "SERVER_NAMES": hosts.replace(",", " "),
        "API_BIND": f"unix:{VAR}/run/api-{{instance}}-{{slot}}.sock",
    }
