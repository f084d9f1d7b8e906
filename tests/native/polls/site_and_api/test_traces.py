"""Traces of a stack: the spans of nginx, the apps, their statements, jobs and live notifications, and their parents."""

import json
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests import servers
from tests.otlp import Receiver, Span, show
from tests.people import CSRF, Person, make
from tests.sample import LIVE, write_by_api, write_on_site
from tests.stacks import NativeStack, outside, running

STRANGER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture(scope="module")
def traced(otlp: Receiver) -> Iterator[NativeStack]:
    with ExitStack() as stack:
        with outside():
            data = {"DATABASE_URL": stack.enter_context(servers.postgresql())}
            data["REDIS_URL"] = stack.enter_context(servers.redis())
        more = {"OTEL_EXPORTER_OTLP_ENDPOINT": otlp.endpoint, "CORES": "1", "EMAIL_URL": "console:"}
        yield stack.enter_context(running(NativeStack, data | more))


def watch_a_vote(person: Person, vote: object) -> str:
    """Vote while the voter watches. Return the id of the vote's trace when the watcher has the new tally."""
    with person.client() as client, client.stream("GET", f"{LIVE}/events") as stream:
        states = (json.loads(line.removeprefix("data:")) for line in stream.iter_lines() if line.startswith("data:"))
        before = next(states)["total"]
        client.headers["Traceparent"] = STRANGER
        response = vote(client)  # type: ignore[operator]
        assert response.status_code in (201, 302), response.text
        assert next(states)["total"] == before + 1
    trace: str = response.headers["X-Request-ID"]
    return trace


def child(spans: list[Span], parent: str, name: str) -> Span:
    [found] = [span for span in spans if (span.parent, span.name) == (parent, name)]
    return found


def test_a_vote_is_one_trace_from_the_form_to_the_watcher(traced: NativeStack, otlp: Receiver) -> None:
    [person] = make(traced, 1)
    trace = watch_a_vote(person, write_on_site)
    spans = otlp.wait(trace, "nginx", "push")
    print(show(spans))
    nginx = child(spans, "", "nginx")
    view = child(spans, nginx.id, "POST /questions/<int:question_id>/vote/")
    publish = child(spans, view.id, "publish")
    live = child(spans, publish.id, "live polls")
    read, push = child(spans, live.id, "SELECT"), child(spans, live.id, "push")
    statements = [span for span in spans if span.parent == view.id and span.kind == "CLIENT"]
    assert {"SELECT", "INSERT", "UPDATE"} <= {span.name for span in statements}
    assert {span.id for span in spans} == {each.id for each in (nginx, view, publish, live, read, push, *statements)}
    assert [each.app for each in (nginx, view, publish, live, read, push)] == [*["site"] * 3, *["api"] * 3]
    assert [each.kind for each in (nginx, view, publish, live)] == ["SERVER", "SERVER", "PRODUCER", "CONSUMER"]
    assert view.attributes == {
        "http.request.method": "POST",
        "http.route": "/questions/<int:question_id>/vote/",
        "http.response.status_code": 302,
    }
    assert push.attributes == {"watchers": 1}
    assert nginx.start <= view.start <= publish.start <= live.start <= read.start <= push.start
    assert view.end <= nginx.end
    assert push.end <= live.end


def test_a_vote_by_the_api(traced: NativeStack, otlp: Receiver) -> None:
    [person] = make(traced, 1)
    spans = otlp.wait(watch_a_vote(person, write_by_api), "nginx", "push")
    handler = child(spans, child(spans, "", "nginx").id, "POST /api/v1/questions/{}/votes")
    assert child(spans, handler.id, "WITH").attributes["db.query.text"].startswith("WITH inserted AS ( INSERT INTO")
    assert [span.name for span in spans if span.parent == handler.id and span.app == "api"].count("live polls") >= 1


def test_a_mail_is_in_the_trace_of_its_request(traced: NativeStack, otlp: Receiver) -> None:
    form = {"email": "nobody-is@example.org", "csrfmiddlewaretoken": CSRF}
    [person] = make(traced, 1)
    with person.client() as client:
        response = client.post("/accounts/password/reset/", data=form)
    spans = otlp.wait(response.headers["X-Request-ID"], "nginx", "jobs.mail.send")
    view = child(spans, child(spans, "", "nginx").id, "POST /accounts/password/reset/")
    job = child(spans, view.id, "jobs.mail.send")
    assert (job.app, job.kind, job.attributes, job.failed) == ("jobs", "CONSUMER", {"attempt": 1}, False)


def test_spans_have_nothing_that_people_sent(traced: NativeStack, otlp: Receiver) -> None:
    with traced.client() as client:
        trace = client.get("/api/v1/questions").headers["X-Request-ID"]
    spans = otlp.wait(trace, "nginx")
    child(spans, child(spans, child(spans, "", "nginx").id, "GET /api/v1/questions").id, "SELECT")
    with traced.client(headers={"Cookie": "secret=1", "User-Agent": "secret"}) as client:
        client.get("/questions/1/?q=secret")
        client.get("/secret/")
        trace = client.get("/api/v1/secret?q=secret").headers["X-Request-ID"]
    otlp.wait(trace, "GET none")
    for private in ("secret", "127.0.0.1", "nobody-is@", "questions/1"):
        assert private not in otlp.text
    assert STRANGER[3:35] not in {span.trace for span in otlp.spans}
    # No trace begins with a poll or a check of health.
    assert {span.name for span in otlp.spans if not span.parent} <= {"nginx", "jobs.tasks.delete_expired_sessions"}
