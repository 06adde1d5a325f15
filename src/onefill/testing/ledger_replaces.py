"""The facts about replaces, and about resolving and parking orders, that every ledger must hold to."""

from decimal import Decimal

import msgspec

from onefill.core import events as ev
from onefill.core.answers import cancel_answer, replace_answer, replace_of_unknown_key_answer
from onefill.core.errors import InvariantBroken
from onefill.core.events import CopyOutcome, Event, Source, Verdict
from onefill.core.lifecycle import Status
from onefill.core.messages import VenueStatus
from onefill.core.order import Order
from onefill.ports.ledger import (
    Change,
    ClientOrderIdTaken,
    Committed,
    Loaded,
    OperationTaken,
    ReplacementChange,
    RequestKind,
    Stale,
    VenueOrderTaken,
)
from onefill.testing.ledger_histories import HistoryFacts
from onefill.testing.ledger_kit import (
    ACCOUNT,
    AT_US,
    NUMBERS,
    OTHER_ROUTE,
    ROUTE,
    STRATEGY,
    TEXTS,
    Bench,
    Owner,
    accepted,
    ack,
    canceled,
    fact,
    kinds,
    latest,
    replaced,
    wanted,
)

_with = msgspec.structs.replace


async def working(owner: Owner, key: str, number: str = "V1") -> Order:
    """Return an order that is at the venue, under this number there."""
    order = await owner.put(owner.record(key, client_order_id=f"{key}-1"))
    return await owner.put(owner.move(order, accepted(), ack(number)))


def settled(number: int, outcome: CopyOutcome) -> ev.ReplaceSettled:
    """Return what came of a copy of a replace."""
    return ev.ReplaceSettled(number, outcome, "so it was said")


class ReplaceFacts(HistoryFacts):
    """Replaces, and the claims, ids and operations that go with them."""

    @fact
    async def test_a_replace_comes_back_in_every_state(self, bench: Bench) -> None:
        """Wanted, claimed, doubtful, replaced, refused, overtaken by the order's end: an order reads back as it was written."""
        owner = await bench.owner()
        order = await working(owner, "k")
        steps: list[tuple[Event, ...]] = [
            (wanted(order, "k-2", quantity="70", price="2.75", operation_key="op"),),
            (ev.ReplaceClaimed(1, AT_US + 5, AT_US + 7),),
            (settled(1, CopyOutcome.UNKNOWN),),
            (ev.ReplaceClaimed(2, None, None), ev.Parked("nobody can tell")),
            (ev.Superseded(Source.LOOKUP, "V1", Decimal("7.5")),),
            (
                settled(2, CopyOutcome.ACCEPTED),
                ev.Replaced(Source.REPLY, "k-2", "V2", Decimal(70), Decimal("2.75"), Decimal(8)),
            ),
            (ev.ReplaceRecorded(2, "k-2", Decimal(60), None, AT_US + 9, None), ev.ReplaceClaimed(3, None, AT_US + 8)),
            (settled(3, CopyOutcome.TOO_LATE), ev.ReplaceRefused("too late")),
            (ev.ReplaceRecorded(3, "k-2", Decimal(65), Decimal(2), AT_US + 9, "op3"),),
            (ev.ReplaceClaimed(4, None, None),),
            (
                settled(4, CopyOutcome.ACCEPTED),
                ev.Replaced(Source.STREAM, "k-2", "V2", Decimal(65), Decimal(2), Decimal(8)),
            ),
            (ev.ReplaceRecorded(4, "k-5", Decimal(55), Decimal(3), AT_US + 9, None),),
            (ev.CancelRecorded(None), ev.ReplaceClaimed(5, None, None), ev.CancelClaimed(1)),
            (settled(1, CopyOutcome.REJECTED),),
            (canceled(Decimal(8)),),
            (settled(5, CopyOutcome.NOT_SENT),),
        ]
        for events in steps:
            order = await owner.put(owner.move(order, *events))
            loaded = await bench.load("k")
            assert loaded.order == order, events
            assert await bench.ledger.by_client_order_id(ROUTE, "k-1") == loaded
        assert (order.live_id, order.quantity, order.replacements, order.replace_copies) == ("k-2", Decimal(65), 4, 5)
        assert order.strays == ()
        await bench.crash()
        assert (await bench.load("k")).order == order

    @fact
    async def test_copies_of_an_earlier_replace_are_kept(self, bench: Bench) -> None:
        """A copy whose replace is over, and that may still reach the venue, reads back as such until its outcome is known."""
        owner = await bench.owner()
        order = await working(owner, "k")
        for number in (1, 2):
            claims = (ev.ReplaceClaimed(2 * number - 1, None, AT_US), settled(2 * number - 1, CopyOutcome.UNKNOWN))
            order = await owner.put(
                owner.move(order, wanted(order), *claims, ev.ReplaceClaimed(2 * number, None, AT_US))
            )
            order = await owner.put(owner.move(order, ev.ReplaceRefused("come to nothing")))
        order = await owner.put(owner.move(order, wanted(order, quantity="40"), ev.ReplaceClaimed(5, None, None)))
        for number, left in ((3, [1, 2, 4]), (2, [1, 4]), (5, [1, 4]), (4, [1]), (1, [])):
            order = await owner.put(owner.move(order, settled(number, CopyOutcome.TOO_LATE)))
            assert [copy.number for copy in order.strays] == left
            assert (await bench.load("k")).order == order
        order = await owner.put(owner.move(order, settled(5, CopyOutcome.ACCEPTED), replaced(order)))
        await bench.crash()
        assert (await bench.load("k")).order == order

    @fact
    async def test_every_id_of_an_order_finds_it(self, bench: Bench) -> None:
        """An order is found by its first id and by every id that a replace was to give it, whatever became of that replace."""
        owner, other = await bench.owner(), await bench.owner(OTHER_ROUTE)
        order = await working(owner, "k")
        stranger = await working(other, "k2")
        await other.put(
            other.move(stranger, wanted(stranger, "k-2"))
        )  # the same id on another route is another order's
        order = await owner.put(owner.move(order, wanted(order, "k-2"), ev.ReplaceClaimed(1, None, None)))
        order = await owner.put(owner.move(order, replaced(order)))
        order = await owner.put(owner.move(order, wanted(order, "k-3"), ev.ReplaceRefused("no")))
        order = await owner.put(owner.move(order, wanted(order, "k-4")))
        await bench.reopen()
        for client_order_id in ("k-1", "k-2", "k-3", "k-4"):
            loaded = await bench.ledger.by_client_order_id(ROUTE, client_order_id)
            assert loaded is not None, client_order_id
            assert loaded.order == order
        elsewhere = await bench.ledger.by_client_order_id(OTHER_ROUTE, "k-2")
        assert elsewhere is not None
        assert elsewhere.order.key == "k2"
        assert await bench.ledger.by_client_order_id(ROUTE, "k2-1") is None
        assert await bench.ledger.by_client_order_id(OTHER_ROUTE, "k-3") is None

    @fact
    async def test_a_page_shows_what_is_in_force(self, bench: Bench) -> None:
        """Orders read in pages show the quantity, price and client order id that their last replace gave them."""
        owner = await bench.owner()
        plain = await working(owner, "plain")
        order = await working(owner, "k")
        order = await owner.put(owner.move(order, wanted(order, "k-2"), ev.ReplaceClaimed(1, None, None)))
        order = await owner.put(owner.move(order, replaced(order)))
        order = await owner.put(owner.move(order, wanted(order)))
        shown = await bench.ledger.orders(0, 10)
        expected = [(o.live_id, o.quantity, o.price, o.in_force, o.replacement, o.replacements) for o in (plain, order)]
        assert [(o.live_id, o.quantity, o.price, o.in_force, o.replacement, o.replacements) for o in shown] == expected

    # Ids.

    @fact
    async def test_a_replace_cannot_take_an_orders_id(self, bench: Bench) -> None:
        """SAME-ID: a replace that would give an order the id of another, or of another's replace, is refused whole."""
        owner, other = await bench.owner(), await bench.owner(OTHER_ROUTE)
        one, two = await working(owner, "one"), await working(owner, "two")
        await working(other, "three")
        one = await owner.put(owner.move(one, wanted(one, "one-2"), ev.ReplaceRefused("no")))
        before = await bench.all()
        for taken in ("one-1", "one-2", "two-1"):
            refused = owner.move(two, wanted(two, taken), ev.ReplaceClaimed(1, None, None))
            refused = _with(refused, replacement=_with(_replacement(refused), new_id=True))
            assert await owner.commit(refused) == [ClientOrderIdTaken(taken)]
            assert await bench.all() == before
        results = await owner.commit(
            owner.fill(one, "e1"), owner.move(two, wanted(two, "one-2")), owner.record("beside", client_order_id="new")
        )
        assert kinds(results) == [Committed, ClientOrderIdTaken, Committed]
        two = await owner.put(owner.move(two, wanted(two, "three-1")))  # another route's: it may have it
        assert (await bench.load("two")).order == two

    @fact
    async def test_an_order_cannot_take_a_replaces_id(self, bench: Bench) -> None:
        """SAME-ID: a new intent with an id that a replace was to give an order is refused, alone or among others."""
        owner, other = await bench.owner(), await bench.owner(OTHER_ROUTE)
        order = await working(owner, "k")
        wish = owner.move(order, wanted(order, "k-2"))
        together = await owner.commit(wish, owner.record("at once", client_order_id="k-2"))
        assert together[1] == ClientOrderIdTaken("k-2")
        assert kinds(together) == [Committed, ClientOrderIdTaken]
        before = await bench.all()
        assert await owner.commit(owner.record("k2", client_order_id="k-2")) == [ClientOrderIdTaken("k-2")]
        assert await bench.all() == before
        changes = [owner.record(f"n{n}", client_order_id="k-2" if n == 3 else None) for n in range(7)]
        results = await owner.commit(*changes, other.record("other", client_order_id="k-2"))
        assert kinds(results) == [*[Committed] * 3, ClientOrderIdTaken, *[Committed] * 4]
        assert await bench.ledger.by_key(ACCOUNT, STRATEGY, "n3") is None
        assert (await bench.load("n6")).order == changes[6].order

    @fact
    async def test_texts_and_numbers_of_a_replace_survive(self, bench: Bench) -> None:
        """Ids, keys, quantities and prices of a replace come back as they went in, to the digit."""
        owner = await bench.owner()
        for n, text in enumerate(TEXTS):
            order = await working(owner, f"k{n}")
            order = await owner.put(owner.move(order, wanted(order, text, operation_key=text)))
            assert (await bench.load(f"k{n}")).order == order
        for number in NUMBERS:
            order = await working(owner, number)
            asked = wanted(order, quantity=number, price=number)
            order = await owner.put(owner.move(order, asked, ev.ReplaceClaimed(1, None, None)))
            order = await owner.put(owner.move(order, replaced(order)))
            loaded = (await bench.load(number)).order
            assert loaded == order
            for found in (loaded.quantity, loaded.price):
                assert found is not None
                assert found.compare(Decimal(number)) == 0

    # Races.

    @fact
    async def test_one_replace_is_open_at_a_time(self, bench: Bench) -> None:
        """A second replace of an order is refused while one is open, even by somebody whose version is right."""
        owner = await bench.owner()
        order = await working(owner, "k")
        order = await owner.put(owner.move(order, wanted(order, "k-2")))
        before = await bench.all()
        second = owner.move(_with(order, replacement=None), wanted(order, "k-3"))
        assert kinds(await owner.commit(second, owner.note())) == [Stale, Committed]
        assert (await bench.all())["orders"] == before["orders"]
        changes = [owner.move(order, ev.ReplaceRefused("no"))]
        for number in range(1, 20):
            changes.append(owner.move(latest(changes), wanted(latest(changes)), ev.ReplaceClaimed(number, None, None)))
            changes.append(owner.move(latest(changes), replaced(latest(changes))))
        assert set(kinds(await owner.commit(*changes))) == {Committed}
        assert (await bench.load("k")).order == latest(changes)

    @fact
    async def test_a_replace_that_is_over_does_not_change(self, bench: Bench) -> None:
        """Nothing makes a replace that has its end open again, or gives it another end."""
        owner = await bench.owner()
        order = await working(owner, "k")
        wish = owner.move(order, wanted(order, "k-2"), ev.ReplaceClaimed(1, None, None))
        order = await owner.put(wish)
        order = await owner.put(owner.move(order, replaced(order)))
        over = _replacement(wish)
        for again in (over, _with(over, outcome="refused"), _with(over, outcome="replaced")):
            before = await bench.all()
            assert kinds(await owner.commit(_with(owner.move(order, ack("V3")), replacement=again))) == [Stale]
            assert await bench.all() == before

    @fact
    async def test_claims_of_each_kind_are_numbered_apart(self, bench: Bench) -> None:
        """Copies of an order, of its cancels and of its replaces have numbers of their own, and each is claimed once."""
        owner = await bench.owner()
        order = await owner.put(owner.record("k", claimed=False))
        claims: list[tuple[Event, ...]] = [
            (ev.Claimed(1, AT_US + 1, AT_US + 2),),
            (accepted(), ack(), wanted(order, "k-2"), ev.ReplaceClaimed(1, AT_US + 3, AT_US + 4)),
            (ev.ReplaceClaimed(2, None, AT_US + 6),),
            (ev.CancelRecorded(None), ev.CancelClaimed(1)),
        ]
        for events in claims:
            change = owner.move(order, *events)
            order = await owner.put(change)
            assert (await bench.load("k")).order == order
            before = await bench.all()
            repeat = _with(order, version=order.version + 1)
            assert kinds(await owner.commit(_with(change, order=repeat, replacement=None))) == [Stale]
            assert await bench.all() == before
        assert [len(order.copies), len(order.cancels), order.replace_copies] == [1, 1, 2]

    # Operations.

    @fact
    async def test_an_operation_may_be_a_replace(self, bench: Bench) -> None:
        """SAME-ANSWER: a replace under a key of its own keeps what it wants, waits with its order and is answered once."""
        owner = await bench.owner()
        order = await working(owner, "k")
        asked = owner.operation(order, "op", kind=RequestKind.REPLACE, quantity=Decimal("50.0"), price=Decimal("1E-8"))
        cancel = owner.operation(order, "other op")
        opened = owner.move(order, wanted(order, "k-2", operation_key="op"), opened=(asked, cancel))
        order = await owner.put(_with(opened, claims=()))
        assert set((await bench.load("k")).operations) == {asked, cancel}
        later = _with(asked, quantity=None, price=None, kind=RequestKind.CANCEL)
        assert await owner.commit(owner.note(opened=(later,))) == [OperationTaken(asked)]
        ended = owner.move(order, canceled())
        answered = _with(asked, answer=replace_answer(latest([ended]), AT_US, done=False, changed=False))
        gone = _with(cancel, answer=cancel_answer(latest([ended]), AT_US, changed=True))
        order = await owner.put(_with(ended, answered=(answered, gone)))
        market = owner.operation(
            None,
            "op",
            key="unknown",
            kind=RequestKind.REPLACE,
            quantity=Decimal(7),
            answer=replace_of_unknown_key_answer("unknown", AT_US),
        )
        assert kinds(await owner.commit(owner.note(opened=(market,)))) == [Committed]
        await bench.crash()
        for operation in (answered, gone, market):
            found = await bench.ledger.operation(ACCOUNT, STRATEGY, operation.key, operation.operation_key)
            assert found == operation
        assert await bench.load("k") == Loaded(order=order, execution_ids=frozenset(), operations=())

    # A person's word.

    @fact
    async def test_a_venues_order_is_adopted_by_one_order(self, bench: Bench) -> None:
        """ONE-ORDER: a venue's order number that another order of the route has cannot be given to a second one."""
        owner, other = await bench.owner(), await bench.owner(OTHER_ROUTE)
        await working(owner, "known", "V7")
        await working(other, "elsewhere", "V8")
        order = await owner.put(owner.record("k"))
        order = await owner.put(owner.move(order, ev.OutcomeUnknown(1, "timed out")))
        before = await bench.all()
        assert await owner.commit(adoption(owner, order, "V7")) == [VenueOrderTaken("known-1")]
        assert await bench.all() == before
        order = await owner.put(adoption(owner, order, "V8"))
        assert (await bench.load("k")).order == order
        order = await owner.put(_with(owner.move(order, ev.Anomaly("odd")), adopts="V8"))  # its own already

    @fact
    async def test_adopting_sees_what_was_handed_in_before(self, bench: Bench) -> None:
        """Of two orders that are given one number of the venue's in the same moment, the first gets it."""
        owner = await bench.owner()
        orders = []
        for key in ("a", "b", "c"):
            order = await owner.put(owner.record(key, client_order_id=f"{key}-1"))
            orders.append(await owner.put(owner.move(order, ev.OutcomeUnknown(1, "timed out"))))
        told = owner.move(orders[0], accepted(), ack("V1"))
        adopting = [adoption(owner, order, number) for order, number in zip(orders[1:], ("V1", "V2"), strict=True)]
        results = await owner.commit(owner.note(), told, *adopting, owner.note())
        assert results[2] == VenueOrderTaken("a-1")
        assert kinds(results) == [Committed, Committed, VenueOrderTaken, Committed, Committed]
        results = await owner.commit(owner.note(), adoption(owner, orders[1], "V2"), owner.note())
        assert results[1] == VenueOrderTaken("c-1")
        assert (await bench.load("b")).order == orders[1]

    @fact
    async def test_an_order_may_wait_for_a_person_in_any_open_state(self, bench: Bench) -> None:
        """An order is parked wherever its fate can be unknown: not while a reply is awaited, nor when it is over."""
        owner = await bench.owner()
        park = ev.Parked("nobody can tell")
        pending = ev.Acknowledged("V1", VenueStatus.PENDING_NEW, Decimal(0), Source.REPLY)
        asked = ev.ReplaceRecorded(1, "r", Decimal(50), None, AT_US + 9, None)
        paths: dict[Status, tuple[Event, ...]] = {
            Status.UNCERTAIN: (ev.OutcomeUnknown(1, "timed out"),),
            Status.RECORDED: (ev.CopySettled(1, CopyOutcome.NOT_SENT, "no"),),
            Status.PENDING_NEW: (pending,),
            Status.NEW: (ack(),),
            Status.PENDING_REPLACE: (ack(), asked, ev.ReplaceClaimed(1, None, None)),
            Status.PENDING_CANCEL: (pending, ev.CancelRecorded(None), ev.CancelClaimed(1)),  # not answered yet
        }
        for status, events in paths.items():
            order = await owner.put(owner.record(status))
            order = await owner.put(owner.move(order, *events, park))
            assert (order.status, order.parked) == (status, True)
            assert (await bench.load(status)).order == order
        order = await owner.put(owner.record("traded"))
        order = await owner.put(owner.fill(order, "e1"))
        order = await owner.put(owner.move(order, park))
        assert (order.status, order.parked) == (Status.PARTIALLY_FILLED, True)
        assert (await bench.load("traded")).order == order
        for status in (Status.SENDING, Status.FILLED, Status.CANCELED, Status.EXPIRED_UNSENT):
            change = owner.move(order, ev.Anomaly("odd"))
            broken = _with(change, order=_with(latest([change]), status=status))
            assert kinds(await owner.commit(broken)) == [InvariantBroken]

    @fact
    async def test_rows_of_replaces_that_break_the_rules_are_refused(self, bench: Bench) -> None:
        """An impossible number, end or kind of a replace or its copy never gets in; the group's other changes do."""
        owner = await bench.owner()
        order = await working(owner, "k")
        good = owner.move(order, wanted(order, "k-2"), ev.ReplaceClaimed(1, None, None))
        row, claim = _replacement(good), good.claims[0]
        wrong = [
            _with(good, replacement=_with(row, outcome="maybe")),
            _with(good, replacement=_with(row, replacement=_with(row.replacement, number=0))),
            _with(good, replacement=_with(row, replacement=_with(row.replacement, copies_before=-1))),
            _with(good, claims=(_with(claim, copy=_with(claim.copy, number=0)),)),
            _with(good, order=_with(latest([good]), answer=None)),
            _with(good, opened=(owner.operation(order, "op", quantity=Decimal(1)),)),  # a cancel with a quantity
        ]
        before = await bench.all()
        for number, broken in enumerate(wrong):
            results = await owner.commit(broken, owner.note())
            assert kinds(results) == [InvariantBroken, Committed], number
            assert (await bench.all())["orders"] == before["orders"]
        await owner.put(good)


def adoption(owner: Owner, order: Order, number: str) -> Change:
    """Return the change by which a person gives an order a venue's order number."""
    said = ev.Resolved(Verdict.ADOPT, "ann", "seen in the venue's own list", number)
    seen = ev.Acknowledged(number, VenueStatus.NEW, order.venue_cum_quantity, Source.PERSON)
    return owner.move(order, said, seen, adopts=number)


def _replacement(change: Change) -> ReplacementChange:
    assert change.replacement is not None
    return change.replacement
