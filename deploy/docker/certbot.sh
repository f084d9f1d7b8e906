#!/usr/bin/env bash
# Keeps tls.pem, nginx's certificate with its key: self-signed until the certificate authority has issued one, which certbot
# renews. nginx reloads when the file changes (deploy/core/nginx.py).
#
#   certbot.sh             request a certificate, and renew it, until it is stopped
#   certbot.sh OPTION…     request it once, with more options for certbot, for example --force-renewal
set -euo pipefail
umask 077

# Each authority has certificates of its own, so that one from Let's Encrypt's staging server does not stay.
authority=${ACME_DIRECTORY#https://}
name=${authority%%[:/]*}

request() {
    certbot certonly --non-interactive --agree-tos --email="$ACME_EMAIL" --server="$ACME_DIRECTORY" \
        --cert-name="$name" --domains="$NAMES" --webroot --webroot-path="$PWD" \
        --keep-until-expiring --renew-with-new-domains \
        --config-dir="$PWD/config" --work-dir=/tmp/certbot --logs-dir=/tmp/certbot "$@" &&
        publish "config/live/$name/fullchain.pem" "config/live/$name/privkey.pem"
}

# One file and a rename, so that nginx never reads a certificate with the key of another.
publish() {
    cat "$@" >tls.new && mv tls.new tls.pem
}

if [ -e /run/secrets/ca ]; then
    cat /etc/ssl/certs/ca-certificates.crt /run/secrets/ca >/tmp/ca.pem
    export REQUESTS_CA_BUNDLE=/tmp/ca.pem
fi
if [ $# != 0 ]; then
    request "$@"
    exit
fi
if [ ! -e tls.pem ]; then
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -noenc -days 3650 -subj /CN=self-signed \
        -addext "subjectAltName=DNS:${NAMES//,/,DNS:}" -keyout /tmp/key.pem -out /tmp/certificate.pem
    publish /tmp/certificate.pem /tmp/key.pem
fi
# nginx answers the authority.
until (: </dev/tcp/nginx/8080) 2>/dev/null; do
    sleep 1
done
while true; do
    # Let's Encrypt allows five failures in an hour.
    if request; then sleep 12h; else sleep 15m; fi
done
