"""For servers that send the body that an application makes for HEAD, which has none (RFC 9110, section 9.3.2)."""

from collections.abc import Iterable
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment


def without_body(application: WSGIApplication) -> WSGIApplication:
    """On a connection that is kept, the body would be taken for the next answer."""

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
