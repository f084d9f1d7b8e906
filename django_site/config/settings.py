"""The site's settings. Values that differ between deployments come from the environment (.env.example)."""

import re
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import dj_database_url
from django.conf.locale import LANG_INFO
from environs import validate
from jobs.settings import DEFAULT_FROM_EMAIL as DEFAULT_FROM_EMAIL
from pythonjsonlogger.core import RESERVED_ATTRS

from .apps import APPS
from .env import APP, ValidationError, read
from .traces import check

SHAPES = {
    "SECRET_KEY": "at least 50 characters",
    "VAR_DIR": "an absolute path",
    "DATABASE_URL": "sqlite:////absolute/path or postgresql://user:password@host:port/name",
    "DATABASE_POOLER": "on or off",
    "REDIS_URL": "redis://host:port/number, or rediss:// for TLS, or empty",
    "ALLOWED_HOSTS": "host names, separated by commas",
    "UPLOAD_LIMIT_MB": "a whole number from 1 to 999",
    "TLS": "on or off",
    "TRUSTED_PROXIES": "networks, separated by commas, or empty",
    "LOG_LEVEL": "DEBUG, INFO, WARNING or ERROR",
    "INSTANCE": "the name of an instance, such as site-a, or empty",
    "DEBUG": "on or off",
    "MEDIA_STORE": "http://host:port, or empty",
    "S3_URL": "https://key:secret@host/bucket?region=name, or empty",
    "CA_FILE": "the path of a PEM file, or empty",
    "LOGIN_METHODS": "username, email, or both, separated by a comma",
    "EMAIL_VERIFICATION": "optional or mandatory",
    "STAFF_TWO_FACTOR": "on or off",
    "SENTRY_DSN": "https://key@host/number, or empty",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "http://host:port or https://host, or empty",
    "ADMINS": "e-mail addresses, separated by commas, or empty",
    "USE_I18N": "on or off",
    "LANGUAGES": "codes of languages that Django has, such as en,de or pt-br, separated by commas",
}


def parse_absolute_path(value: str) -> Path:
    if not Path(value).is_absolute():
        raise ValidationError(SHAPES["VAR_DIR"])
    return Path(value)


def parse_database(value: str) -> dj_database_url.DBConfig:
    if not value.startswith(("sqlite:////", "postgresql://")):
        raise ValidationError(SHAPES["DATABASE_URL"])
    try:
        # Keeping connections raises the throughput (measured: 1.31×). Each is checked before use, so that a restart of
        # the database causes no error.
        parsed = dj_database_url.parse(value, conn_max_age=600, conn_health_checks=True)
    except ValueError as error:
        raise ValidationError(SHAPES["DATABASE_URL"]) from error
    if parsed["NAME"] in ("", "/"):
        raise ValidationError(SHAPES["DATABASE_URL"])
    return parsed


def parse_bucket(value: str) -> dict[str, str]:
    """Return the options of django-storages for a bucket."""
    try:
        parts = urlsplit(value)
        endpoint = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        options = {
            "endpoint_url": endpoint,
            "access_key": unquote(parts.username or ""),
            "secret_key": unquote(parts.password or ""),
            "bucket_name": parts.path.strip("/"),
            "region_name": parse_qs(parts.query).get("region", ["us-east-1"])[0],
        }
        well_formed = re.fullmatch(r"https?://[^/]+", endpoint) and parts.port != 0
    except ValueError as error:
        raise ValidationError(SHAPES["S3_URL"]) from error
    if not well_formed or not re.fullmatch(r"[\w.-]{3,63}", options["bucket_name"]) or not all(options.values()):
        raise ValidationError(SHAPES["S3_URL"])
    return options


def url(pattern: str) -> Callable[[str], None]:
    """Return a validator: empty, or a URL of this pattern whose host and port can exist."""

    def check(value: str) -> None:
        validate.Regexp(f"({pattern})?$")(value)
        try:
            _ = urlsplit(value).port
        except ValueError as error:
            raise ValidationError("no URL") from error

    return check


def parse_file(value: str) -> str:
    if value and not Path(value).is_file():
        raise ValidationError(SHAPES["CA_FILE"])
    return value


with read(SHAPES) as env:
    env.add_parser("absolute_path", parse_absolute_path)
    env.add_parser("database", parse_database)
    env.add_parser("bucket", lambda value: parse_bucket(value) if value else {})
    env.add_parser("file", parse_file)
    SECRET_KEY = env.str("SECRET_KEY", validate=validate.Length(min=50))
    VAR_DIR: Path = env.absolute_path("VAR_DIR")
    DATABASE: dj_database_url.DBConfig = env.database("DATABASE_URL")
    DATABASE_POOLER = env.bool("DATABASE_POOLER", False)
    REDIS_URL = env.str("REDIS_URL", "", validate=url("rediss?://.+"))
    ALLOWED_HOSTS: list[str] = env.list("ALLOWED_HOSTS", validate=validate.Length(min=1))
    UPLOAD_LIMIT_MB = env.int("UPLOAD_LIMIT_MB", validate=validate.Range(1, 999))
    TLS = env.bool("TLS", False)
    TRUSTED_PROXIES = env.str("TRUSTED_PROXIES", "", validate=validate.Regexp(r"[\da-fA-F.:/, ]*$"))
    LOG_LEVEL = env.str("LOG_LEVEL", "INFO", validate=validate.OneOf(["DEBUG", "INFO", "WARNING", "ERROR"]))
    INSTANCE = env.str("INSTANCE", "", validate=validate.Regexp(r"([a-z][a-z0-9_]*-[a-z])?$"))
    DEBUG = env.bool("DEBUG", False)
    MEDIA_STORE = env.str("MEDIA_STORE", "", validate=validate.Regexp(r"(http://[^/]+:[0-9]+)?$"))
    S3: dict[str, str] = env.bucket("S3_URL", "")
    CA_FILE: str = env.file("CA_FILE", "")
    login_methods = validate.And(validate.Length(min=1), validate.ContainsOnly(["username", "email"]))
    LOGIN_METHODS: list[str] = env.list("LOGIN_METHODS", ["username", "email"], validate=login_methods)
    EMAIL_VERIFICATION = env.str("EMAIL_VERIFICATION", "optional", validate=validate.OneOf(["optional", "mandatory"]))
    STAFF_TWO_FACTOR = env.bool("STAFF_TWO_FACTOR", False)
    SENTRY_DSN = env.str("SENTRY_DSN", "", validate=url(r"https?://[^@/]+@[^@/]+/.*\d"))
    endpoint = url(r"https?://[\w.:\[\]-]+(/[\w./-]*)?")
    OTEL_EXPORTER_OTLP_ENDPOINT = env.str("OTEL_EXPORTER_OTLP_ENDPOINT", "", validate=endpoint)
    admins: list[str] = env.list("ADMINS", [], validate=lambda each: [validate.Email()(address) for address in each])
    USE_I18N = env.bool("USE_I18N", False)
    names = {code: info["name_local"] for code, info in LANG_INFO.items() if "name_local" in info}
    known_languages = validate.And(validate.Length(min=1), validate.ContainsOnly(names))
    languages: list[str] = env.list("LANGUAGES", ["en"], validate=known_languages)

check(APP, OTEL_EXPORTER_OTLP_ENDPOINT)

TITLE = "Tandem"
BASE_DIR = Path(__file__).resolve().parent.parent
ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
INSTALLED_APPS = [
    *APPS,
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "allauth",
    "allauth.account",
    "allauth.mfa",
]
MIDDLEWARE = [
    "config.middleware.request_log",
    "config.health.middleware",
    "config.middleware.shed",
    "config.middleware.check",
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "accounts.middleware.require_two_factor",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "config.context.site",
            ],
        },
    },
]
LANGUAGE_CODE = languages[0] if USE_I18N else "en"
LANGUAGES = [(code, names[code]) for code in languages]
LOCALE_PATHS = [BASE_DIR / "locale"]  # Each app has its own besides.
if USE_I18N:
    MIDDLEWARE.insert(MIDDLEWARE.index("config.middleware.check"), "config.middleware.choose_language")
TIME_ZONE = "UTC"

# Every wait below is shorter than the request's deadline of 20 s, so that a stuck server is an error and not a kill.
if DATABASE["ENGINE"].endswith("sqlite3"):
    database_options = {
        # A deferred transaction that turns into a writer fails at once when another one has written: begin as a writer.
        "transaction_mode": "IMMEDIATE",
        "timeout": 10,
        # The driver converts no values. Django does, and rows.py handles a value that Django cannot convert.
        "detect_types": 0,
        # FULL: an acknowledged write survives a power cut. WAL's default, NORMAL, does not promise this.
        "init_command": "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;",
    }
else:
    database_options = {
        "connect_timeout": 3,
        "tcp_user_timeout": 10_000,
        "application_name": INSTANCE or APP,
    }
    # A pooler rejects these, because it shares its connections. Then they are the role's.
    if not DATABASE_POOLER:
        database_options["options"] = (
            "-c statement_timeout=10s -c lock_timeout=5s -c idle_in_transaction_session_timeout=15s"
        )
# A cluster has a primary, which may change.
if "," in DATABASE.get("OPTIONS", {}).get("host", ""):
    DATABASE["ENGINE"] = "config.postgresql"
    MIDDLEWARE.insert(MIDDLEWARE.index("config.middleware.check") + 1, "config.middleware.repeat")
# The URL's own query wins: `?options=-c%20statement_timeout=0` for a long migration.
DATABASES = {
    "default": {
        **DATABASE,
        "OPTIONS": database_options | DATABASE.get("OPTIONS", {}),
        # A cursor on the server would outlive its transaction.
        "DISABLE_SERVER_SIDE_CURSORS": DATABASE_POOLER,
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

REDIS_OPTIONS = {"socket_timeout": 0.5, "socket_connect_timeout": 0.5}
if REDIS_URL:
    CACHES = {"default": {"BACKEND": "config.redis.Cache", "LOCATION": REDIS_URL, "OPTIONS": REDIS_OPTIONS}}
    SESSION_ENGINE = "django.contrib.sessions.backends.cached_db"
else:
    CACHES = {
        "default": {
            "BACKEND": "django.core.cache.backends.db.DatabaseCache",
            "LOCATION": "django_cache",
            # Above it, a third of the entries is deleted. The rate limits of accounts are among them.
            "OPTIONS": {"MAX_ENTRIES": 10_000},
        }
    }
    SESSION_ENGINE = "django.contrib.sessions.backends.db"

# Jobs are rows of the database, and a mail is a job (jobs/mail.py).
INSTALLED_APPS += ["django_tasks_db", "jobs"]
TASKS = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}}
EMAIL_BACKEND = "jobs.mail.EmailBackend"

AUTH_USER_MODEL = "accounts.User"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = LOGOUT_REDIRECT_URL = "/"

# Accounts, from django-allauth: https://docs.allauth.org/en/latest/account/configuration.html
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
ACCOUNT_ADAPTER = "accounts.adapter.Adapter"
ACCOUNT_FORMS = {"login": "accounts.forms.LoginForm", "signup": "accounts.forms.SignUpForm"}
ACCOUNT_LOGIN_METHODS = set(LOGIN_METHODS)
ACCOUNT_SIGNUP_FIELDS = ["username*", "email*", "password1*", "password2*"]
ACCOUNT_PRESERVE_USERNAME_CASING = False  # Otherwise each search for a name reads the whole table.
ACCOUNT_EMAIL_VERIFICATION = EMAIL_VERIFICATION
# Nobody learns whether an address has an account. Without mandatory verification, this means that several accounts may
# claim an address until one of them verifies it.
ACCOUNT_PREVENT_ENUMERATION = "strict"
ACCOUNT_CHANGE_EMAIL = True  # One address for each user, which a verified one replaces.
ACCOUNT_EMAIL_NOTIFICATIONS = True
ACCOUNT_EMAIL_SUBJECT_PREFIX = f"[{TITLE}] "
ACCOUNT_REAUTHENTICATION_REQUIRED = True
ACCOUNT_REAUTHENTICATION_METHODS = {"password", "mfa"}
ACCOUNT_SESSION_REMEMBER = True
# By account, for all processes together, in the cache. nginx limits by address (nginx/site/http.conf).
ACCOUNT_RATE_LIMITS = {
    "login": None,
    "signup": None,
    "login_failed": "5/5m/key",
    "reset_password": "5/m/key",
    "reset_password_from_key": None,
}
MFA_ADAPTER = "accounts.adapter.TwoFactorAdapter"
MFA_TOTP_ISSUER = TITLE
MFA_TOTP_TOLERANCE = 1  # The code before and the next: the clocks of phones differ.
MFA_ALLOW_UNVERIFIED_EMAIL = EMAIL_VERIFICATION == "optional"

# TLS ends at nginx, or at a proxy in front of it. In both cases nginx overwrites X-Forwarded-Proto with what it knows.
HTTPS = TLS or bool(TRUSTED_PROXIES)
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if HTTPS else None
SECURE_SSL_REDIRECT = HTTPS

# Browsers accept a __Host- cookie only over TLS and from this very host, so no subdomain can plant one.
# Browsers share cookies between ports. A project-specific name keeps another project on localhost from logging you out.
cookie_prefix = "__Host-" if HTTPS else ""
SESSION_COOKIE_NAME = f"{cookie_prefix}tandem_session"
CSRF_COOKIE_NAME = f"{cookie_prefix}tandem_csrf"
LANGUAGE_COOKIE_NAME = f"{cookie_prefix}tandem_language"
LANGUAGE_COOKIE_AGE = 365 * 24 * 3600
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = LANGUAGE_COOKIE_SECURE = HTTPS
CSRF_COOKIE_HTTPONLY = LANGUAGE_COOKIE_HTTPONLY = True
LANGUAGE_COOKIE_SAMESITE = "Lax"
CSRF_FAILURE_VIEW = "config.errors.csrf_failure"
# HSTS belongs to what ends the TLS: nginx sends it, with static files and its own error pages too.
SILENCED_SYSTEM_CHECKS = ["security.W004"]

# nginx rejects a larger request with 413. A lower limit here would answer 400 to a request that nginx accepted.
DATA_UPLOAD_MAX_MEMORY_SIZE = FILE_UPLOAD_MAX_MEMORY_SIZE = UPLOAD_LIMIT_MB * 1024 * 1024
STATIC_URL = "/static/"
STATIC_ROOT = VAR_DIR / "static"
STATICFILES_DIRS = [BASE_DIR / "static"]
MEDIA_URL = "/media/"
MEDIA_ROOT = VAR_DIR / "media"
if S3:
    uploads = {"BACKEND": "config.bucket.Bucket", "OPTIONS": S3 | ({"verify": CA_FILE} if CA_FILE else {})}
elif MEDIA_STORE:
    uploads = {"BACKEND": "config.media.MediaStore", "OPTIONS": {"url": MEDIA_STORE}}
else:
    uploads = {"BACKEND": "django.core.files.storage.FileSystemStorage"}
STORAGES = {
    "default": uploads,
    "staticfiles": {"BACKEND": "config.storage.StaticFiles"},
}

LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "json": {
            "()": "pythonjsonlogger.json.JsonFormatter",
            "fmt": ["levelname", "name", "process", "request_id", "message"],
            "timestamp": "time",
            "rename_fields": {"levelname": "level", "name": "logger", "process": "pid"},
            "static_fields": {"app": APP, "instance": INSTANCE},
            # Django adds the request, whose query string may hold personal data.
            "reserved_attrs": [*RESERVED_ATTRS, "request"],
        },
    },
    "filters": {"request_id": {"()": "config.middleware.RequestId"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json", "filters": ["request_id"]}},
    "root": {"handlers": ["stderr"], "level": LOG_LEVEL},
    "loggers": {
        "django": {"handlers": [], "level": LOG_LEVEL},
        "django.request": {"level": "ERROR"},  # What the client did wrong is in the access line.
    },
}

ADMINS = [(address, address) for address in admins]
SERVER_EMAIL = DEFAULT_FROM_EMAIL
# Beside the log, errors go to one of the two.
errors = {"level": "ERROR", "filters": ["request_id"]}
if SENTRY_DSN:
    from .metrics import RELEASE
    from .sentry import report_to

    report_to(SENTRY_DSN, INSTANCE, RELEASE)
    LOGGING["handlers"]["errors"] = errors | {"class": "sentry_sdk.integrations.logging.EventHandler"}
    LOGGING["root"]["handlers"].append("errors")
elif ADMINS:
    LOGGING["formatters"]["mail"] = {"format": "%(asctime)s UTC, request %(request_id)s\n\n%(message)s"}
    LOGGING["handlers"]["errors"] = errors | {"class": "config.admins.AdminEmail", "formatter": "mail"}
    LOGGING["root"]["handlers"].append("errors")

# Containers do not have it.
if DEBUG and find_spec("debug_toolbar"):
    INSTALLED_APPS.append("debug_toolbar")
    MIDDLEWARE.insert(0, "debug_toolbar.middleware.DebugToolbarMiddleware")
    DEBUG_TOOLBAR_CONFIG = {
        "SHOW_TOOLBAR_CALLBACK": lambda request: True,
        # All panels at once, because another instance may answer the next request.
        "RENDER_PANELS": True,
        "IS_RUNNING_TESTS": False,
    }
