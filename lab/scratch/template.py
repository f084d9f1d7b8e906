"""Templates: `{{ name.attribute }}`, escaped; `{% for each in names %} … {% end %}`; `{% if name %} … {% end %}`.

`Template(text)` parses once into a list of functions that append to the output. Rendering a page parses nothing.
"""

import html
import re
from collections.abc import Callable
from typing import Any

Context = dict[str, Any]
Node = Callable[[Context], str]
TAG = re.compile(r"({{.*?}}|{%.*?%})", re.S)
NAME = r"[A-Za-z]\w*(?:\.[A-Za-z]\w*)*"


def look_up(name: str, context: Context) -> Any:
    """Look up a dotted name. NAME allows no leading underscore, so templates cannot reach an object's internals."""
    first, *rest = name.split(".")
    value = context[first]
    for each in rest:
        value = value[each] if isinstance(value, dict) else getattr(value, each)
    return value


def text(literal: str) -> Node:
    return lambda context: literal


def variable(name: str) -> Node:
    # Always, because people forget to escape. Quotes too, for attributes.
    return lambda context: html.escape(str(look_up(name, context)))


def loop(each: str, name: str, body: list[Node]) -> Node:
    return lambda context: "".join(render(body, {**context, each: value}) for value in look_up(name, context))


def condition(name: str, body: list[Node]) -> Node:
    return lambda context: render(body, context) if look_up(name, context) else ""


def render(nodes: list[Node], context: Context) -> str:
    return "".join(node(context) for node in nodes)


class Template:
    """Raises ValueError with the tag if it is unknown or its block has no end."""

    def __init__(self, source: str) -> None:
        self.parts = TAG.split(source)
        self.nodes = self.parse("")

    def parse(self, opened: str) -> list[Node]:
        """Parse up to the end of the block that the tag `opened` began."""
        nodes: list[Node] = []
        while self.parts:
            part = self.parts.pop(0)
            inside = part[2:-2].strip()
            if part.startswith("{{") and re.fullmatch(NAME, inside):
                nodes.append(variable(inside))
            elif part.startswith("{%") and (match := re.fullmatch(rf"for ([A-Za-z]\w*) in ({NAME})", inside)):
                nodes.append(loop(match[1], match[2], self.parse(part)))
            elif part.startswith("{%") and (match := re.fullmatch(rf"if ({NAME})", inside)):
                nodes.append(condition(match[1], self.parse(part)))
            elif part.startswith("{%") and inside == "end" and opened:
                return nodes
            elif part.startswith(("{{", "{%")):
                raise ValueError(f"not understood: {part}")
            else:
                nodes.append(text(part))
        if opened:
            raise ValueError(f"without its end: {opened}")
        return nodes

    def render(self, **context: Any) -> str:
        return render(self.nodes, context)
