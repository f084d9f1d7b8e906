"""Faults on demand at /faults/ of the site, in the copy of the project that tests/chaos runs."""

import time

from django.http import HttpRequest, HttpResponse
from django_tasks import task
from jobs.worker import Rejected

held: list[bytearray] = []


@task
def reject() -> None:
    raise Rejected("a fault")


def sleep(request: HttpRequest) -> HttpResponse:
    time.sleep(float(request.GET["seconds"]))
    return HttpResponse("slept")


def spin(request: HttpRequest) -> HttpResponse:
    while True:
        pass


def leak(request: HttpRequest) -> HttpResponse:
    held.append(bytearray(b"x") * (int(request.GET["mb"]) * 1_000_000))
    return HttpResponse("leaked")
