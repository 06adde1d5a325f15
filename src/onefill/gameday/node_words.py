"""What a drill and the gateway processes it runs say to each other: one JSON document in a line, each with a number."""

import msgspec

from onefill.core.identity import IdScheme
from onefill.core.intent import Intent


class NodeJob(msgspec.Struct, frozen=True, kw_only=True):
    """What a gateway process is to do. ``accounts``: each is a route. ``lease_s`` is ``None`` where it is alone."""

    name: str
    ledger: str
    venue: str
    """The exchange's URL."""
    accounts: tuple[str, ...]
    lease_s: float | None
    client_order_ids: IdScheme = IdScheme.SEQUENCE
    time_to_live_s: float = 600.0
    timeout_s: float = 1.0


class Submit(msgspec.Struct, frozen=True, tag="submit"):
    """Place an order."""

    number: int
    key: str
    intent: Intent
    wait_s: float


class Cancel(msgspec.Struct, frozen=True, tag="cancel"):
    """Cancel an order."""

    number: int
    key: str
    account: str
    strategy: str
    operation_key: str
    wait_s: float


class HandOver(msgspec.Struct, frozen=True, tag="hand_over"):
    """Give a route to another node."""

    number: int
    route: str
    to: str


Request = Submit | Cancel | HandOver


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a request: ``answer`` as the gateway gave it, or what went wrong, by the name of the exception."""

    number: int
    answer: msgspec.Raw = msgspec.Raw(b"null")
    error: str | None = None
    text: str = ""


def route_of(account: str) -> str:
    """Return the name of an account's route, as the command line makes it."""
    return f"exchange:{account}"
