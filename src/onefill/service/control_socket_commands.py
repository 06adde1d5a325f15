"""What can be asked of a running gateway by its control socket: each command with its arguments and what it calls."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec

from onefill.core import errors
from onefill.core.control import State
from onefill.core.errors import ContradictsEvidence, OnefillError
from onefill.core.events import Verdict
from onefill.core.values import plain
from onefill.engine.gateway import Gateway

T = TypeVar("T")
Command = Callable[[Gateway, msgspec.Raw], Awaitable[Any]]


class Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One line that comes in."""

    command: str
    arguments: msgspec.Raw = msgspec.Raw(b"{}")


class Reply(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line that goes out. ``category``: whose fault an error is; ``kind``: the exception's name."""

    ok: bool
    result: Any = None
    error: str = ""
    kind: str = ""
    category: str = ""
    evidence: str | None = None


CATEGORIES: dict[str, type[OnefillError]] = {
    "evidence": errors.ContradictsEvidence,
    "caller": errors.CallerError,
    "uncertain": errors.OrderUncertain,
    "broken": errors.InvariantBroken,
    "altered": errors.LedgerAltered,
    "ledger": errors.LedgerError,
    "venue": errors.VenueError,
    "route": errors.RouteClosed,
}
"""Errors as they are told apart on either end, the most exact first."""


def failed(error: OnefillError, *, category: str | None = None) -> Reply:
    """Return the reply that tells of an error."""
    known = category or next((name for name, kind in CATEGORIES.items() if isinstance(error, kind)), "broken")
    return Reply(
        ok=False,
        error=str(error),
        kind=type(error).__name__,
        category=known,
        evidence=error.evidence if isinstance(error, ContradictsEvidence) else None,
    )


class _Strict(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    pass


class _Nothing(_Strict):
    pass


class _Person(_Strict):
    by: str
    reason: str
    route: str | None = None


class _Freeze(_Person):
    state: State = State.SAFE


class _Release(_Person):
    force: bool = False


class _Order(_Strict):
    key: str
    account: str
    strategy: str


class _Cancel(_Order):
    operation_key: str | None = None
    wait_s: float | None = None


class _Replace(_Order):
    quantity: str | None = None
    price: str | None = None
    operation_key: str | None = None
    time_to_live_s: float | None = None
    wait_s: float | None = None


class _Resolve(_Order):
    verdict: Verdict
    by: str
    reason: str
    venue_order_id: str | None = None


class _Reconcile(_Strict):
    route: str | None = None
    full: bool = False


class _AcceptPosition(_Strict):
    route: str
    account: str
    instrument: str
    by: str
    reason: str


class _Incidents(_Strict):
    open_only: bool = True


class _Step(_Strict):
    name: str
    step: str
    by: str
    note: str = ""
    skip: bool = False
    keys: list[str] = []
    venue_orders: list[str] = []
    out: str | None = None
    times: int = 2


class _ResolveIncident(_Strict):
    name: str
    by: str
    reason: str
    force: bool = False


class _Subscribers(_Strict):
    route: str | None = None


class _ResumeSubscriber(_Person, kw_only=True):
    subscriber: str
    order: str | None = None
    skip: bool = False


class _RewindSubscriber(_Person, kw_only=True):
    subscriber: str
    position: int
    leave_out: bool = False


def _method(name: str, kind: type[_Strict]) -> Command:
    """Return the command that calls the gateway's method of this name; its result goes out as JSON."""

    async def command(gateway: Gateway, given: msgspec.Raw) -> Any:
        arguments = msgspec.json.decode(given, type=kind)
        result = getattr(gateway, name)(**{one: getattr(arguments, one) for one in kind.__struct_fields__})
        return await result if isinstance(result, Awaitable) else result

    return command


def _raw(name: str, kind: type[_Strict]) -> Command:
    """Likewise, for a method whose result is the stored bytes of an answer."""
    call = _method(name, kind)

    async def command(gateway: Gateway, given: msgspec.Raw) -> Any:
        return msgspec.Raw(await call(gateway, given))

    return command


async def _resolve(gateway: Gateway, given: msgspec.Raw) -> Any:
    await gateway.catch_up()  # what the venue has reported by now is evidence too
    wanted = msgspec.json.decode(given, type=_Resolve)
    order = await gateway.resolve(**{one: getattr(wanted, one) for one in _Resolve.__struct_fields__})
    return {"status": order.status, "cum_quantity": plain(order.cum_quantity), "cancel_wanted": order.cancel_wanted}


COMMANDS: dict[str, Command] = {
    "status": _method("status", _Nothing),
    "freeze": _method("freeze", _Freeze),
    "release": _method("release", _Release),
    "cancel": _raw("cancel_raw", _Cancel),
    "replace": _raw("replace_raw", _Replace),
    "resolve": _resolve,
    "reconcile": _method("reconcile", _Reconcile),
    "accept_position": _method("accept_position", _AcceptPosition),
    "incidents": _method("incidents", _Incidents),
    "step": _method("step", _Step),
    "resolve_incident": _method("resolve_incident", _ResolveIncident),
    "subscribers": _method("subscribers", _Subscribers),
    "resume_subscriber": _method("resume_subscriber", _ResumeSubscriber),
    "rewind_subscriber": _method("rewind_subscriber", _RewindSubscriber),
}
