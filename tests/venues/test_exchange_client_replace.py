"""Replace, scan and overridden capabilities of the exchange adapter."""

import asyncio
from decimal import Decimal
from typing import Any

import pytest
from venue_kit import (
    DIALECT_ANSWER,
    NOON_US,
    OddServer,
    cancel,
    connected,
    http,
    order,
    replace,
    run,
    serving,
    shown,
)

from onefill.core.capabilities import Capabilities, DuplicateReply, Lookup, ReplaceStyle, UniqueScope
from onefill.core.errors import InvalidField
from onefill.core.identity import IdFormat
from onefill.core.messages import (
    CancelRejected,
    ExecutionKind,
    Found,
    Listed,
    Replaced,
    ReplaceRejected,
    Throttled,
    TooLate,
    Unknown,
    VenueStatus,
)
from onefill.core.values import Side
from onefill.ports.venue import Venue
from onefill.sim.dialect import Dialect, capabilities_of
from onefill.venues.exchange_client import ExchangeVenue


class TestAgainstTheRealServer:
    def test_an_order_that_keeps_its_id_is_replaced_as_in_the_exchange(self) -> None:
        """KEEP over HTTP: the reply and the report are the exchange's own, exactly; a repeat is answered alike."""

        async def scenario() -> None:
            async with serving() as (exchange, url), connected(url) as client:
                venue: Venue = client
                await venue.submit(order("x"))
                reply = await venue.replace(replace("x", "2.5", "9.95"))
                assert reply == Replaced(exchange.open_orders("A")[0])
                assert (reply.order.quantity, reply.order.price) == (Decimal("2.5"), Decimal("9.95"))
                assert await venue.replace(replace("x", "2.5", "9.95", venue_order_id="X1")) == reply
                assert await venue.executions(1) == exchange.executions("A", 1)
                assert [report.kind for report in await venue.executions(1)] == [ExecutionKind.REPLACED]

        run(scenario)

    def test_an_order_that_changes_its_id_goes_on_under_the_new_one(self) -> None:
        """NEW_ID over HTTP: the new order is shown, the repeat refused with the original, both can be looked up."""

        async def scenario() -> None:
            async with serving(replace=ReplaceStyle.NEW_ID) as (exchange, url), connected(url) as venue:
                await venue.submit(order("x"))
                request = replace("x", 2, 10, "y", venue_order_id="X1")
                reply = await venue.replace(request)
                assert reply == Replaced(exchange.open_orders("A")[0])
                old = await venue.lookup("x", "A", "ACME")
                assert isinstance(old, Found)
                assert await venue.replace(request) == ReplaceRejected("order is already replaced", old.order)
                refused = await venue.cancel(cancel("x"))
                assert refused == CancelRejected("order is already replaced", old.order)
                assert await venue.scan("A", "ACME", NOON_US) == Listed((old.order, reply.order))
                assert await venue.scan("A", "ACME", NOON_US + 1) == Listed((reply.order,))

        run(scenario)

    def test_each_refusal_of_a_replace_arrives_as_itself(self) -> None:
        """Refused with or without the order, TooLate, and Throttled with its delay survive the wire."""

        async def scenario() -> None:
            async with serving(requests_per_s=10, burst=4) as (exchange, url), connected(url) as venue:
                await venue.submit(order("x"))
                live = exchange.open_orders("A")[0]
                assert await venue.replace(replace("q")) == ReplaceRejected("unknown order", None)
                refused = await venue.replace(replace("x", 2, "9.99"))
                assert isinstance(refused, ReplaceRejected)
                assert (refused.reason.partition(":")[0], refused.order) == ("off_grid_price", live)
                assert isinstance(await venue.replace(replace("x", expires_at_us=NOON_US - 1)), TooLate)
                assert await venue.replace(replace("x")) == Throttled("too many requests", 0.1)

        run(scenario)

    def test_a_hundred_copies_at_once_make_one_order(self) -> None:
        """However many copies of one replace arrive together, one takes effect and one order is live."""

        async def scenario() -> None:
            async with serving(replace=ReplaceStyle.NEW_ID) as (exchange, url), connected(url) as venue:
                await venue.submit(order("x"))
                replies = await asyncio.gather(*(venue.replace(replace("x", 2, 10, "y")) for _ in range(100)))
                assert sum(isinstance(reply, Replaced) for reply in replies) == 1
                assert sum(isinstance(reply, ReplaceRejected) for reply in replies) == 99
                assert [one.client_order_id for one in exchange.open_orders("A")] == ["y"]

        run(scenario)

    def test_a_replace_for_another_account_is_refused_unsent(self) -> None:
        """A connection for one account changes no order of another, whose fills it would never see."""

        async def scenario() -> None:
            async with serving() as (exchange, url), connected(url) as venue:
                assert isinstance(await venue.replace(replace("x", account="B")), ReplaceRejected)
                assert exchange.counts().replaces == 0

        run(scenario)

    def test_a_venue_that_lists_nothing_is_not_taken_for_an_empty_one(self) -> None:
        """Where the exchange has no scan the reply is Unknown, with its own words."""

        async def scenario() -> None:
            async with serving(lookup=Lookup.NONE) as (_, url), connected(url) as venue:
                reply = await venue.scan("A", "ACME", -5)
                assert isinstance(reply, Unknown)
                assert "not_supported" in reply.reason

        run(scenario)

    @pytest.mark.parametrize("lookup", list(Lookup))
    @pytest.mark.parametrize("style", list(ReplaceStyle))
    @pytest.mark.parametrize("by_id", [True, False])
    def test_every_new_capability_comes_over_the_wire(self, lookup: Lookup, style: ReplaceStyle, by_id: bool) -> None:
        """What the dialect says about look-up, replace and cancel is what the adapter declares."""

        async def scenario() -> None:
            settings: dict[str, Any] = {"lookup": lookup, "replace": style, "cancel_by_client_order_id": by_id}
            async with serving(**settings) as (_, url), connected(url) as venue:
                assert venue.capabilities == capabilities_of(Dialect(**settings))
                told = venue.capabilities
                assert (told.lookup, told.replace, told.cancel_by_client_order_id) == (lookup, style, by_id)
                assert not told.cumulative_fills_only

        run(scenario)


CLOSE = "Connection: close"
"""Without it the adapter would send its next request over a connection that is gone, and Unknown would prove nothing."""

ODD_ORDERS = {
    "of another id": {"client_order_id": "other"},
    "as it was before": {"quantity": Decimal(1)},
    "at the old price": {"price": Decimal(9)},
    "without a price": {"price": None},
    "of no quantity": {"quantity": Decimal("sNaN")},
    "of the other side": {"side": Side.SELL},
    "in another instrument": {"instrument": "ZINC"},
    "dead": {"status": VenueStatus.CANCELED},
    "replaced in its turn": {"status": VenueStatus.REPLACED},
}


class TestMisbehaviour:
    @pytest.mark.parametrize("change", ODD_ORDERS.values(), ids=ODD_ORDERS.keys())
    def test_a_replace_is_believed_only_if_the_order_is_as_wanted(self, change: dict[str, Any]) -> None:
        """200 with an order that is not what was asked for proves nothing: Unknown; with the wanted one it is Replaced."""

        async def scenario() -> None:
            good: dict[str, Any] = {"client_order_id": "y", "quantity": Decimal(2)}
            answers = [http(200, {"order": shown(**fields)}, CLOSE) for fields in (good | change, good)]
            async with OddServer(DIALECT_ANSWER, *answers) as odd, connected(odd.url) as venue:
                assert isinstance(await venue.replace(replace("x", 2, 10, "y")), Unknown)
                assert isinstance(await venue.replace(replace("x", 2, 10, "y")), Replaced)

        run(scenario)

    def test_a_refusal_is_believed_only_about_the_original(self) -> None:
        """A refusal that shows another order than the original is Unknown, even if it shows the one wanted."""

        async def scenario() -> None:
            answers = [
                http(400, {"code": "replace_rejected", "reason": "no", "order": shown(name)}, CLOSE)
                for name in ("y", "q", "x")
            ]
            async with OddServer(DIALECT_ANSWER, *answers) as odd, connected(odd.url) as venue:
                replies = [await venue.replace(replace("x", 2, 10, "y")) for _ in range(3)]
                assert [type(reply) for reply in replies] == [Unknown, Unknown, ReplaceRejected]

        run(scenario)

    def test_a_list_of_something_else_is_unknown(self) -> None:
        """A list with an order of another instrument was not the list asked for: nothing is missing from it for sure."""

        async def scenario() -> None:
            answer = http(200, {"orders": [shown("x"), shown("y", instrument="ZINC")]})
            async with OddServer(DIALECT_ANSWER, answer) as odd, connected(odd.url) as venue:
                assert isinstance(await venue.scan("A", "ACME", 0), Unknown)

        run(scenario)


class TestOverrides:
    def test_single_capabilities_can_be_overridden(self) -> None:
        """What is overridden counts, by value or by text, from the start on; all else is what the exchange declares."""

        async def scenario() -> None:
            overrides: dict[str, Any] = {
                "unique_scope": UniqueScope.DAY,
                "lookup": "scan",
                "request_expiry_s": "none",
                "conclusive_after_s": 30,
                "cancel_by_client_order_id": False,
                "id_format": {"max_length": 20},
            }
            async with serving() as (exchange, url), connected(url, overrides=overrides) as venue:
                assert venue.capabilities == Capabilities(
                    unique_scope=UniqueScope.DAY,
                    duplicate_reply=DuplicateReply.ERROR,
                    lookup=Lookup.SCAN,
                    request_expiry_s=None,
                    conclusive_after_s=30.0,
                    cancel_by_client_order_id=False,
                    replace=ReplaceStyle.KEEP,
                    execution_id_scope=exchange.capabilities.execution_id_scope,
                    id_format=IdFormat(max_length=20),
                )

        run(scenario)

    def test_all_capabilities_can_be_given(self) -> None:
        """Who knows better than the exchange may say everything: that, and nothing that it declares, counts."""

        async def scenario() -> None:
            known = Capabilities(lookup=Lookup.SCAN, conclusive_after_s=9.0, id_format=IdFormat(max_length=30))
            overrides = {name: getattr(known, name) for name in known.__struct_fields__}
            async with serving() as (_, url), connected(url, overrides=overrides) as venue:
                assert venue.capabilities == known

        run(scenario)

    @pytest.mark.parametrize(
        ("overrides", "named"),
        [
            ({"lookups": "scan"}, "lookups"),
            ({"lookup": "sometimes"}, "lookup"),
            ({"lookup": True}, "lookup"),
            ({"id_format": {"max_length": 3}}, "max_length"),
            ({"conclusive_after_s": -1}, "conclusive_after_s"),
            ({"acknowledges_asynchronously": "yes"}, "acknowledges_asynchronously"),
        ],
    )
    def test_an_override_that_means_nothing_is_refused_at_once(self, overrides: dict[str, Any], named: str) -> None:
        """A name that is no capability, or a value it cannot have, is named when the adapter is made."""
        with pytest.raises(InvalidField, match=named):
            ExchangeVenue("http://x", "A", overrides=overrides)
