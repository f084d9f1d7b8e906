"""Become the command of the instance that INSTANCE names: `python -m deploy.servers`, for command apps on every target."""

import os

from deploy.core.apps import find


def main() -> None:
    command = find(os.environ["INSTANCE"]).app.command
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
