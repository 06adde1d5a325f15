"""Who gives a command, for the audit log."""

import getpass
import os
import socket
import sys


def person() -> str:
    """Return who runs this: the operating system's user, whatever the environment says, at which host."""
    if sys.platform == "win32":
        user = getpass.getuser()
    else:
        import pwd  # noqa: PLC0415 - not there on Windows

        try:
            user = pwd.getpwuid(os.getuid()).pw_name
        except KeyError:
            user = f"user {os.getuid()}"
    return f"{user}@{socket.gethostname()}"
