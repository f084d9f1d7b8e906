"""Any long-running command: a jobs worker, a consumer. nginx sends it nothing; it is ready while it runs.

`python -m deploy.servers.command` becomes the command of the instance that INSTANCE names. It must finish or give up
its work within 30 s of SIGTERM.
"""

import os

from .base import Server


class Command(Server):
    kind = "command"
    required = ("source", "command")
    unit = "tandem-command@{instance}"
    listens = False

    def sockets(self, instance: str, workers: int) -> list[str]:
        return []


def main() -> None:
    from deploy.core.apps import find

    command = find(os.environ["INSTANCE"]).app.command
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
