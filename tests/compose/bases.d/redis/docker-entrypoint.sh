#!/bin/bash
set -euo pipefail

if [[ $1 == -* || $1 == *.conf ]]; then
    set -- redis-server "$@"
fi
if [ "$1" = redis-server ]; then
    if [ "$(id -u)" = 0 ]; then
        chown -R redis: .
        exec setpriv --reuid=redis --regid=redis --clear-groups "$0" "$@"
    fi
    umask 0077
    # The official image is compiled without protected mode, which would refuse other containers.
    if ! grep -qse protected-mode -- - "${2-/dev/null}" <<<"$*"; then
        set -- "$@" --protected-mode no
    fi
fi
exec "$@"
