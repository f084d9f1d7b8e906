"""Common claims, each with the figure that decides it. The verdicts are computed from a run's results."""

from collections.abc import Callable
from dataclasses import dataclass

from lab.results import Margin, Results

# Returns the figure of each round.
Figure = Callable[[Results], dict[int, float]]

VERDICTS = ("holds", "does not hold", "not decided", "not measured")


@dataclass(frozen=True)
class Verdict:
    """`word` is one of VERDICTS. `noise` is a share: 0.1 is 10%."""

    word: str
    margin: Margin | None = None
    noise: float = 0


@dataclass(frozen=True)
class Claim:
    """A claim and its threshold: it holds if the figure is at least `least`, or at most `most`.

    `what` describes the figure. `noisy` names the job and the figure whose noise widens the margin, if any.
    """

    said: str
    what: str
    figure: Figure
    noisy: tuple[str, str] | None
    least: float | None = None
    most: float | None = None

    def verdict(self, results: Results) -> Verdict:
        margin = Margin.of(self.figure(results).values())
        noise = results.noise(*self.noisy) if self.noisy else 0
        return Verdict(self.judge(margin, noise), margin, noise)

    def judge(self, margin: Margin | None, noise: float) -> str:
        """Compare the whole margin, widened by the noise, with the threshold. Return one of VERDICTS."""
        if margin is None:
            return "not measured"
        wide = margin.wider(noise)
        if self.least is not None:
            holds, fails = wide.low >= self.least, wide.high < self.least
        else:
            assert self.most is not None
            holds, fails = wide.high <= self.most, wide.low > self.most
        return "holds" if holds else "does not hold" if fails else "not decided"


def value(job: str, mode: str, figure: str, cores: int = 0) -> Figure:
    """Return the figure of a mode. With `cores`, scale it from the machine's cores to that number."""

    def by_round(results: Results) -> dict[int, float]:
        times = cores / results.machine["cores"] if cores else 1
        return {sample.round: sample.figures[figure] * times for sample in results.of(job, mode) if not sample.void}

    return by_round


def ratio(job: str, of: str, to: str, figure: str = "rps", *, by_core: bool = False) -> Figure:
    """Return the ratio of two modes in the same round, each relative to the reference measured beside it."""

    def by_round(results: Results) -> dict[int, float]:
        above, below = results.relative(job, of, figure), results.relative(job, to, figure)
        cores = results.machine["cores"] if by_core else 1
        return {number: above[number] / below[number] / cores for number in above.keys() & below.keys()}

    return by_round


def faster(said: str, job: str, of: str, to: str, least: float) -> Claim:
    return Claim(said, f"{of} ÷ {to}, {job}, requests/s", ratio(job, of, to), (job, "rps"), least=least)


def smaller(said: str, job: str, of: str, to: str, most: float) -> Claim:
    return Claim(said, f"{of} ÷ {to}, {job}, memory", ratio(job, of, to, "memory"), (job, "memory"), most=most)


def answered(said: str, mode: str, *, every: bool) -> Claim:
    """Claim that the mode answers every request beside slow clients, or none."""
    figure, what = value("slow", mode, "answered"), f"{mode}, answers to 10 requests beside 200 slow clients"
    return Claim(said, what, figure, None, least=10 if every else None, most=None if every else 0)


def for_four_cores(said: str, job: str, least: float) -> Claim:
    figure = value(job, "nginx-uwsgi", "rps", cores=4)
    return Claim(said, f"nginx-uwsgi, {job}, requests/s × 4 ÷ cores", figure, (job, "rps"), least=least)


CLAIMS = [
    faster("FastCGI is at least five times as fast as CGI", "hello", "lighttpd-flup", "lighttpd-cgi", 5),
    faster("… for the site too", "page", "lighttpd-flup", "lighttpd-cgi", 5),
    faster("The uwsgi protocol is ten times as fast as FastCGI", "hello", "nginx-uwsgi", "nginx-uwsgi-fastcgi", 10),
    faster("… than FastCGI spoken by Python", "hello", "nginx-uwsgi", "nginx-flup", 10),
    faster("… for the site", "page", "nginx-uwsgi", "nginx-uwsgi-fastcgi", 10),
    faster("uWSGI is faster over uwsgi than over HTTP", "hello", "nginx-uwsgi", "nginx-uwsgi-http-socket", 1),
    smaller("uWSGI needs at most half the memory of mod_wsgi", "hello", "nginx-uwsgi", "apache-mod-wsgi", 0.5),
    smaller("… for the site", "page", "nginx-uwsgi", "apache-mod-wsgi", 0.5),
    smaller("… of mod_wsgi in Apache's own processes", "page", "nginx-uwsgi", "apache-mod-wsgi-prefork", 0.5),
    for_four_cores("uWSGI serves over 8,000 requests per second on 4 cores", "hello", 8000),
    for_four_cores("… for the site", "page", 8000),
    faster("Tornado is faster than uWSGI", "hello", "nginx-tornado-wsgi", "nginx-uwsgi", 1),
    faster("… for the site", "page", "nginx-tornado-wsgi", "nginx-uwsgi", 1),
    faster("Tornado is faster than gevent", "json", "tornado-forked", "gevent-api", 1),
    faster("… with a WSGI application", "hello", "tornado-wsgi", "gevent-pywsgi", 1),
    faster("A real server is twice as fast as wsgiref", "page", "gunicorn-gthread", "wsgiref", 2),
    faster("… as runserver", "page", "gunicorn-gthread", "runserver", 2),
    Claim(
        "Throughput grows linearly with the number of cores",
        "nginx-uwsgi ÷ nginx-uwsgi-one ÷ cores, page, requests/s",
        ratio("page", "nginx-uwsgi", "nginx-uwsgi-one", by_core=True),
        ("page", "rps"),
        least=1,
    ),
    faster("Two processes per core are faster than one per core", "page", "nginx-uwsgi", "nginx-uwsgi-per-core", 1),
    faster("ASGI makes Django faster", "page", "uvicorn", "gunicorn-gthread", 1),
    faster("Starlette and uvicorn are faster than Tornado", "json", "starlette", "tornado-forked", 1),
    faster("FastAPI is faster than Tornado", "json", "fastapi", "tornado-forked", 1),
    faster("nginx in front makes a server faster", "page", "nginx-gunicorn-gthread", "gunicorn-gthread", 1),
    faster("… a bare callable", "hello", "nginx-gunicorn-gthread", "gunicorn-gthread", 1),
    faster("nginx serves static files ten times as fast as Python", "static", "reference", "gunicorn-gthread", 10),
    answered("Slow clients stop gunicorn's sync workers", "gunicorn-sync", every=False),
    answered("… and its gthread workers", "gunicorn-gthread", every=False),
    answered("nginx protects sync workers from slow clients", "nginx-gunicorn-sync", every=True),
    answered("… and the reference", "reference", every=True),
]
