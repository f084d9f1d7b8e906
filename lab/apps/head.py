"""For servers that send the body of an application's response to HEAD, which has none (RFC 9110, section 9.3.2)."""

from collections.abc import Iterable
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment


def without_body(application: WSGIApplication) -> WSGIApplication:
    """On a kept-alive connection, a client would take the body for the next response."""

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        body = application(environ, start_response)
        if environ["REQUEST_METHOD"] != "HEAD":
            return body
        try:
            # A generator calls start_response when it begins.
            for _ in body:
                pass
        finally:
            if hasattr(body, "close"):
                body.close()
        return []

    return answer
