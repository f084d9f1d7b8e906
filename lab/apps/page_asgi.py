"""The site over ASGI. It has no asgi.py of its own: it is not deployed so."""

from importlib import import_module

from django.core.asgi import get_asgi_application

application = get_asgi_application()
# Django would import the views with the first request.
import_module("config.urls")
