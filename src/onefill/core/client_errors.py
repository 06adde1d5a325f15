"""What an error of a client library means for a request that moves value: one table, read from top to bottom.

It is judged by what was sent, then by the cause beneath the error, then by the venue's own code, then by the HTTP status, and
last by the class that the library chose: libraries file refusals under network errors and lost replies under refusals. What no
row explains is *unknown*.
"""

from collections.abc import Iterable
from enum import StrEnum
from typing import Any, Final

import msgspec


class Verdict(StrEnum):
    """What became of a request, as far as its error proves it."""

    NEVER_SENT = "never sent"
    """Nothing can have reached the venue; the same request may be sent again."""
    REFUSED_HERE = "refused here"
    """Nothing was sent, and the same request would be refused again: the client library itself takes exception to it."""
    REJECTED = "rejected"
    """The venue decided against it, and said so."""
    REJECTED_LOOK = "rejected, to be looked at"
    """Refused by something in front of the venue, as it seems: believed only when the venue shows no order."""
    EXISTS = "exists"
    """The venue has an order under this client order id."""
    TOO_LATE = "too late"
    """This copy came after its expiry, or with a stale stamp, and was refused."""
    THROTTLED = "throttled"
    """This copy was not taken for now."""
    NOT_THERE = "not there"
    """The venue knows no such order, or none that is live."""
    UNKNOWN = "unknown"


class Asked(StrEnum):
    """What was asked for: the same words mean different things."""

    NEW_ORDER = "new order"
    CANCEL = "cancel"
    REPLACE = "replace"
    QUESTION = "question"


class Codes(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A venue's own codes by what they mean; see :class:`onefill.venues.profile.Wire`. A code may be a word of the text."""

    duplicate: tuple[str, ...] = ()
    duplicate_texts: tuple[str, ...] = ()
    """If there are any, a duplicate's code counts only beside one of these."""
    unknown: tuple[str, ...] = ()
    too_late: tuple[str, ...] = ()
    throttled: tuple[str, ...] = ()
    not_found: tuple[str, ...] = ()
    cancel_of_dead: tuple[str, ...] = ()
    rejected: tuple[str, ...] = ()


class Failure(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """An error as it is judged.

    * ``sent``: whether the first byte of the request left; ``None`` where that cannot be seen.
    * ``causes``: the names of the exceptions beneath it and of their classes.
    * ``codes``, ``text``: the codes in the venue's answer, and the answer's text, empty if there was none.
    * ``status``: the HTTP status of a whole answer.
    * ``classes``: the names of the library's class and of those above it, the nearest first.
    """

    sent: bool | None = None
    causes: frozenset[str] = frozenset()
    codes: frozenset[str] = frozenset()
    text: str = ""
    status: int | None = None
    classes: tuple[str, ...] = ()


class Row(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One row of the table: it holds where all that it names holds. ``named`` is what people and tests call it."""

    named: str
    verdict: Verdict
    asked: frozenset[Asked] | None = None
    sent: frozenset[bool | None] | None = None
    causes: frozenset[str] | None = None
    codes: str | None = None
    """Which of :class:`Codes`."""
    statuses: frozenset[int] | None = None
    classes: frozenset[str] | None = None
    answered: bool | None = None
    """Whether there was a whole answer."""


NO_CONNECTION: Final = frozenset(
    {
        "ClientConnectorError",
        "ClientConnectorDNSError",
        "ClientConnectorSSLError",
        "ClientConnectorCertificateError",
        "ClientProxyConnectionError",
        "ConnectionTimeoutError",
        "ConnectionRefusedError",
        "gaierror",
        "ConnectTimeout",
        "ConnectTimeoutError",
        "NewConnectionError",
        "NameResolutionError",
        "KeptBack",
    }
)
"""Names of aiohttp, requests, urllib3 and Python itself for: there was no connection to send anything over."""
_BROKEN: Final = frozenset(
    {
        "ClientError",
        "ClientPayloadError",
        "OSError",
        "TimeoutError",
        "HTTPException",
        "RequestException",
        "HTTPError",
        "CancelledError",
    }
)
"""The heads of their families for: it broke on the way. An HTTP error that requests made of a whole answer is no such cause."""
_HERE: Final = frozenset(
    {
        "ArgumentsRequired",
        "BadSymbol",
        "BadRequest",
        "NotSupported",
        "InvalidOrder",
        "AuthenticationError",
        "InvalidAddress",
    }
)
_MEANT: Final = frozenset(
    {
        "InsufficientFunds",
        "InvalidOrder",
        "BadRequest",
        "AuthenticationError",
        "MarketClosed",
        "OperationRejected",
        "ArgumentsRequired",
        "NotSupported",
        "ContractUnavailable",
    }
)
_VALUE: Final = frozenset({Asked.NEW_ORDER, Asked.REPLACE})
_ORDERS: Final = frozenset({Asked.NEW_ORDER, Asked.REPLACE, Asked.CANCEL})
_NEW: Final = frozenset({Asked.NEW_ORDER})
_V = Verdict
_FRONT: Final = frozenset({400, 403, 404, 405, 451})
"""Statuses that ccxt files under ExchangeNotAvailable, though something said no."""

TABLE: Final[tuple[Row, ...]] = (
    # What was sent.
    Row(
        named="the library itself refused, before anything was sent",
        verdict=_V.REFUSED_HERE,
        sent=frozenset({False}),
        classes=_HERE,
        asked=_ORDERS,
    ),
    Row(named="nothing was sent", verdict=_V.NEVER_SENT, sent=frozenset({False})),
    # The cause.
    Row(
        named="no connection was made",
        verdict=_V.NEVER_SENT,
        sent=frozenset({None, False}),
        causes=NO_CONNECTION,
        answered=False,
    ),
    Row(named="it broke on the way", verdict=_V.UNKNOWN, causes=_BROKEN, answered=False),
    Row(named="the answer was torn", verdict=_V.UNKNOWN, causes=frozenset({"ClientPayloadError", "IncompleteRead"})),
    # The venue's own code.
    Row(named="the venue says that it does not know", verdict=_V.UNKNOWN, codes="unknown", answered=True),
    Row(named="the id is taken", verdict=_V.EXISTS, codes="duplicate", asked=_VALUE, answered=True),
    Row(named="refused as too late", verdict=_V.TOO_LATE, codes="too_late", answered=True),
    Row(named="refused for rate", verdict=_V.THROTTLED, codes="throttled", answered=True),
    Row(
        named="no such order, by its code",
        verdict=_V.NOT_THERE,
        codes="not_found",
        asked=frozenset({Asked.QUESTION, Asked.CANCEL, Asked.REPLACE}),
        answered=True,
    ),
    Row(
        named="a cancel of what is dead, by its code",
        verdict=_V.NOT_THERE,
        codes="cancel_of_dead",
        asked=frozenset({Asked.CANCEL, Asked.REPLACE}),
        answered=True,
    ),
    Row(named="refused, by its code", verdict=_V.REJECTED, codes="rejected", asked=_ORDERS, answered=True),
    # The status.
    Row(named="HTTP 429, 418", verdict=_V.THROTTLED, statuses=frozenset({418, 429}), answered=True),
    Row(
        named="HTTP 408, 409, 5xx",
        verdict=_V.UNKNOWN,
        statuses=frozenset({408, 409, *range(500, 600)}),
        answered=True,
    ),
    # The class.
    Row(named="time-out", verdict=_V.UNKNOWN, classes=frozenset({"RequestTimeout"})),
    Row(named="nonce or time stamp", verdict=_V.TOO_LATE, classes=frozenset({"InvalidNonce"}), answered=True),
    Row(
        named="rate limit",
        verdict=_V.THROTTLED,
        classes=frozenset({"RateLimitExceeded", "DDoSProtection"}),
        answered=True,
    ),
    Row(named="maintenance", verdict=_V.THROTTLED, classes=frozenset({"OnMaintenance"}), answered=True),
    Row(
        named="refused in front of the venue",
        verdict=_V.REJECTED_LOOK,
        classes=frozenset({"ExchangeNotAvailable"}),
        statuses=_FRONT,
        asked=_NEW,
        answered=True,
    ),
    Row(
        named="not available, no result, a bad answer",
        verdict=_V.UNKNOWN,
        classes=frozenset({"OperationFailed", "BadResponse", "NetworkError", "ExchangeNotAvailable"}),
    ),
    Row(
        named="the id is taken, by its class",
        verdict=_V.EXISTS,
        classes=frozenset({"DuplicateOrderId"}),
        asked=_VALUE,
        answered=True,
    ),
    Row(
        named="no such order",
        verdict=_V.NOT_THERE,
        classes=frozenset({"OrderNotFound"}),
        asked=frozenset({Asked.QUESTION, Asked.CANCEL, Asked.REPLACE}),
        answered=True,
    ),
    Row(
        named="no such order, of a new one",
        verdict=_V.UNKNOWN,
        classes=frozenset({"OrderNotFound"}),
        asked=_NEW,
    ),
    Row(named="rejected", verdict=_V.REJECTED, classes=_MEANT, asked=_ORDERS, answered=True),
    # In doubt.
    Row(named="in doubt", verdict=_V.UNKNOWN),
)


class Judged(msgspec.Struct, frozen=True, gc=False):
    """What an error means, and by which row."""

    verdict: Verdict
    row: Row


def judge(failure: Failure, asked: Asked, codes: Codes) -> Judged:
    """Return the first row of the table that holds."""
    row = next(row for row in TABLE if holds(row, failure, asked, codes))
    return Judged(row.verdict, row)


def holds(row: Row, failure: Failure, asked: Asked, codes: Codes) -> bool:
    """Tell whether everything that a row names holds."""
    return (
        (row.asked is None or asked in row.asked)
        and (row.sent is None or failure.sent in row.sent)
        and (row.causes is None or bool(row.causes & failure.causes))
        and (row.answered is None or row.answered is (failure.status is not None))
        and (row.codes is None or _has(row.codes, failure, codes))
        and (row.statuses is None or failure.status in row.statuses)
        and (row.classes is None or not row.classes.isdisjoint(failure.classes))
    )


def _has(which: str, failure: Failure, codes: Codes) -> bool:
    wanted: tuple[str, ...] = getattr(codes, which)
    if not any(_met(code, failure) for code in wanted):
        return False
    if which == "duplicate" and codes.duplicate_texts:
        return any(text.lower() in failure.text.lower() for text in codes.duplicate_texts)
    return True


def _met(code: str, failure: Failure) -> bool:
    if code in failure.codes:
        return True
    # A code that is a word or more stands in the text; a bare number there could be anything.
    return not code.lstrip("-").replace(".", "").isdigit() and code.lower() in failure.text.lower()


_CODE_NAMES: Final = frozenset(
    {"code", "retcode", "ret_code", "scode", "errorcode", "error_code", "err_code", "error", "errors", "response_code"}
    | {"reason", "status", "result"}
)
_MOST_CODES: Final = 100


def codes_in(answer: Any) -> frozenset[str]:
    """Return what may be a code in a venue's answer (JSON, decoded): the short values of fields that are called like one."""
    found: set[str] = set()
    open_parts: list[tuple[str, Any]] = [("", answer)]
    while open_parts and len(found) < _MOST_CODES:
        name, part = open_parts.pop()
        if isinstance(part, dict):
            open_parts += [(str(key).lower(), value) for key, value in part.items()]
        elif isinstance(part, list):
            open_parts += [(name, value) for value in part]
        elif name in _CODE_NAMES and isinstance(part, str | int) and not isinstance(part, bool):
            text = str(part).strip()
            if 0 < len(text) <= 64:
                found.add(text)
    return frozenset(found)


def ancestry(kinds: Iterable[type]) -> tuple[str, ...]:
    """Return the names of classes and of those above them, the nearest first, without Python's own roots."""
    names = [one.__name__ for kind in kinds for one in kind.__mro__ if one not in (object, BaseException, Exception)]
    return tuple(dict.fromkeys(names))
