"""Where something is served: ``HOST:PORT`` as settings have it, and a socket that listens there."""

import contextlib
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

from onefill.core.errors import SettingsError


def host_port(text: str) -> tuple[str, int] | None:
    """Return host and port of ``HOST:PORT``, ``None`` if it is no such text. Port 0 takes a free one."""
    try:
        parts = urlsplit(f"//{text}")
        port = parts.port
    except ValueError:
        return None
    bare = parts.netloc == text and "@" not in parts.netloc
    return (parts.hostname, port) if bare and parts.hostname and port is not None else None


@contextlib.contextmanager
def bound(setting: str, listen: str | None) -> Iterator[socket.socket | None]:
    """Give a socket that listens there, or ``None`` if nothing is to be served. ``setting``: the setting's name, for errors.

    Raises :class:`~onefill.core.errors.SettingsError` if the address cannot be had.
    """
    if listen is None:
        yield None
        return
    host, port = host_port(listen) or ("", 0)
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listening = socket.create_server((host, port), family=family)
    except OSError as error:
        raise SettingsError(f"{setting}: {listen}: {error.strerror or error}. Nothing was started") from error
    with listening:
        yield listening


def url(listening: socket.socket) -> str:
    """Return the URL under which a socket is reached."""
    host, port = listening.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
