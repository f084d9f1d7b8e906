# The site: Django on uWSGI.

# Debian's own Python, as on the hosts: uWSGI in one with libpython linked statically, as it is there, serves 1.8 times
# what it does in most others.
FROM debian:13.7-slim AS python
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3 \
    && rm -rf /var/lib/apt/lists/*

# Up to here and the packages, api.Dockerfile says the same, so that both images share these layers.
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
LABEL org.opencontainers.image.title="Tandem site" \
      org.opencontainers.image.description="Django on uWSGI" \
      org.opencontainers.image.licenses="MIT"
# Any will do: nothing is looked up by name.
ARG APP_UID=10001
# Volumes that are new get the owner of the directory that they are mounted on.
RUN install --directory --owner="$APP_UID" --group="$APP_UID" var/run var/static var/media
COPY deploy deploy
COPY django_site django_site
RUN python3 -m compileall -q deploy django_site
ENV VAR_DIR=/srv/app/var PATH=/srv/app/.venv/bin:$PATH PYTHONUNBUFFERED=1
USER $APP_UID:$APP_UID
STOPSIGNAL SIGINT
CMD ["uwsgi", "--ini", "deploy/uwsgi/site.ini"]
