# The site: Django on uWSGI.

# Debian's own Python, as on the hosts. It links libpython statically, with which uWSGI serves 1.8 times as much as with
# most others.
FROM debian:13.7-slim AS python
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates python3 \
    && rm -rf /var/lib/apt/lists/*

# The Dockerfiles of the apps are the same up to here and in this stage, so that their images share these layers.
FROM python AS packages
RUN apt-get update && apt-get install --yes --no-install-recommends python3-venv
WORKDIR /srv/app
COPY pyproject.toml uv.lock ./
RUN python3 -m venv /opt/uv \
    && /opt/uv/bin/pip install --no-cache-dir "uv==$(sed -n '/^name = "uv"$/{n;s/.*"\(.*\)"/\1/p}' uv.lock)"
# `yes` with OTEL_EXPORTER_OTLP_ENDPOINT.
ARG OTEL=
RUN --mount=type=cache,target=/root/.cache/uv \
    /opt/uv/bin/uv sync --frozen --no-dev ${OTEL:+--group=otel} --compile-bytecode --link-mode=copy --python=/usr/bin/python3

FROM python
WORKDIR /srv/app
COPY --from=packages /srv/app/.venv .venv
LABEL org.opencontainers.image.title="Tandem site" \
      org.opencontainers.image.description="Django on uWSGI" \
      org.opencontainers.image.licenses="MIT"
# Any user works: nothing looks it up by name.
ARG APP_UID=10001
# A new volume gets the owner of the directory that it is mounted on.
RUN install --directory --owner="$APP_UID" --group="$APP_UID" var/run var/static var/media
COPY deploy/apps.toml deploy/
COPY deploy/core deploy/core
COPY deploy/servers deploy/servers
COPY deploy/uwsgi deploy/uwsgi
COPY django_site django_site
RUN python3 -m compileall -q deploy django_site
ENV VAR_DIR=/srv/app/var PATH=/srv/app/.venv/bin:$PATH PYTHONUNBUFFERED=1
USER $APP_UID:$APP_UID
CMD ["uwsgi", "--ini", "deploy/uwsgi/site.ini"]
