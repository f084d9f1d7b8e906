"""Whatever bytes arrive at the site, its answer is a page and no fault of the site: never a 5xx, never nothing."""

import re
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import pytest
from accounts.models import User
from accounts.names import fold, fold_email
from allauth.account.adapter import get_adapter
from config.fields import visible
from django.conf import settings
from django.core.exceptions import ValidationError
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils.encoding import punycode
from hypothesis import HealthCheck, given
from hypothesis import settings as effort
from hypothesis import strategies as st

pytestmark = pytest.mark.slow
CSRF = "a" * 32
# Values that fail somewhere: in a parser, in a conversion, in one database or the other.
NASTY = [
    b"", b"1", b"0", b"-1", b"9" * 24, b"99999999999", b"-9223372036854775809", b"1_0", b"\xd9\xa3", b"1e9", b"nan",
    b"inf", b"\0", b"a\0b", b"\xff\xfe", b"\xed\xa0\x80", b"e\xcc\x81", b"\xe2\x80\x8b", b"x" * 3000,
    b"9999-12-31T23:59-12:00", b"0001-01-01T00:00+14:00", b"10000-01-01", b"2500-13-45", b"12:60", b"../../x",
    b"//evil.example", b"\r\nX: y",
    b"__proto__", b"{{ x }}", b"%", b"%00", b"on", b"delete_selected", b"close_now", b"id", b"username", b"2024",
]  # fmt: skip
NAMES = [
    b"q", b"p", b"o", b"e", b"all", b"next", b"page", b"state", b"term", b"app_label", b"model_name", b"field_name",
    b"_to_field", b"_popup", b"_changelist_filters", b"author", b"created_at__gte", b"created_at__year",
    b"created_at__day", b"created_at__month", b"is_staff__exact", b"groups__id__exact", b"pk", b"id__in", b"action",
    b"_selected_action", b"\xff",
]  # fmt: skip
CONTENT_TYPES = [
    "application/x-www-form-urlencoded",
    "application/x-www-form-urlencoded; charset=iso-8859-1",
    "application/x-www-form-urlencoded; charset=utf-7",
    "multipart/form-data; boundary=x",
    "multipart/form-data; boundary=x; charset=utf-16",
    "multipart/form-data; boundary*=x''y",
    "multipart/form-data",
    "a/b; c*=x''y",
    ";",
    "\xff",
    "application/json",
]
latin = st.text(st.characters(max_codepoint=255), max_size=40)
words = st.sampled_from(NASTY) | st.binary(max_size=40)
HEADERS = [
    "HTTP_COOKIE", "HTTP_HOST", "HTTP_REFERER", "HTTP_ORIGIN", "HTTP_ACCEPT", "HTTP_ACCEPT_LANGUAGE", "HTTP_USER_AGENT",
    "HTTP_X_CSRFTOKEN", "HTTP_X_REQUESTED_WITH", "HTTP_IF_MODIFIED_SINCE", "HTTP_IF_NONE_MATCH", "HTTP_RANGE",
    "HTTP_AUTHORIZATION", "HTTP_X_REQUEST_ID", "HTTP_X_REQUEST_START", "CONTENT_LENGTH", "CONTENT_TYPE",
]  # fmt: skip


def addresses(patterns: list[URLPattern | URLResolver], prefix: str = "/") -> Iterator[str]:
    """Yield every address of the site, with * for each variable part."""
    for pattern in patterns:
        path = prefix + re.sub(r"<[^>]+>", "*", str(pattern.pattern).strip("^$"))
        if isinstance(pattern, URLResolver):
            yield from addresses(pattern.url_patterns, path)
        else:
            yield path


# Of an address, as latin-1, which WSGI's strings are.
PARTS = ["1", "0", "-1", "9" * 24, "x", "\xff", "\xc3\xa9", "1/../..", "%00", " ", "_5F", "a_b"]
PATHS = sorted({path for path in addresses(get_resolver().url_patterns) if not path.endswith("logout/")})


def ask(method: str, path: str, query: str = "", body: bytes = b"", **environ: str) -> tuple[int, bytes]:
    """Send a request to the WSGI application, as uWSGI does. Return the status and the body."""
    from config.wsgi import application

    whole: dict[str, Any] = {
        "REQUEST_METHOD": method,
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "localhost",
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.input": BytesIO(body),
        "wsgi.url_scheme": "http",
    }
    found: list[str] = []
    respond: Any = lambda status, headers: found.append(status)  # noqa: E731
    response: Any = application(whole | environ, respond)
    content = b"".join(response)
    response.close()
    return int(found[0][:3]), content


def escape(word: bytes) -> bytes:
    return b"".join(b"%%%02x" % byte for byte in word)


def part(name: bytes, value: bytes) -> bytes:
    file = b'; filename="%s"' % value[:20] if name == b"picture" else b""
    return b'--x\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n' % (name, file, value)


def encode(fields: list[tuple[bytes, bytes]], kind: str) -> bytes:
    if kind.startswith("multipart"):
        return b"".join(part(*field) for field in fields) + b"--x--\r\n"
    return b"&".join(b"%s=%s" % (escape(name), escape(value)) for name, value in fields)


def log_in(client: Client) -> str:
    """Return the cookies of a superuser, who reaches every page. An earlier request may have deleted the user."""
    rights = {"is_superuser": True, "is_staff": True, "is_active": True}
    user, _ = User.objects.update_or_create(username="fuzz", defaults=rights)
    client.force_login(user)
    session = client.cookies[settings.SESSION_COOKIE_NAME].value
    return f"{settings.SESSION_COOKIE_NAME}={session}; {settings.CSRF_COOKIE_NAME}={CSRF}"


@pytest.mark.slow
@effort(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    method=st.sampled_from(["GET", "POST", "HEAD", "PUT", "PROPFIND"]),
    path=st.builds(lambda path, part: path.replace("*", part), st.sampled_from(PATHS), st.sampled_from(PARTS)),
    query=st.lists(st.tuples(st.sampled_from(NAMES) | words, words), max_size=3),
    fields=st.lists(st.tuples(st.sampled_from(NAMES) | words, words), max_size=3),
    kind=st.sampled_from(CONTENT_TYPES),
    headers=st.dictionaries(st.sampled_from(HEADERS), latin, max_size=2),
)
def test_any_bytes(
    client: Client,
    transactional_db: None,
    method: str,
    path: str,
    query: list[tuple[bytes, bytes]],
    fields: list[tuple[bytes, bytes]],
    kind: str,
    headers: dict[str, str],
) -> None:
    body = encode([(b"csrfmiddlewaretoken", CSRF.encode()), *fields], kind) if method == "POST" else b""
    environ = {"HTTP_COOKIE": log_in(client), "CONTENT_TYPE": kind} | headers
    status, content = ask(method, path, encode(query, "").decode(), body, **environ)
    assert status < 500
    assert status < 400 or b"<h1" in content or method == "HEAD"


@pytest.mark.slow
@effort(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(path=st.sampled_from(PATHS), changes=st.lists(st.tuples(st.integers(0, 99), words), max_size=4))
def test_any_values_in_the_fields_of_every_form(
    client: Client, transactional_db: None, path: str, changes: list[tuple[int, bytes]]
) -> None:
    cookies, path = log_in(client), path.replace("*", "1")
    page = ask("GET", path, HTTP_COOKIE=cookies)[1].decode()
    names = sorted(set(re.findall(r'name="([^"]+)"', page)) - {"csrfmiddlewaretoken"}) or ["x"]
    values = {names[number % len(names)]: value for number, value in changes}
    # The others keep what the page has in them.
    kept = dict(re.findall(r'name="([^"]+)" value="([^"]*)"', page))
    fields = {name: value.encode() for name, value in kept.items()} | values | {"csrfmiddlewaretoken": CSRF.encode()}
    body = encode([(name.encode(), value) for name, value in fields.items()], "multipart")
    status, _ = ask("POST", path, body=body, HTTP_COOKIE=cookies, CONTENT_TYPE=CONTENT_TYPES[3])
    assert status < 500
    # Everything that the site stores can be read again.
    for seen in ("/", path):
        assert ask("GET", seen, HTTP_COOKIE=log_in(client))[0] < 500


# Unicode's Default_Ignorable_Code_Point, and blank Braille: no font shows them.
IGNORABLE = [
    0xAD, 0x34F, 0x61C, 0x115F, 0x1160, 0x17B4, 0x17B5, *range(0x180B, 0x1810), *range(0x200B, 0x2010),
    *range(0x202A, 0x202F), *range(0x2060, 0x2070), 0x2800, 0x3164, *range(0xFE00, 0xFE10), 0xFEFF, 0xFFA0,
    *range(0xFFF0, 0xFFF9), *range(0x1BCA0, 0x1BCA4), *range(0x1D173, 0x1D17B), *range(0xE0000, 0xE1000),
]  # fmt: skip
STORED = User._meta.get_field("username")


def test_what_nobody_sees_makes_no_other_text_or_name() -> None:
    for char in map(chr, IGNORABLE):
        assert (visible(char), visible(f"a{char}b")) == ("", "ab"), ascii(char)
        for name in (char, f"mel{char}"):
            try:
                assert STORED.clean(get_adapter().clean_username(name, shallow=True), None) == "mel", ascii(char)
            except ValidationError:
                continue


@given(st.text(max_size=5))
def test_a_folded_name_stays_the_same(name: str) -> None:
    assert fold(fold(name)) == fold(name)
    assert fold_email(fold_email(name)) == fold_email(name)


@given(st.from_regex(r"[a-z\u00fc\u4f8b][a-z0-9\u00e9]{0,8}\.[a-z]{2,5}", fullmatch=True))
def test_spellings_of_a_domain_are_one_address(domain: str) -> None:
    wide = "".join(chr(ord(char) + 0xFEE0) if char.isascii() and char.isalnum() else char for char in domain)
    spellings = (domain, domain.upper(), wide, punycode(domain))
    assert {fold_email(f"mel@{each}") for each in spellings} == {f"mel@{domain}"}
