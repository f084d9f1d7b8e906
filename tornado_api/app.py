"""Assembles an app from its features, its document and the health checks.

Another Tornado app is a package with its own list of features. Its registry entry says
`application = "tornado_chat.app:make()"`, and its app.py says:

    def make() -> Application:
        return tornado_api.app.make(FEATURES, About("Chat", "Rooms and messages.", "/chat/"))
"""

import re
from collections.abc import Sequence
from typing import Any

from . import openapi
from .application import Application, Feature, Route
from .document import DocumentHandler
from .features import ABOUT, FEATURES
from .handler import NotFoundHandler
from .health import LivenessHandler, MetricsHandler, ReadinessHandler, StatisticsHandler, UpHandler
from .openapi import About


def assemble(features: Sequence[Feature], about: About, **options: Any) -> Application:
    """Return an app with these features. `options` are the keyword arguments of Application."""
    document = openapi.document(about, [feature.section for feature in features])
    routes: list[Route] = [
        (
            rf"{re.escape(about.prefix)}(|openapi\.json|docs\.css)",
            DocumentHandler,
            {"document": document, "prefix": about.prefix},
        ),
        (r"/health/live", LivenessHandler),
        (r"/health/ready", ReadinessHandler),
        (r"/health/up", UpHandler),
        (r"/health/metrics", MetricsHandler),
        (r"/health/stats", StatisticsHandler),
    ]
    return Application(routes, features, NotFoundHandler, **options)


def make(features: Sequence[Feature] = FEATURES, about: About = ABOUT) -> Application:
    """Return an app with the settings of this process. gunicorn calls this."""
    from . import settings

    if settings.SENTRY_DSN:
        from .metrics import RELEASE
        from .sentry import report_to

        report_to(settings.SENTRY_DSN, settings.INSTANCE, RELEASE)
    return assemble(
        features,
        about,
        name=settings.APP,
        instance=settings.INSTANCE,
        database_url=settings.DATABASE_URL,
        pooler=settings.DATABASE_POOLER,
        redis_url=settings.REDIS_URL,
        token_keys=settings.TOKEN_KEYS,
        debug=settings.DEBUG,
    )
