"""Limits of a request, a watcher and a process.

They fit the limits of nginx and supervisord: see the timeouts in deploy/README.md.
"""

# Bytes of a request's body, as in nginx.
MAX_BODY = 64 * 1024
# Seconds for a request other than a watcher's. nginx waits 30.
REQUEST_DEADLINE = 20
# Seconds for one operation of the database, waits for a connection and for locks included.
DATABASE_DEADLINE = 10
# Seconds for a read that requests share.
READ_DEADLINE = 15
# Seconds that a long-poll may wait.
LONGEST_WAIT = 15

# Watchers of one process, and of one of nginx's workers (`live_of_worker` in nginx/api/locations.conf). Two cores have
# two of nginx's workers and, while an instance restarts, two of these processes: room for 10,000, unevenly spread.
MAX_WATCHERS = 6000
# Seconds between signs of life to a watcher. nginx times out after four of them.
HEARTBEAT = 15
# MB of memory at which a process drains and is replaced, in case it leaks. A fresh process has 46.
MAX_MEMORY = 600

# Seconds that a watcher has to take a message before its connection is closed.
STALL = 30

# Two-way WebSockets: bytes of a message that a client sends, and bytes sent to a client that it has not read yet.
MAX_MESSAGE = 16 * 1024
MAX_UNREAD = 256 * 1024
# Messages per second that a client may send on average, and how many at once.
MESSAGE_RATE = 20
MESSAGE_BURST = 40
# Seconds to handle one message. Below HEARTBEAT, because a pong is read only after the message before it is handled.
MESSAGE_DEADLINE = 10
