"""Sockets for HTTP connections that never close what is not theirs.

uvloop (up to 0.22.1 at least, MagicStack/uvloop issue 738) closes the file descriptor of a socket whose connecting was
cancelled, by a time-out for instance, and does not tell the socket object. When that object is collected, it closes the same
number again, which by then may be another connection, or the file of a ledger.
"""

import os
import socket
import sys
from collections.abc import Sequence
from typing import Any


class OwnedSocket(socket.socket):
    """A socket that closes its file descriptor only while it is still the one that it was made with."""

    def __init__(self, *arguments: Any, **given: Any) -> None:
        super().__init__(*arguments, **given)
        self._made_as = _identity(self.fileno())

    def close(self) -> None:
        """Close it, or if its number belongs to something else by now, forget that."""
        number = self.fileno()
        if number >= 0 and _identity(number) != self._made_as:
            self.detach()
        super().close()

    def __del__(self) -> None:
        """Close it, as every socket does that nobody closed."""
        if hasattr(self, "_made_as"):
            self.close()


def _identity(number: int) -> tuple[int, int] | None:
    """Return what tells an open file from every other, ``None`` if nothing is open under this number."""
    try:
        found = os.fstat(number)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def owned_socket(address: Sequence[Any]) -> socket.socket:
    """Return a new socket for an address as ``getaddrinfo`` gives it. For aiohttp's ``socket_factory``."""
    family, kind, protocol = address[:3]
    made = socket.socket if sys.platform == "win32" else OwnedSocket  # there is no uvloop there, and no such numbers
    return made(family=family, type=kind, proto=protocol)
