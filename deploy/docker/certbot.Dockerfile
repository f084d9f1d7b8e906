# Debian's certbot, as on the hosts.
FROM debian:13.7-slim
# The same line as in the apps' Dockerfiles, so that all images share this layer.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates python3 \
    && rm -rf /var/lib/apt/lists/*
RUN apt-get update \
    && apt-get install --yes --no-install-recommends certbot \
    && rm -rf /var/lib/apt/lists/*
LABEL org.opencontainers.image.title="Tandem certbot" \
      org.opencontainers.image.licenses="MIT"
ARG APP_UID=10001
COPY deploy/docker/certbot.sh /usr/local/bin/
# A new volume gets the owner of the directory that it is mounted on.
RUN install --directory --owner="$APP_UID" --group="$APP_UID" /srv/app/var/acme
WORKDIR /srv/app/var/acme
USER $APP_UID:$APP_UID
CMD ["certbot.sh"]
