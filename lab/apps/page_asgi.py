"""The site over ASGI. The site itself has no asgi.py, because it is never deployed this way."""

from importlib import import_module

from django.core.asgi import get_asgi_application

application = get_asgi_application()
# Otherwise Django would import the views with the first request.
import_module("config.urls")
