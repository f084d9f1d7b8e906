# Echo: the api's Dockerfile, with one more package.

# Debian's own Python, as on the hosts.
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
LABEL org.opencontainers.image.title="Tandem echo" \
      org.opencontainers.image.description="Tornado on gunicorn, under supervisord" \
      org.opencontainers.image.licenses="MIT"
# Any user works: nothing looks it up by name.
ARG APP_UID=10001
# The container's environment has the settings, so supervisord's file of them is empty.
RUN install --directory --owner="$APP_UID" --group="$APP_UID" var/run \
    && install --directory var/log var/supervisor \
    && touch var/environment
COPY deploy/apps.toml deploy/
COPY deploy/core deploy/core
COPY deploy/servers deploy/servers
COPY deploy/gunicorn deploy/gunicorn
COPY deploy/supervisor deploy/supervisor
COPY tornado_api tornado_api
COPY tornado_echo tornado_echo
RUN python3 -m compileall -q deploy tornado_api tornado_echo
ENV VAR_DIR=/srv/app/var PATH=/srv/app/.venv/bin:$PATH PYTHONUNBUFFERED=1 SUPERVISOR_LOG_SIZE=0
USER $APP_UID:$APP_UID
# supervisord writes the instance's output to a file: here that is the container's output. supervisord's own messages are
# dropped, because its listener prints each change of a state as JSON (deploy/supervisor/fatal.py).
CMD ["sh", "-c", "ln -sf /dev/stdout var/log/$INSTANCE.log && ln -sf /dev/null var/log/supervisord.log && exec python3 -m deploy.core.supervisor $INSTANCE fatal"]
