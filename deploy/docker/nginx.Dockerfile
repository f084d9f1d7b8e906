# Debian's nginx, as on the hosts: it has the brotli module. Its configuration and the code that fills it in are mounted
# (docker-compose.yml), so that a change of them is a reload and not a new container on the same port.
FROM debian:13.7-slim
# The same line as in the apps' Dockerfiles, so that all images share this layer.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates python3 \
    && rm -rf /var/lib/apt/lists/*
RUN apt-get update \
    && apt-get install --yes --no-install-recommends nginx libnginx-mod-http-brotli-static \
    && rm -rf /var/lib/apt/lists/*
LABEL org.opencontainers.image.title="Tandem nginx" \
      org.opencontainers.image.licenses="MIT"
ARG APP_UID=10001
WORKDIR /srv/app
# The registry is beside the settings, in a mounted directory: a single mounted file would stay the old one when an editor
# replaces it.
RUN install --directory --owner="$APP_UID" --group="$APP_UID" var/run var/static var/media var/acme \
    && install --directory deploy/core deploy/servers nginx settings \
    && ln -s ../settings/apps.toml deploy/apps.toml
ENV VAR_DIR=/srv/app/var PYTHONPYCACHEPREFIX=/tmp/pycache
USER $APP_UID:$APP_UID
STOPSIGNAL SIGQUIT
CMD ["python3", "-m", "deploy.core.nginx", "start"]
