"""Adapters that break one promise each, around one that keeps them all."""

import contextlib
import itertools
from collections.abc import AsyncGenerator
from decimal import Decimal
from typing import Any

import msgspec

from onefill.core.errors import VenueError
from onefill.core.messages import (
    Accepted,
    Canceled,
    CancelRejected,
    CancelReply,
    CancelRequest,
    DuplicateId,
    ExecutionReport,
    Found,
    Held,
    Holdings,
    Listed,
    LookupReply,
    NotFound,
    NotSent,
    PositionsReply,
    Rejected,
    Replaced,
    ReplaceReply,
    ReplaceRequest,
    ScanReply,
    SubmitReply,
    SubmitRequest,
    Unknown,
)
from onefill.core.values import TimeInForce

change = msgspec.structs.replace


class Whole:
    """Passes everything on."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


# New orders.


class SendsTwice(Whole):
    async def submit(self, request: SubmitRequest) -> SubmitReply:
        first: SubmitReply = await self.inner.submit(request)
        await self.inner.submit(request)
        return first


class Rounds(Whole):
    async def submit(self, request: SubmitRequest) -> SubmitReply:
        rounded = change(request, quantity=request.quantity.quantize(Decimal("0.001")))
        reply: SubmitReply = await self.inner.submit(rounded)
        return Accepted(change(reply.order, quantity=request.quantity)) if isinstance(reply, Accepted) else reply


class CutsIds(Whole):
    async def submit(self, request: SubmitRequest) -> SubmitReply:
        reply: SubmitReply = await self.inner.submit(change(request, client_order_id=request.client_order_id[:24]))
        if isinstance(reply, Accepted):
            return Accepted(change(reply.order, client_order_id=request.client_order_id))
        return reply


class ForgetsTimeInForce(Whole):
    async def submit(self, request: SubmitRequest) -> SubmitReply:
        reply: SubmitReply = await self.inner.submit(change(request, time_in_force=TimeInForce.GTC))
        return reply


class HasNoWords(Whole):
    async def submit(self, request: SubmitRequest) -> SubmitReply:
        reply: SubmitReply = await self.inner.submit(request)
        return Rejected("") if isinstance(reply, Rejected) else reply


class IgnoresAccounts(Whole):
    async def submit(self, request: SubmitRequest) -> SubmitReply:
        reply: SubmitReply = await self.inner.submit(change(request, account="main"))
        return reply


class ForgetsExpiry(Whole):
    async def submit(self, request: SubmitRequest) -> SubmitReply:
        reply: SubmitReply = await self.inner.submit(change(request, expires_at_us=None))
        return reply

    async def replace(self, request: ReplaceRequest) -> ReplaceReply:
        reply: ReplaceReply = await self.inner.replace(change(request, expires_at_us=None))
        return reply


class CallsDuplicatesRejected(Whole):
    async def submit(self, request: SubmitRequest) -> SubmitReply:
        reply: SubmitReply = await self.inner.submit(request)
        return Rejected(reply.reason) if isinstance(reply, DuplicateId) else reply


# What is lost.


class CallsTheUnknownRejected(Whole):
    async def submit(self, request: SubmitRequest) -> SubmitReply:
        reply: SubmitReply = await self.inner.submit(request)
        return Rejected(reply.reason) if isinstance(reply, Unknown) else reply

    async def cancel(self, request: CancelRequest) -> CancelReply:
        reply: CancelReply = await self.inner.cancel(request)
        return CancelRejected(reply.reason) if isinstance(reply, Unknown) else reply

    async def replace(self, request: ReplaceRequest) -> ReplaceReply:
        reply: ReplaceReply = await self.inner.replace(request)
        return NotSent(reply.reason) if isinstance(reply, Unknown) else reply


class Resends(Whole):
    async def submit(self, request: SubmitRequest) -> SubmitReply:
        try:
            reply: SubmitReply = await self.inner.submit(request)
        except ConnectionError as problem:
            reply = Unknown(str(problem))
        if isinstance(reply, Unknown):
            await self.inner.submit(request)
        return reply


class DoubtsEverything(Whole):
    async def submit(self, request: SubmitRequest) -> SubmitReply:
        reply: SubmitReply = await self.inner.submit(request)
        return Unknown(reply.reason) if isinstance(reply, NotSent) else reply


class StartsAnyway(Whole):
    async def start(self) -> None:
        with contextlib.suppress(VenueError):
            await self.inner.start()


class NeverCloses(Whole):
    async def close(self) -> None:
        return


# Questions.


class NamesItselfAnew(Whole):
    _numbers = itertools.count()

    @property
    def identity(self) -> str:
        return f"venue {next(self._numbers)}"


class FindsAnything(Whole):
    async def lookup(self, client_order_id: str, account: str, instrument: str) -> LookupReply:
        reply: LookupReply = await self.inner.lookup(client_order_id, account, instrument)
        listed: ScanReply = await self.inner.scan(account, instrument, 0)
        return Found(listed.orders[-1]) if isinstance(reply, NotFound) and isinstance(listed, Listed) else reply


class ForgetsTheDead(Whole):
    async def lookup(self, client_order_id: str, account: str, instrument: str) -> LookupReply:
        reply: LookupReply = await self.inner.lookup(client_order_id, account, instrument)
        if isinstance(reply, Found) and reply.order.status in ("filled", "canceled"):
            return NotFound("it is not open")
        return reply


class ShowsTheFirstLook(Whole):
    _seen: dict[str, LookupReply]

    async def submit(self, request: SubmitRequest) -> SubmitReply:
        reply: SubmitReply = await self.inner.submit(request)
        seen: dict[str, LookupReply] = self.__dict__.setdefault("_seen", {})
        seen[request.client_order_id] = Found(reply.order) if isinstance(reply, Accepted) else NotFound("?")
        return reply

    async def lookup(self, client_order_id: str, account: str, instrument: str) -> LookupReply:
        if client_order_id in self.__dict__.get("_seen", {}):
            return self._seen[client_order_id]
        reply: LookupReply = await self.inner.lookup(client_order_id, account, instrument)
        return reply


class ListsAPage(Whole):
    async def open_orders(self, account: str) -> ScanReply:
        reply: ScanReply = await self.inner.open_orders(account)
        return Listed(reply.orders[:1]) if isinstance(reply, Listed) else reply


class CountsInFloats(Whole):
    async def positions(self, account: str) -> PositionsReply:
        reply: PositionsReply = await self.inner.positions(account)
        if not isinstance(reply, Holdings):
            return reply
        return Holdings(
            tuple(Held(instrument=one.instrument, quantity=Decimal(float(one.quantity))) for one in reply.positions)
        )


# Cancels and replaces.


class CancelsTwice(Whole):
    async def cancel(self, request: CancelRequest) -> CancelReply:
        first: CancelReply = await self.inner.cancel(request)
        await self.inner.cancel(request)
        return first


class NeedsNumbers(Whole):
    async def cancel(self, request: CancelRequest) -> CancelReply:
        if request.venue_order_id is None:
            return CancelRejected("by number only")
        reply: CancelReply = await self.inner.cancel(request)
        return reply


class ForgetsWhatTraded(Whole):
    async def cancel(self, request: CancelRequest) -> CancelReply:
        reply: CancelReply = await self.inner.cancel(request)
        return Canceled(change(reply.order, cum_quantity=Decimal(0))) if isinstance(reply, Canceled) else reply


class TakesDeadForCancelled(Whole):
    async def cancel(self, request: CancelRequest) -> CancelReply:
        reply: CancelReply = await self.inner.cancel(request)
        if isinstance(reply, CancelRejected) and reply.order is not None:
            return Canceled(reply.order)
        return reply


class RaisesOnCancels(Whole):
    async def cancel(self, request: CancelRequest) -> CancelReply:
        reply: CancelReply = await self.inner.cancel(request)
        if isinstance(reply, CancelRejected):
            raise LookupError(reply.reason)
        return reply


class PretendsToReplace(Whole):
    async def replace(self, request: ReplaceRequest) -> ReplaceReply:
        reply: LookupReply = await self.inner.lookup(request.orig_client_order_id, request.account, request.instrument)
        assert isinstance(reply, Found)
        return Replaced(change(reply.order, quantity=request.quantity, price=request.price))


class ReplacesTheRest(Whole):
    async def replace(self, request: ReplaceRequest) -> ReplaceReply:
        reply: LookupReply = await self.inner.lookup(request.orig_client_order_id, request.account, request.instrument)
        done = reply.order.cum_quantity if isinstance(reply, Found) else Decimal(0)
        more: ReplaceReply = await self.inner.replace(change(request, quantity=request.quantity + done))
        return Replaced(change(more.order, quantity=request.quantity)) if isinstance(more, Replaced) else more


class ReplacesTheDead(Whole):
    async def replace(self, request: ReplaceRequest) -> ReplaceReply:
        reply: ReplaceReply = await self.inner.replace(request)
        if isinstance(reply, Replaced):
            return reply
        anew = SubmitRequest(
            client_order_id=request.client_order_id + "-1",
            account=request.account,
            instrument=request.instrument,
            side=request.side,
            quantity=request.quantity,
            order_type=request.order_type,
            price=request.price,
            time_in_force=request.time_in_force,
            expires_at_us=request.expires_at_us,
        )
        await self.inner.submit(anew)
        return reply


# The stream.


class _Retold(Whole):
    def told(self, report: ExecutionReport) -> ExecutionReport | None:
        return report

    async def executions(self, after: int) -> list[ExecutionReport]:
        page: list[ExecutionReport] = await self.inner.executions(after)
        return [one for one in map(self.told, page) if one is not None]


class RoundsPrices(_Retold):
    def told(self, report: ExecutionReport) -> ExecutionReport | None:
        return report if report.last_price is None else change(report, last_price=Decimal(float(report.last_price)))


class NamesAnew(_Retold):
    _numbers = itertools.count()

    def told(self, report: ExecutionReport) -> ExecutionReport | None:
        return change(report, execution_id=f"trade-{next(self._numbers)}")


class SkipsOne(Whole):
    async def executions(self, after: int) -> list[ExecutionReport]:
        page: list[ExecutionReport] = await self.inner.executions(after + 1 if after else 0)
        return [change(one, position=one.position - 1) for one in page] if after else page


class TellsThePastOnly(Whole):
    async def stream(self, after: int) -> AsyncGenerator[ExecutionReport, None]:
        for report in await self.inner.executions(after):
            yield report
        async for _ in self.inner.stream(1 << 60):
            raise AssertionError


class BeginsAnewNow(Whole):
    _last = 0

    async def stream(self, after: int) -> AsyncGenerator[ExecutionReport, None]:
        everything = await self.inner.executions(0)
        now = after if not self._last else max([one.position for one in everything], default=after)
        self._last = 1
        async for report in self.inner.stream(now):
            yield report


class CopiesUnderOtherIds(Whole):
    async def drop_copies(self, after: int) -> list[ExecutionReport]:
        page: list[ExecutionReport] = await self.inner.drop_copies(after)
        return [change(one, execution_id=f"copy of {one.execution_id}") for one in page]
