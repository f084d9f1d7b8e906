import faulthandler
import os
from importlib import import_module

from django.core.wsgi import get_wsgi_application

# uWSGI ends a worker that is stuck with SIGABRT: this logs where it was stuck.
faulthandler.enable()
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
application = get_wsgi_application()
# Django would import the views with the first request, and an instance whose views cannot be imported be ready.
import_module("config.urls")
