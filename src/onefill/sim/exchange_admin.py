"""What the people of a simulated exchange do, over HTTP: busts, corrections, restatements, reports told again.

Each is a POST with a JSON body that names what :class:`~onefill.sim.exchange_desk.Desk` takes. What does not fit what is there
gets a 400 and changes nothing.
"""

from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any, TypeVar

import msgspec
from aiohttp import web

from onefill.core.errors import InvalidField
from onefill.sim import exchange_http as http
from onefill.sim.exchange import Exchange
from onefill.venues import exchange_wire as wire

Body = TypeVar("Body")


class _Body(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    account: str


class BustBody(_Body, frozen=True, kw_only=True):
    """See :meth:`~onefill.sim.exchange_desk.Desk.bust`."""

    execution_id: str
    client_order_id: str | None = None
    venue_order_id: str | None = None
    live: bool = False


class CorrectBody(BustBody, frozen=True, kw_only=True):
    """See :meth:`~onefill.sim.exchange_desk.Desk.correct`."""

    quantity: Decimal
    price: Decimal


class DoneForDayBody(_Body, frozen=True, kw_only=True):
    """See :meth:`~onefill.sim.exchange_desk.Desk.done_for_day`."""

    client_order_id: str | None = None
    venue_order_id: str | None = None


class RestateBody(DoneForDayBody, frozen=True, kw_only=True):
    """See :meth:`~onefill.sim.exchange_desk.Desk.restate`."""

    quantity: Decimal | None = None
    price: Decimal | None = None
    reason: str = "restated by the venue"


class TransferBody(_Body, frozen=True, kw_only=True):
    """See :meth:`~onefill.sim.exchange_desk.Desk.transfer`."""

    instrument: str
    quantity: Decimal


class RetellBody(_Body, frozen=True, kw_only=True):
    """See :meth:`~onefill.sim.exchange_desk.Desk.retell`."""

    from_position: int = 1
    through: int | None = None


class RedeliverBody(_Body, frozen=True, kw_only=True):
    """See :meth:`~onefill.sim.exchange_desk.Desk.redeliver`."""

    places: tuple[int, ...]


class HoldBody(_Body, frozen=True, kw_only=True):
    """See :meth:`~onefill.sim.exchange_desk.Desk.hold_drop_copies`."""


class ReleaseBody(_Body, frozen=True, kw_only=True):
    """See :meth:`~onefill.sim.exchange_desk.Desk.release_drop_copies`."""

    order: tuple[int, ...] | None = None


def routes(exchange: Exchange, clock_us: Callable[[], int]) -> list[web.RouteDef]:
    """Return what is served under :data:`~onefill.venues.exchange_wire.ADMIN`."""

    def hold(body: HoldBody) -> dict[str, int]:
        exchange.hold_drop_copies(body.account)
        return {"told": 0}

    def transfer(body: TransferBody) -> dict[str, Decimal]:
        exchange.transfer(body.account, body.instrument, body.quantity)
        return exchange.positions(body.account)

    async def trades(request: web.Request) -> web.Response:
        try:
            account = http.text(request, "account")
        except http.Malformed as problem:
            return http.malformed(problem)
        return http.ok(exchange.trades(account))

    return [
        _post("bust", BustBody, lambda body: exchange.bust(**_given(body), now_us=clock_us())),
        _post("correct", CorrectBody, lambda body: exchange.correct(**_given(body), now_us=clock_us())),
        _post("restate", RestateBody, lambda body: exchange.restate(**_given(body), now_us=clock_us())),
        _post("done-for-day", DoneForDayBody, lambda body: exchange.done_for_day(**_given(body), now_us=clock_us())),
        _post("transfer", TransferBody, transfer),
        _post("retell", RetellBody, lambda body: {"told": exchange.retell(**_given(body))}),
        _post("redeliver", RedeliverBody, lambda body: {"told": exchange.redeliver(body.account, *body.places)}),
        _post("hold-drop-copies", HoldBody, hold),
        _post("release-drop-copies", ReleaseBody, lambda body: {"told": exchange.release_drop_copies(**_given(body))}),
        web.get(f"{wire.ADMIN}/trades", trades, allow_head=False),
    ]


def _given(body: msgspec.Struct) -> dict[str, Any]:
    return msgspec.structs.asdict(body)


def _post(name: str, kind: type[Body], act: Callable[[Body], object]) -> web.RouteDef:
    decode = msgspec.json.Decoder(kind).decode

    async def handle(request: web.Request) -> web.Response:
        try:
            body = http.decoded(decode, await request.read())
        except http.Malformed as problem:
            return http.malformed(problem)
        try:
            return http.ok(act(body))
        except InvalidField as problem:
            return http.refused(400, wire.REFUSED, str(problem))

    handler: Callable[[web.Request], Awaitable[web.Response]] = handle
    return web.post(f"{wire.ADMIN}/{name}", handler)
