"""How imitations read what clients send, and say no."""

from collections.abc import Mapping
from typing import Any

import msgspec


class Refused(Exception):
    """The venue says no: ``code`` is its own error code, ``status`` the HTTP status that it answers with."""

    def __init__(self, code: object, reason: str, status: int = 200) -> None:
        super().__init__(reason)
        self.code, self.reason, self.status = code, reason, status


class Unreadable(Exception):
    """The body is no JSON object."""


def body_of(body: bytes) -> dict[str, Any]:
    """Return a JSON object. Raises :class:`Unreadable`."""
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError) as problem:
        raise Unreadable(str(problem)) from None


def text_of(named: Mapping[str, Any], field: str) -> str:
    """Return a field as text, empty where it is missing or null."""
    value = named.get(field)
    return "" if value is None else str(value)


def whole(text: str) -> int | None:
    """Return a whole number that is not below zero; ``None`` for any other text."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 30 else None
