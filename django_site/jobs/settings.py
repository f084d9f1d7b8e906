"""The mail server and the sender's address."""

from email.utils import parseaddr
from typing import Any
from urllib.parse import unquote, urlsplit

from config.env import ValidationError, read

SHAPES = {
    "EMAIL_URL": "smtp://user:password@host:port, smtp+tls://… or smtp+ssl://…; file:///directory, console: or empty",
    "DEFAULT_FROM_EMAIL": "an address, for example shop@example.org or Shop <shop@example.org>",
}
PORTS = {"smtp": 25, "smtp+tls": 587, "smtp+ssl": 465}
# Seconds for each step of a connection. A job has 20 s for all (LIMIT in worker.py).
TIMEOUT = 5
BACKENDS = "django.core.mail.backends"


def parse_mail_server(value: str) -> dict[str, Any]:
    """Return the arguments of Django's get_connection(); none for an empty value."""
    if not value:
        return {}
    if value == "console:":
        return {"backend": f"{BACKENDS}.console.EmailBackend"}
    if value.startswith("file:///"):
        return {"backend": f"{BACKENDS}.filebased.EmailBackend", "file_path": value.removeprefix("file://")}
    try:
        url = urlsplit(value)
        port = url.port or PORTS[url.scheme]
    except (ValueError, KeyError):
        raise ValidationError(SHAPES["EMAIL_URL"]) from None
    # A password with one of / ? # that is not encoded cuts the host name.
    if not url.hostname or url.path.strip("/") or url.query or url.fragment:
        raise ValidationError(SHAPES["EMAIL_URL"])
    return {
        "backend": f"{BACKENDS}.smtp.EmailBackend",
        "host": url.hostname,
        "port": port,
        "username": unquote(url.username or ""),
        "password": unquote(url.password or ""),
        "use_tls": url.scheme == "smtp+tls",
        "use_ssl": url.scheme == "smtp+ssl",
        "timeout": TIMEOUT,
    }


def parse_sender(value: str) -> str:
    if not value.isprintable() or "@" not in parseaddr(value)[1]:
        raise ValidationError(SHAPES["DEFAULT_FROM_EMAIL"])
    return value


with read(SHAPES) as env:
    env.add_parser("mail_server", parse_mail_server)
    env.add_parser("sender", parse_sender)
    MAIL_SERVER: dict[str, Any] = env.mail_server("EMAIL_URL", "")
    DEFAULT_FROM_EMAIL: str = env.sender("DEFAULT_FROM_EMAIL", "webmaster@localhost")
