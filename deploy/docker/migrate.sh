#!/bin/sh
# What a release needs before its instances start: the schema, and the static files, beside those of earlier releases,
# which pages that are still open ask for.
set -eu
python django_site/manage.py migrate --no-input
python django_site/manage.py createcachetable
python django_site/manage.py collectstatic --no-input
