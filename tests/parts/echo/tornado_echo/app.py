"""A second Tornado app that returns the bodies it receives. Everything else comes from tornado_api."""

from tornado_api import app
from tornado_api.application import Application, Feature
from tornado_api.handler import Handler
from tornado_api.openapi import About


class EchoHandler(Handler):
    def post(self) -> None:
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(self.request.body)


def make() -> Application:
    return app.make([Feature([("/echo/text", EchoHandler)])], About("Echo", "What you send.", "/echo/"))
