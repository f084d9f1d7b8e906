# The api: Tornado in two gunicorns, under supervisord.

# Debian's own Python, as on the hosts.
FROM debian:13.7-slim AS python
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3 \
    && rm -rf /var/lib/apt/lists/*

# Up to here and the packages, site.Dockerfile says the same, so that both images share these layers.
FROM python AS packages
RUN apt-get update && apt-get install --yes --no-install-recommends python3-venv
WORKDIR /srv/app
COPY pyproject.toml uv.lock ./
RUN python3 -m venv /opt/uv \
    && /opt/uv/bin/pip install --no-cache-dir "uv==$(sed -n '/^name = "uv"$/{n;s/.*"\(.*\)"/\1/p}' uv.lock)"
RUN --mount=type=cache,target=/root/.cache/uv \
    /opt/uv/bin/uv sync --frozen --no-dev --compile-bytecode --link-mode=copy --python=/usr/bin/python3

FROM python
WORKDIR /srv/app
COPY --from=packages /srv/app/.venv .venv
LABEL org.opencontainers.image.title="Tandem api" \
      org.opencontainers.image.description="Tornado on gunicorn, under supervisord" \
      org.opencontainers.image.licenses="MIT"
# Any will do: nothing is looked up by name.
ARG APP_UID=10001
# The files that supervisord writes its programs' output to are the container's own output; what it says itself, its
# listener says as JSON (deploy/supervisor/fatal.py). The environment is the container's, so that file is empty.
RUN install --directory --owner="$APP_UID" --group="$APP_UID" var/run \
    && install --directory var/log var/supervisor \
    && ln -s /dev/stdout var/log/api-a.log \
    && ln -s /dev/stdout var/log/api-b.log \
    && ln -s /dev/null var/log/supervisord.log \
    && touch var/environment
COPY deploy deploy
COPY tornado_api tornado_api
RUN python3 -m compileall -q deploy tornado_api
ENV VAR_DIR=/srv/app/var PATH=/srv/app/.venv/bin:$PATH PYTHONUNBUFFERED=1 \
    SUPERVISOR_PROGRAMS="api.conf fatal.conf" SUPERVISOR_LOG_SIZE=0
USER $APP_UID:$APP_UID
CMD ["supervisord", "--nodaemon", "--silent", "-c", "deploy/supervisor/supervisord.conf"]
