"""Whatever bytes arrive at the api, it answers them with its own document and never with a 5xx."""

import asyncio
import json
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.api.checks import problem
from tests.api.served import Served
from tests.api.tokens import token

pytestmark = pytest.mark.slow
WORDS = [
    b"", b"1", b"0", b"-1", b"99999999999999999999", b"9223372036854775807", b"1.5", b"1e999", b"nan", b"\xd9\xa3",
    b"\0", b"\xff", b"\xed\xa0\x80", b"x" * 3000, b"../../x", b"open", b"closed", b"null", b"true", b"a b", b'"',
    b"%",
]  # fmt: skip
BODIES = [
    b"", b"{", b"null", b"[]", b"{}", b"[" * 5000, b'{"choice":' * 2000, b'"\\ud800"', b"\xff\xfe", b"\xef\xbb\xbf{}",
    b'{"choice\xff":1}', b'{"choice":"\xff"}', b'{"choice":1e999}', b'{"choice":1,"choice":2}',
    b'{"choice":1,"\xff":1}', b'{"choice":9223372036854775808}', b'{"choice":-9223372036854775809}', b'{"\\u0000":1}',
    b"1" * 5000, b"NaN",
]  # fmt: skip
HEADERS = [
    "Authorization", "Content-Type", "Accept", "Idempotency-Key", "If-Match", "If-None-Match", "Last-Event-ID",
    "Origin", "Upgrade", "Connection", "Sec-WebSocket-Key", "Sec-WebSocket-Protocol", "Sec-WebSocket-Version",
    "Sec-Fetch-Site", "X-Request-ID", "X-Real-IP", "X-Forwarded-For", "X-Forwarded-Proto", "X-Scheme", "Cookie",
    "Host", "Content-Encoding",
]  # fmt: skip
words = st.sampled_from(WORDS) | st.binary(max_size=20)
# Of headers: nginx lets no control character through.
values = st.binary(max_size=30).map(lambda value: bytes(byte for byte in value if byte >= 32 and byte != 127))
values |= st.sampled_from(
    [b"websocket", b"13", b"bearer, x", b"Bearer a.b.c", b"Bearer " + b"e30." * 3, b'W/"1"', b"*"]
)
NAMES = ["after", "wait", "state", "page", "x"]


async def ask(api: Served, request: bytes) -> tuple[int, bytes]:
    """Return the status and the first bytes of the body; 0 if Tornado hangs up, as it does where nginx answers 400."""
    host, _, port = api.address.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(request)
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
        status = int(head.split()[1])
        has_body = status >= 400 and not request.startswith(b"HEAD")
        return status, await asyncio.wait_for(reader.read(2000), 10) if has_body else b""
    except (asyncio.IncompleteReadError, ConnectionError):
        return 0, b""
    finally:
        writer.close()


@pytest.mark.slow
# Without shrinking: it would send thousands of requests.
@settings(
    max_examples=300,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(
    method=st.sampled_from(["GET", "POST", "HEAD", "OPTIONS", "PUT", "PROPFIND"]),
    place=st.integers(0, 99),
    part=words,
    query=st.lists(st.tuples(st.sampled_from(NAMES), words), max_size=2),
    headers=st.dictionaries(st.sampled_from(HEADERS), values, max_size=3),
    body=st.sampled_from(BODIES)
    | st.binary(max_size=30)
    | st.builds(lambda value: json.dumps(value).encode(), st.text()),
)
async def test_any_bytes(
    api: Served,
    method: str,
    place: int,
    part: bytes,
    query: list[tuple[str, bytes]],
    headers: dict[str, bytes],
    body: bytes,
) -> None:
    document = (await api.client.get("/api/openapi.json")).json()
    paths = ["/api/", "/api/nowhere/{id}", "/{id}", *document["paths"]]
    path = paths[place % len(paths)].replace("{id}", quote(part) if place % 2 else "1")
    target = f"{path}?{'&'.join(f'{name}={quote(value)}' for name, value in query)}"
    given = {
        "Host": api.address.encode(),
        "Connection": b"close",
        "Authorization": f"Bearer {token()}".encode(),
        "Content-Type": b"application/json",
    }
    lines = [f"{name}: ".encode() + value for name, value in (given | headers).items()]
    length = f"Content-Length: {len(body)}".encode()
    request = b"\r\n".join([f"{method} {target} HTTP/1.1".encode(), *lines, length, b"", body])
    status, content = await ask(api, request)
    assert status < 500, (request, content)
    assert not content or b'"status"' in content, (request, content)


async def test_bodies_of_a_vote(api: Served) -> None:
    headers = {"Authorization": f"Bearer {token()}", "Content-Type": "application/json"}
    for body in BODIES:
        response = await api.client.post("/api/v1/questions/999999999/votes", content=body, headers=headers)
        problem(response, response.status_code)
        assert response.status_code in (400, 404, 422), (body, response.text)
        try:
            body.decode()
        except UnicodeDecodeError:
            assert response.status_code == 400, body
