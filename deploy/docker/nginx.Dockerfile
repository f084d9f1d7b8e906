# nginx, Debian's, as on the hosts: it has the brotli module. Its configuration is mounted, so that a change of it is a
# reload, and not another container on the same port.
FROM debian:13.7-slim
# As in the others' files, so that all share this layer.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3 \
    && rm -rf /var/lib/apt/lists/*
RUN apt-get update \
    && apt-get install --yes --no-install-recommends nginx libnginx-mod-http-brotli-static \
    && rm -rf /var/lib/apt/lists/*
LABEL org.opencontainers.image.title="Tandem nginx" \
      org.opencontainers.image.licenses="MIT"
ARG APP_UID=10001
WORKDIR /srv/app
RUN install --directory --owner="$APP_UID" --group="$APP_UID" var/run var/static var/media
COPY deploy/cores.py deploy/env.py deploy/instance.py deploy/nginx.py deploy/roll.py deploy/
RUN python3 -m compileall -q deploy
ENV VAR_DIR=/srv/app/var
USER $APP_UID:$APP_UID
STOPSIGNAL SIGQUIT
CMD ["python3", "-m", "deploy.nginx", "start"]
