#!/usr/bin/env python
import errno
import os
import sys

from django.core.management import execute_from_command_line
from django.db import Error, connection

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    try:
        execute_from_command_line(sys.argv)
        sys.stdout.flush()
    except Error:
        # A database that nobody can connect to is a matter of DATABASE_URL, and not of the code.
        connection.close()
        try:
            connection.ensure_connection()
        except Error as error:
            sys.exit(f"database: {error}")
        raise
    except OSError as error:
        if error.errno not in (errno.EPIPE, errno.ENOSPC):
            raise
        # The reader, such as `head`, has seen enough, or the disk is full. Python would complain about what is left.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1 if error.errno == errno.EPIPE else f"manage.py: {error.strerror}")
