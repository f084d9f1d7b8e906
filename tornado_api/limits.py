"""What a request and a watcher may take. tests/config holds these to the ladder of nginx's and supervisord's limits."""

# Bytes of a body: what nginx lets through to the api.
MAX_BODY = 64 * 1024
# Seconds for a request that is no watcher's; nginx waits 30.
REQUEST_DEADLINE = 20
# Seconds for one operation of the database, with its waits for a connection and for locks.
DATABASE_DEADLINE = 10
# Seconds that a long-poll may ask to wait.
LONGEST_WAIT = 15

# Watchers of one process. nginx carries about 4,000 for each of its own workers, of which it has as many as there are
# cores, and there are two of these processes for each core.
MAX_WATCHERS = 4000
# Seconds between signs of life to a watcher; nginx waits for four.
HEARTBEAT = 15
# MB of memory at which a process drains and makes room for a new one: a leak, as a fresh one has 46.
MAX_MEMORY = 600

# Seconds that a watcher has to take a message. After that it is taken for gone.
STALL = 30
