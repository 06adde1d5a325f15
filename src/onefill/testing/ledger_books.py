"""The facts about busts, incidents, control states and opening positions that every ledger must hold to."""

import asyncio
from decimal import Decimal
from typing import Any

import msgspec

from onefill.core import events as ev
from onefill.core import incident as incidents
from onefill.core.control import ITSELF, Control, State, moved
from onefill.core.errors import Fenced
from onefill.core.executions import totals
from onefill.core.incident import Finding, Incident, IncidentKind, Snapshot, Step, StepDone
from onefill.core.lifecycle import Status
from onefill.core.order import Order, Terms
from onefill.core.position import Execution, Kind
from onefill.ports.ledger import Change, Committed, CursorMove, ExecutionKnown, OpeningPosition, Stale
from onefill.testing.ledger_kit import (
    ACCOUNT,
    ALL,
    AT_US,
    OTHER_ROUTE,
    ROUTE,
    STRATEGY,
    STREAM,
    TEXTS,
    Bench,
    LedgerUnderTest,
    Owner,
    accepted,
    ack,
    fact,
    kinds,
)


def found(subject: str = "C1", kind: IncidentKind = IncidentKind.OVERFILL, **fields: Any) -> Finding:
    """Return something that needs an incident."""
    return Finding(kind=kind, subject=subject, summary=TEXTS[0], evidence=(TEXTS[1], "line"), **fields)


def incident(number: int = 1, subject: str = "C1", route: str = ROUTE, **fields: Any) -> Incident:
    """Return a new incident."""
    return incidents.opened(found(subject, **fields), route, number, AT_US)


async def amend(
    bench: Bench, owner: Owner, order: Order, execution_id: str, kind: Kind, refers_to: str | None, **fields: Any
) -> Change:
    """Return the change that a bust, a correction or a late trade makes."""
    row = owner.trade(execution_id, order, kind=kind, refers_to=refers_to, **fields)
    rows = (*await bench.ledger.executions_of(order.intent_id), row)
    cum, reversed_quantity = totals(rows)
    event = ev.TradeAmended(
        execution_id, kind, refers_to, row.quantity, row.price, cum, reversed_quantity, "V1", cum, live=True
    )
    return owner.move(order, event, execution=row)


class BooksFacts(LedgerUnderTest):
    """Executions that change others, and what people watch over."""

    @fact
    async def test_a_bust_and_a_correction_are_rows_of_their_own(self, bench: Bench) -> None:
        """FILL-ONCE, APPEND-ONLY: what changes an execution is recorded beside it, once, and both read back whole."""
        owner = await bench.owner()
        order = await owner.put(owner.record("k"))
        order = await owner.put(owner.fill(order, "e1", quantity=Decimal(4)))
        order = await owner.put(owner.fill(order, "e2", quantity=Decimal(3), fee=Decimal("-0.01"), fee_currency="BNB"))
        correction = await amend(bench, owner, order, "g1", Kind.CORRECT, "e1", quantity=Decimal(2))
        order = await owner.put(correction)
        order = await owner.put(await amend(bench, owner, order, "h2", Kind.BUST, "e2", quantity=Decimal(0)))
        assert (order.cum_quantity, order.reversed_quantity) == (Decimal(2), Decimal(5))
        await bench.crash()
        loaded = await bench.load("k")
        assert loaded.order == order
        assert loaded.execution_ids == {("acct", name) for name in ("e1", "e2", "g1", "h2")}
        assert loaded.referred_to == {("acct", "e1"), ("acct", "e2")}
        rows = await bench.ledger.executions_of(order.intent_id)
        assert [(row.execution_id, row.kind, row.refers_to) for row in rows] == [
            ("e1", Kind.TRADE, None),
            ("e2", Kind.TRADE, None),
            ("g1", Kind.CORRECT, "e1"),
            ("h2", Kind.BUST, "e2"),
        ]
        assert (rows[1].fee, rows[1].fee_currency) == (Decimal("-0.01"), "BNB")
        assert rows[2] == correction.execution
        assert [row for _, row in await bench.ledger.executions(ROUTE, 0, ALL)] == rows

    @fact
    async def test_a_bust_that_comes_again_is_known(self, bench: Bench) -> None:
        """FILL-ONCE: busts and corrections are deduped like executions."""
        owner = await bench.owner()
        order = await owner.put(owner.record("k"))
        order = await owner.put(owner.fill(order, "e1", quantity=Decimal(4)))
        again = await amend(bench, owner, order, "h1", Kind.BUST, "e1")
        order = await owner.put(again)
        before = await bench.all()
        repeat = owner.move(order, ev.Anomaly("again"), execution=again.execution)
        assert await owner.commit(repeat) == [ExecutionKnown("h1")]
        assert await bench.all() == before

    @fact
    async def test_executions_of_one_position(self, bench: Bench) -> None:
        """The rows of one account, strategy, route and instrument, through a place of the log and no further; no stranger's."""
        owner, other = await bench.owner(), await bench.owner(OTHER_ROUTE)
        order = await owner.put(owner.record("k"))
        elsewhere = await other.put(other.record("k2"))
        order = await owner.put(owner.fill(order, "e1"))
        await other.put(other.fill(elsewhere, "x1"))
        await owner.commit(owner.note(execution=owner.trade("stranger")))
        order = await owner.put(owner.fill(order, "e2", instrument="OTHER"))
        places = {row.execution_id: place for place, row in await bench.ledger.executions(ROUTE, 0, ALL)}
        order = await owner.put(owner.fill(order, "e3"))

        async def names(instrument: str, through: int) -> list[str]:
            rows: list[Execution] = await bench.ledger.executions_of_position(
                ACCOUNT, STRATEGY, ROUTE, instrument, through
            )
            return [row.execution_id for row in rows]

        assert await names("ACME", ALL) == ["e1", "e3"]
        assert await names("ACME", places["e2"]) == ["e1"]
        assert await names("OTHER", ALL) == ["e2"]
        assert await bench.ledger.amended_positions(ROUTE) == set()
        await owner.put(await amend(bench, owner, order, "h1", Kind.BUST, "e1"))
        assert await bench.ledger.amended_positions(ROUTE) == {(ACCOUNT, STRATEGY, ROUTE, "ACME")}

    @fact
    async def test_executions_are_found_by_name_and_those_of_strangers_together(self, bench: Bench) -> None:
        """NO-SILENT-HEAL: what a venue tells is found by scope and id, on its route only; no order's executions are listed."""
        owner, other = await bench.owner(), await bench.owner(OTHER_ROUTE)
        order = await owner.put(owner.record("k"))
        await owner.put(owner.fill(order, "e1"))
        await owner.commit(owner.note(execution=owner.trade("s1")), owner.note(execution=owner.trade("s2")))
        await other.commit(other.note(execution=other.trade("s3")))
        log = await bench.ledger.executions(ROUTE, 0, ALL)
        wanted = [("acct", "s1"), ("acct", "e1"), ("other", "e1"), ("acct", "none")]
        found = await bench.ledger.executions_named(ROUTE, wanted)
        assert found == [pair for pair in log if pair[1].execution_id in {"e1", "s1"}]
        assert await bench.ledger.executions_named(OTHER_ROUTE, wanted) == []
        assert await bench.ledger.executions_named(ROUTE, []) == []
        strangers = await bench.ledger.quarantined(ROUTE)
        assert strangers == [pair for pair in log if pair[1].execution_id in {"s1", "s2"}]

    @fact
    async def test_an_intent_that_is_refused_as_it_is_recorded(self, bench: Bench) -> None:
        """SAME-ANSWER: a refusal is durable with its answer and reason, the order is closed, and its key is taken."""
        owner = await bench.owner()
        change = owner.record("k", claimed=False)
        assert change.order is not None
        refused = owner.move(
            msgspec.structs.replace(change.order, version=0, answer=None), ev.Refused("size", TEXTS[0])
        )
        order = refused.order
        assert order is not None
        assert (order.status, order.version, order.closed) == (Status.REFUSED, 1, True)
        whole = msgspec.structs.replace(change, order=order, payload=refused.payload)
        assert kinds(await owner.commit(whole)) == [Committed]
        await bench.crash()
        assert (await bench.load("k")).order == order
        assert await bench.ledger.open_orders(ROUTE) == []

    @fact
    async def test_terms_that_the_venue_gave_by_itself(self, bench: Bench) -> None:
        """An order that was restated has its new terms after a crash, and goes on from them."""
        owner = await bench.owner()
        order = await owner.put(owner.record("k"))
        order = await owner.put(owner.move(order, accepted(), ack()))
        event = ev.Restated(1, "V1", Decimal(70), Decimal("2.75"), Decimal(0), "split")
        change = owner.move(order, event)
        assert change.order is not None
        terms = change.order.in_force
        assert terms == Terms(1, order.client_order_id, Decimal(70), Decimal("2.75"))
        row = owner.restatement(change.order)
        order = await owner.put(msgspec.structs.replace(change, replacement=row))
        await bench.crash()
        assert (await bench.load("k")).order == order

    # Incidents.

    @fact
    async def test_an_incident_goes_in_with_what_it_is_about(self, bench: Bench) -> None:
        """NO-SILENT-HEAL: an incident and the change that opened it are durable together or not at all."""
        owner = await bench.owner()
        order = await owner.put(owner.record("k"))
        made = incident()
        order = await owner.put(owner.move(order, ev.Anomaly("odd"), incidents=(made,)))
        stale = owner.move(
            msgspec.structs.replace(order, version=7), ev.Anomaly("odder"), incidents=(incident(2, "C2"),)
        )
        assert kinds(await owner.commit(stale)) == [Stale]
        await bench.crash()
        assert await bench.ledger.incidents() == [made]
        assert await bench.ledger.last_incident(ROUTE) == 1
        assert await bench.ledger.last_incident(OTHER_ROUTE) == 0

    @fact
    async def test_of_a_kind_about_a_subject_one_incident_is_open(self, bench: Bench) -> None:
        """A second one is refused while the first is open, on its route only; of another kind or subject it is not."""
        owner, other = await bench.owner(), await bench.owner(OTHER_ROUTE)
        assert kinds(await owner.commit(owner.note(incidents=(incident(),)))) == [Committed]
        results = await owner.commit(
            owner.note(incidents=(incident(2),)),
            owner.note(incidents=(incident(2, "C2"),)),
            owner.note(incidents=(incident(3, kind=IncidentKind.POSITION),)),
            other.note(incidents=(incident(1, route=OTHER_ROUTE),)),
        )
        assert kinds(results) == [Stale, Committed, Committed, Committed]
        closed = incidents.resolved(incident(), "me", "because", AT_US, force=True)
        assert kinds(await owner.commit(owner.note(incidents=(closed,)))) == [Committed]
        assert kinds(await owner.commit(owner.note(incidents=(incident(4),)))) == [Committed]
        assert [one.name for one in await bench.ledger.incidents()] == [
            f"{ROUTE}-2",
            f"{ROUTE}-3",
            f"{ROUTE}-4",
            f"{OTHER_ROUTE}-1",
        ]
        assert (await bench.ledger.incidents(open_only=False))[0] == closed

    @fact
    async def test_an_incident_changes_from_what_it_was(self, bench: Bench) -> None:
        """Evidence, snapshot and steps are kept; a change made from an older version is refused; a closed one stays closed."""
        owner = await bench.owner()
        first = incident()
        shot = incidents.with_snapshot(first, Snapshot(at_us=AT_US, positions=(TEXTS[2],), offsets={STREAM: 7}))
        done = incidents.stepped(shot, StepDone(step=Step.FREEZE, at_us=AT_US, by="me", result=TEXTS[3]))
        one_group = owner.note(incidents=(first,)), owner.note(incidents=(shot, done))
        assert kinds(await owner.commit(*one_group)) == [Committed, Committed]
        await bench.reopen()
        owner = await bench.owner()
        assert await bench.ledger.incidents() == [done]
        never_opened = incidents.with_snapshot(incident(9, "C9"), Snapshot(at_us=AT_US))
        assert kinds(await owner.commit(owner.note(incidents=(never_opened,)))) == [Stale]
        other_way = incidents.converged(shot, AT_US)
        assert other_way is not None
        assert kinds(await owner.commit(owner.note(incidents=(other_way,)))) == [Stale]
        closed = incidents.resolved(done, "me", "because", AT_US, force=True)
        assert kinds(await owner.commit(owner.note(incidents=(closed,)))) == [Committed]
        opened_again = msgspec.structs.replace(done, version=closed.version + 1)
        assert kinds(await owner.commit(owner.note(incidents=(opened_again,)))) == [Stale]
        assert await bench.ledger.incidents(open_only=False) == [closed]

    # Control states and opening positions.

    @fact
    async def test_a_control_state_is_durable(self, bench: Bench) -> None:
        """FAIL-CLOSED: a route that was put into SAFE is in SAFE after a crash; a move from an older state is refused."""
        owner = await bench.owner()
        assert await bench.ledger.control(ROUTE) is None
        degraded = moved(Control(), State.DEGRADED, TEXTS[0], ITSELF, AT_US)
        safe = moved(degraded, State.SAFE, "frozen", "me", AT_US + 1)
        results = await owner.commit(owner.note(control=degraded), owner.note(control=safe))
        assert kinds(results) == [Committed, Committed]
        await bench.crash()
        owner = await bench.owner()
        assert await bench.ledger.control(ROUTE) == safe
        assert await bench.ledger.control(OTHER_ROUTE) is None
        late = moved(degraded, State.NORMAL, "calm", ITSELF, AT_US + 2)
        assert kinds(await owner.commit(owner.note(control=late))) == [Stale]
        assert await bench.ledger.control(ROUTE) == safe

    @fact
    async def test_only_the_owner_moves_it(self, bench: Bench) -> None:
        """ONE-WRITER: an earlier owner moves no control state and opens no incident."""
        first = await bench.owner()
        await bench.owner(holder="second")
        safe = moved(Control(), State.SAFE, "frozen", "me", AT_US)
        results = await first.commit(first.note(control=safe), first.note(incidents=(incident(),)))
        assert kinds(results) == [Fenced, Fenced]
        assert await bench.ledger.control(ROUTE) is None
        assert await bench.ledger.incidents() == []

    @fact
    async def test_an_opening_position_is_recorded_once(self, bench: Bench) -> None:
        """What an account held before the first order is kept, per account and instrument; of several words the last counts,
        and none is written over.
        """
        owner = await bench.owner()
        held = OpeningPosition(account=ACCOUNT, instrument="ACME", quantity=Decimal("-3.50"))
        more = OpeningPosition(account=ACCOUNT, instrument="OTHER", quantity=Decimal(0))
        assert kinds(await owner.commit(owner.note(opening=(held, more)))) == [Committed]
        again = msgspec.structs.replace(held, quantity=Decimal(1))
        assert kinds(await owner.commit(owner.note(opening=(again,)))) == [Stale]
        await bench.crash()
        assert await bench.ledger.opening_positions(ROUTE) == [held, more]
        owner = await bench.owner()
        later = msgspec.structs.replace(held, quantity=Decimal(10), number=2)
        assert kinds(await owner.commit(owner.note(opening=(later,)))) == [Committed]
        assert kinds(await owner.commit(owner.note(opening=(held,)))) == [Stale]
        assert await bench.ledger.opening_positions(ROUTE) == [later, more]
        assert await bench.ledger.opening_positions(OTHER_ROUTE) == []

    @fact
    async def test_two_streams_have_cursors_of_their_own(self, bench: Bench) -> None:
        """FILL-ONCE: a drop copy's place moves without the venue's own stream, and one execution by both is applied once."""
        owner = await bench.owner()
        order = await owner.put(owner.record("k"))
        first = owner.fill(order, "e1", CursorMove(STREAM, 0, 5))
        order = await owner.put(first)
        repeat = owner.move(order, ev.Anomaly("x"), execution=first.execution, cursor=CursorMove("drop_copy", 0, 1))
        assert await owner.commit(repeat) == [ExecutionKnown("e1")]
        assert await bench.ledger.cursor(ROUTE, "drop_copy") == 0
        await asyncio.gather(bench.ledger.move_cursor(ROUTE, owner.lease.epoch, CursorMove("drop_copy", 0, 1)))
        cursors = [await bench.ledger.cursor(ROUTE, stream) for stream in (STREAM, "drop_copy")]
        assert cursors == [5, 1]
