#!/bin/sh
# nginx, for supervisord, which watches one process: an upgrade in place replaces nginx's master by another
# (https://nginx.org/en/docs/control.html#upgrade). So nginx is a daemon, without which it ignores the signal for that, and
# this waits for as long as there is a master.
set -eu
cd "$VAR_DIR"
# Left behind by an nginx that was killed, which the next would not bind over.
rm -f run/nginx.sock run/nginx.pid

# -p makes every relative path of its files one under VAR_DIR. By its whole path, by which it starts the next one.
"$(command -v nginx)" -p . -c nginx/nginx.conf -e stderr
until [ -s run/nginx.pid ]; do sleep 0.05; done
read -r master <run/nginx.pid
group=$master
stopping=
trap 'stopping=yes' TERM QUIT

# In the middle of the next upgrade there is no such file for a moment. Two seconds for it: the workers of a master that
# was killed serve on meanwhile.
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

# For all of the group: the workers of a master that was killed would serve on for ever, and hold the port.
kill -s QUIT -- "-$group" 2>/dev/null || true
if [ -n "$stopping" ]; then
    # Who still downloads after 20 s is cut: supervisord waits 30.
    timeout 20 tail --pid="$master" --sleep-interval=0.1 --follow /dev/null ||
        kill -s TERM -- "-$group" 2>/dev/null || true
fi
