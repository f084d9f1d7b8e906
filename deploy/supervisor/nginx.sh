#!/bin/sh
# Runs nginx for supervisord, which watches a single process. An upgrade in place replaces nginx's master by another one
# (https://nginx.org/en/docs/control.html#upgrade). nginx ignores the signal for it unless it is a daemon, so this
# script waits as long as there is a master.
set -eu
cd "$VAR_DIR"
# A killed nginx leaves this file behind, and the next one would not bind over it.
rm -f run/nginx.sock run/nginx.pid

# -p makes relative paths in its files relative to VAR_DIR. The path of nginx is absolute, because nginx uses it to
# start its successor.
"$(command -v nginx)" -p . -c nginx/nginx.conf -e stderr
until [ -s run/nginx.pid ]; do sleep 0.05; done
read -r master <run/nginx.pid
group=$master
stopping=
trap 'stopping=yes' TERM QUIT

# In the middle of an upgrade the pid file is missing for a moment. Allow two seconds for it: the workers of a killed
# master keep serving.
successor() {
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        if read -r master 2>/dev/null <run/nginx.pid && kill -0 "$master" 2>/dev/null; then
            return
        fi
        sleep 0.2
    done
    return 1
}

while [ -z "$stopping" ]; do
    tail --pid="$master" --sleep-interval=0.5 --follow /dev/null &
    wait $! || true
    [ -n "$stopping" ] || successor || break
done

# Signal the whole group. Otherwise the workers of a killed master would serve forever and keep the port.
kill -s QUIT -- "-$group" 2>/dev/null || true
if [ -n "$stopping" ]; then
    # Downloads that take longer than 20 s are cut: supervisord waits 30 s.
    timeout 20 tail --pid="$master" --sleep-interval=0.1 --follow /dev/null ||
        kill -s TERM -- "-$group" 2>/dev/null || true
fi
