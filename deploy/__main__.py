"""Start the command line on a Python and in an environment that do not depend on who calls. Standard library only.

Nothing here may need more than Python 3.6: the caller's `python3` can be any.
"""

import os
import signal
import subprocess
import sys

# No PYTHON* variable of the caller, no __pycache__ in the project (root's would lock its owner out), UTF-8 everywhere.
FLAGS = ["-E", "-B", "-X", "utf8"]
# Debian's own: root's `python3` may be in a directory that the user of root's stack may not enter.
SYSTEM = "/usr/bin/python3"


def start_again() -> None:
    """Become a suitable Python with FLAGS, in the environment of environment.py."""
    python = sys.executable
    if python != SYSTEM and os.access(SYSTEM, os.X_OK):
        suits = subprocess.call([SYSTEM, "-E", "-c", "import tomllib"], stderr=subprocess.DEVNULL) == 0
        python = SYSTEM if suits else python
    if python != SYSTEM and sys.version_info < (3, 11):
        sys.exit("✗ python3 is {}.{}: should be 3.11 or newer".format(*sys.version_info[:2]))
    if sys.version_info < (3, 11):  # noqa: UP036
        os.execv(SYSTEM, [SYSTEM, "-E", "-m", "deploy", *sys.argv[1:]])
    from deploy.core.environment import chosen

    os.execve(python, [python, *FLAGS, "-m", "deploy", *sys.argv[1:]], chosen())


if __name__ == "__main__":
    # Until there is a handler, Ctrl-C ends this process without a traceback.
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    if not (sys.flags.utf8_mode and sys.flags.ignore_environment and sys.flags.dont_write_bytecode):
        sys.dont_write_bytecode = True
        start_again()
    from deploy.cli import main

    main()
