"""moto's server as a WSGI application. gunicorn ends TLS connections as clients expect, which Werkzeug's server does not."""

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

application = DomainDispatcherApplication(create_backend_app)
