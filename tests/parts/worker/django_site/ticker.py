"""A worker that stops between two jobs when it gets SIGTERM."""

import signal
import threading

stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
while not stop.wait(1):
    print("did a job", flush=True)
print("finished", flush=True)
