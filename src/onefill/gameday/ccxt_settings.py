"""The settings by which a gateway reaches an imitation through ccxt, and the credentials that it takes."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from onefill.sim.imitations.base import Imitation
from onefill.venues.ccxt.credentials import CREDENTIALS


def venue_table(kind: type[Imitation], url: str, prefix: str, **more: Any) -> dict[str, Any]:
    """Return a settings file's table of an imitation at ``url``; ``prefix`` begins the names of its credentials' variables."""
    config = {name: value for name, value in kind.config().items() if name not in CREDENTIALS.values()}
    options = config.pop("options", {})
    return {
        "kind": "ccxt",
        "exchange": kind.ccxt_id,
        "profile": kind.profile,
        "url": url,
        "credentials": prefix,
        "instruments": [kind.instruments[0].symbol],
        **more,
        "options": options,
        "config": {"rateLimit": 1, **config},
    }


def environment(kind: type[Imitation], prefix: str) -> dict[str, str]:
    """Return the credentials that an imitation takes, as environment variables."""
    config = kind.config()
    return {f"{prefix}_{name}": str(config[called]) for name, called in CREDENTIALS.items() if called in config}


def toml(table: Mapping[str, Any]) -> str:
    """Return tables as TOML. Text, numbers and lists are written as in JSON, which TOML takes."""
    return "\n".join(_lines(table, ())) + "\n"


def _lines(table: Mapping[str, Any], place: tuple[str, ...]) -> Iterator[str]:
    values = {name: value for name, value in table.items() if not isinstance(value, Mapping)}
    if place and (values or not table):
        yield f"[{'.'.join(map(_key, place))}]"
    for name, value in values.items():
        yield f"{_key(name)} = {json.dumps(value)}"
    for name, value in table.items():
        if isinstance(value, Mapping) and value:
            yield from _lines(value, (*place, name))


def _key(name: str) -> str:
    return name if name.isascii() and name.replace("_", "").replace("-", "").isalnum() else json.dumps(name)
