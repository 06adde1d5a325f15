"""Pointing a ccxt client at another address: a test network of one's own, a proxy on the same host, or an imitation."""

from typing import Any
from urllib.parse import urlsplit, urlunsplit

from onefill.core.errors import InvalidField


def point(client: Any, url: str) -> Any:
    """Have a ccxt client, sync or async, talk to ``url`` (``http://host:port``) instead of its venue. Return the client.

    The paths stay; HTTP and WebSocket addresses both move. Raises :class:`~onefill.core.errors.InvalidField`.
    """
    here = urlsplit(url)
    if here.scheme not in ("http", "https") or not here.netloc:
        raise InvalidField("url", f"{url!r} is not of the form http://host:port")

    def moved(address: Any) -> Any:
        if isinstance(address, dict):
            return {name: moved(part) for name, part in address.items()}
        if not isinstance(address, str) or "://" not in address:
            return address
        scheme, _, rest = address.partition("://")
        path = rest[rest.find("/") :] if "/" in rest else ""
        secure = here.scheme == "https"
        kind = ("wss" if secure else "ws") if scheme.startswith("ws") else here.scheme
        return urlunsplit((kind, here.netloc, path, "", ""))

    client.urls["api"] = moved(client.urls["api"])
    return client
