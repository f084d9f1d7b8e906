"""Become the command of the instance that INSTANCE names. Every target starts command apps by this module."""

import os

from deploy.core.apps import find


def main() -> None:
    command = find(os.environ["INSTANCE"]).app.command
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
