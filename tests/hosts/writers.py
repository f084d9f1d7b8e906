"""A writer to each server of a cluster, on an app host: `python - SECONDS ADDRESS…`.

Prints JSON: for each row whose commit a server acknowledged, the address of the server, the row's number, and the time.
"""

import json
import sys
import threading
import time
from contextlib import suppress
from itertools import count
from urllib.parse import urlsplit

import psycopg

acknowledged: list[tuple[str, int, float]] = []
numbers = count()


def write(address: str, password: str, end: float) -> None:
    while time.time() < end:
        with suppress(psycopg.Error):
            url = f"postgresql://tandem:{password}@{address}/tandem?connect_timeout=2&tcp_user_timeout=5000"
            with psycopg.connect(url, autocommit=True) as connection:
                while time.time() < end:
                    number = next(numbers)
                    connection.execute("INSERT INTO writers VALUES (%s)", [number])
                    acknowledged.append((address, number, time.time()))
                    time.sleep(0.02)
        time.sleep(0.1)


password = urlsplit(open("/srv/app/secrets/database_url").read()).password or ""  # noqa: PTH123, SIM115
end = time.time() + float(sys.argv[1])
for address in sys.argv[2:]:
    # A write that never returns must not keep the process.
    threading.Thread(target=write, args=(address, password, end), daemon=True).start()
time.sleep(end + 10 - time.time())
print(json.dumps(acknowledged))
