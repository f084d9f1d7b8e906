import faulthandler
import os

from django.core.wsgi import get_wsgi_application

# uWSGI ends a worker that is stuck with SIGABRT: this logs where it was stuck.
faulthandler.enable()
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
application = get_wsgi_application()
