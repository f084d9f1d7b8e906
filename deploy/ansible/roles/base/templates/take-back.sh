#!/bin/sh
# Around a change of ssh and of the firewall. With `keep`, copies the present files; without, restores them.
set -u
kept=/run/take-back/files
if [ "${1:-}" = keep ]; then
    rm -rf "$kept"
    mkdir "$kept"
fi
for file in {{ base_access_files | map(attribute='dest') | join(' ') }}; do
    if [ "${1:-}" = keep ]; then
        [ ! -e "$file" ] || cp --archive "$file" "$kept/${file##*/}"
    elif [ -e "$kept/${file##*/}" ]; then
        cp --archive "$kept/${file##*/}" "$file"
    else
        rm -f "$file"
    fi
done
[ "${1:-}" = keep ] || systemctl try-reload-or-restart nftables ssh
