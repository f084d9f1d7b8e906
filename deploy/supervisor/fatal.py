"""An event listener (http://supervisord.org/events.html) that stops supervisord when its program cannot start.

The container then exits, and Docker restarts it. Each change of a program's state is logged as a line of JSON.
"""

import json
import os
import signal
import sys
from datetime import UTC, datetime

from supervisor import childutils

CANNOT_START = ("BACKOFF", "FATAL")


def main() -> None:
    while True:
        headers, payload = childutils.listener.wait(sys.stdin, sys.stdout)
        event = childutils.get_headers(payload)
        state = headers["eventname"].removeprefix("PROCESS_STATE_")
        program = event["processname"]
        if event["groupname"] != "fatal":
            entry = {"time": datetime.now(UTC).isoformat(), "level": "ERROR" if state in CANNOT_START else "INFO"}
            entry |= {"app": "supervisord", "message": f"{program} is {state}"}
            print(json.dumps(entry), file=sys.stderr, flush=True)
        childutils.listener.ok(sys.stdout)
        if state in CANNOT_START:
            os.kill(os.getppid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
