"""Any long-running command: a jobs worker, a consumer. nginx sends it nothing; it is ready while it runs.

The command must finish or give up its work within 30 s of SIGTERM.
"""

from .base import Server


class PlainCommand(Server):
    kind = "command"
    required = ("source", "command")
    unit = "tandem-command@{instance}"
    listens = False

    def sockets(self, instance: str, workers: int) -> list[str]:
        return []
