"""Serves the app's OpenAPI document, a page for people that shows it, and the page's style sheet."""

import html
import re
from pathlib import Path
from typing import Any

from tornado.template import Template

from . import links
from .handler import ResourceHandler

HERE = Path(__file__).parent
PAGE = Template((HERE / "docs.html").read_text(), whitespace="oneline")
STYLE = (HERE / "docs.css").read_bytes()


def kind(schema: dict[str, Any]) -> str:
    """Describe a schema in words."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        return " or ".join(kind(each) for each in schema["anyOf"])
    if "enum" in schema:
        return " or ".join(schema["enum"])
    if "items" in schema:
        return f"list of {kind(schema['items'])}"
    words = [str(schema["type"]) + (f" ({schema['format']})" if "format" in schema else "")]
    words += [f"{word} {schema[key]}" for key, word in (("minimum", "from"), ("maximum", "to")) if key in schema]
    return " ".join(words)


def markup(text: str) -> str:
    """Return a description as HTML, with `code` in it as an element."""
    return re.sub("`([^`]+)`", r"<code>\1</code>", html.escape(text))


class DocumentHandler(ResourceHandler):
    def initialize(self, document: dict[str, Any], prefix: str) -> None:  # type: ignore[override]
        super().initialize()
        self.document = document
        self.prefix = prefix

    async def get(self, name: str) -> None:
        self.set_header("Cache-Control", "public, max-age=300")
        if name == "openapi.json":
            self.answer(self.document)
        elif name == "docs.css":
            self.set_header("Content-Type", "text/css")
            self.finish(STYLE)
        else:
            self.set_header("Content-Type", "text/html; charset=utf-8")
            names = {"kind": kind, "markup": markup, "example": self.example, "links": links}
            self.finish(PAGE.generate(document=self.document, prefix=self.prefix, **names))

    def example(self, operation: dict[str, Any]) -> str:
        """Return an operation's curl command, with the address of this server."""
        source = str(operation["x-codeSamples"][0]["source"])
        for before in " ", "'":
            source = source.replace(
                before + self.prefix, f"{before}{self.request.protocol}://{self.request.host}{self.prefix}"
            )
        return source
