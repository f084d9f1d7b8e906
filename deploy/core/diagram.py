"""The stack as a diagram in HTML, for /stack/: one page, which each reading replaces. Standard library only."""

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from html import escape

from deploy.core.apps import APPS
from deploy.core.stack import HISTORY, STEP, WINDOW, Row, number

WIDTH, HEIGHT, STEPS = 120, 24, HISTORY // STEP


def spark(trend: list[float], unit: str) -> str:
    """Return a line of the last ten minutes. It ends at the right, and a short history begins later."""
    most = max(trend, default=0)
    points = [
        f"{WIDTH - (len(trend) - 1 - place) * WIDTH / STEPS:g},{HEIGHT - 1 - (HEIGHT - 2) * value / (most or 1):.1f}"
        for place, value in enumerate(trend)
    ]
    said = f"{unit} in the last {HISTORY // 60} minutes: at most {number(most)}"
    start = points[0].partition(",")[0] if points else "0"
    return (
        f'<svg class="trend" viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" role="img" aria-label="{said}">'
        f'<polygon points="{start},{HEIGHT} {" ".join(points)} {WIDTH},{HEIGHT}"/>'
        f'<polyline points="{" ".join(points)}"/></svg>'
    )


def card(row: Row) -> str:
    words = [(label, value) for label, value in row.figures.items() if label != "release"]
    figures = "".join(f"<div><dt>{label}</dt><dd>{escape(value)}</dd></div>" for label, value in words)
    release = f'<p class="release">{escape(row.figures["release"])}</p>' if "release" in row.figures else ""
    workers = ""
    if row.workers:
        busy = f", {row.workers.count('■')} busy" if "■" in row.workers else ""
        marks = {"■": ' class="busy"', "□": ""}
        squares = "".join(
            f'<rect x="{14 * place}" width="11" height="11" rx="2"{marks[worker]}/>'
            for place, worker in enumerate(row.workers)
        )
        workers = (
            f'<svg class="workers" width="{14 * len(row.workers)}" height="11" role="img" '
            f'aria-label="{len(row.workers)} {"worker" if len(row.workers) == 1 else "workers"}{busy}">{squares}</svg>'
        )
    # A part without instances has its name above the card.
    host = f"<small>{escape(row.host)}</small>" if row.host else ""
    name = "" if row.part == row.name.lower() else escape(row.name)
    heading = f"<h3>{name} {host}</h3>" if name or host else ""
    return (
        f'<li class="{row.tone}">{heading}<p class="state">{escape(row.state)}</p>{workers}'
        f"<dl>{figures}</dl>{release}{spark(row.trend, next(iter(row.figures)))}</li>"
    )


# From good to bad.
TONES = ("good", "busy", "bad")


def part(rows: list[Row], name: str, title: str, note: str = "") -> str:
    cards = "".join(card(row) for row in rows if row.part == name)
    note = f"<p>{note}</p>" if note else ""
    return f'<section class="{name}"><h2>{escape(title)}</h2>{note}<ul>{cards}</ul></section>' if cards else ""


def total(rows: Iterable[Row], label: str) -> str:
    return number(sum(float(row.figures.get(label, "0").replace(",", "")) for row in rows))


def diagram(rows: list[Row]) -> str:
    edge = [row for row in rows if row.part == "nginx"]
    watchers = total(rows, "watchers")
    tones = Counter(row.tone for row in rows)
    said = [
        ("requests a second", total(edge, "req/s"), ""),
        (
            f"failed in {HISTORY // 60} minutes",
            total(edge, "failed"),
            "good" if total(edge, "failed") == "0" else "bad",
        ),
        ("watchers", watchers, ""),
        ("services ready", f"{tones['good']} of {len(rows)}", max(tones, key=TONES.index, default="")),
    ]
    totals = "".join(f'<div class="{tone}"><dt>{label}</dt><dd>{value}</dd></div>' for label, value, tone in said)
    listening = [app for app in APPS.values() if app.server.listens]
    apps = ""
    for app in listening:
        apps += part(rows, app.name, f"{app.name} · {app.server.title}", app.server.protocol)
    behind = part(rows, "database", "Database") + part(rows, "redis", "Redis")
    behind += "".join(part(rows, app.name, app.name) for app in APPS.values() if app not in listening)
    tiers = "".join(f'<div class="tier">{tier}</div>' for tier in (part(rows, "nginx", "nginx"), apps, behind))
    return (
        f'<dl class="totals">{totals}</dl>{tiers}'
        f'<p class="meta">Read at {datetime.now(UTC):%H:%M:%S} UTC. Rates and durations are of the last {WINDOW} '
        f"seconds, failures of the last {HISTORY // 60} minutes.</p>"
    )
