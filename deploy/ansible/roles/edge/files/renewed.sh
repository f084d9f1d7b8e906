#!/bin/sh
# certbot runs this after it renewed the certificate. nginx reads it, and no connection is closed.
set -eu
umask 027
cd /srv/app/secrets
for pair in fullchain:tls_certificate privkey:tls_key; do
    install --group=app --mode=0640 "$RENEWED_LINEAGE/${pair%:*}.pem" "${pair#*:}.new"
    mv "${pair#*:}.new" "${pair#*:}"
done
systemctl kill --signal=HUP nginx.service
