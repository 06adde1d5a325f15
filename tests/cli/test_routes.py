"""``onefill routes``, over real PostgreSQL with gateways that share it: who holds what, and handing it over."""

import contextlib
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from cli_kit import PATIENCE_S, Venue, blotter, limit, onefill

import onefill as package
from onefill import sync

LEASE_S = 10.0
"""Long beside what anything here takes: nothing waits for its end."""
WHO = {"strategy": "s"}


def intent(account: str) -> package.Intent:
    """Return an order that rests."""
    return package.Intent(
        account=account,
        strategy="s",
        instrument="BTC-USD",
        side="buy",
        quantity=Decimal(1),
        price=Decimal(100),
        time_in_force="gtc",
    )


@contextlib.contextmanager
def node(name: str, url: str, exchange: Venue, account: str) -> Iterator[sync.SyncGateway]:
    """Open a gateway that is a node of several."""
    with sync.open(
        url,
        venues={f"exchange:{account}": package.ExchangeVenue(exchange.url, account, 2.0)},
        settings=package.GatewaySettings(lease_s=LEASE_S),
        node=package.NodeSettings(name=name),
    ) as gateway:
        yield gateway


@pytest.fixture
def shared(postgres_url: str) -> str:
    """Return the URL of a ledger that was just made."""
    assert onefill("migrate", postgres_url).code == 0
    return postgres_url


def took_s(what: Callable[[], object]) -> float:
    """Ask again and again until something holds, and return how long that took."""
    began = time.monotonic()
    while not what():
        assert time.monotonic() - began < PATIENCE_S, "did not come about in time"
    return time.monotonic() - began


def test_routes_are_listed_with_holder_epoch_and_deadline(shared: str, exchange: Venue, account: str) -> None:
    """While a node has it: its name, and how long its lease still lasts; after it closed: nobody, and who was there before."""
    assert onefill("routes", shared).out == ""
    assert onefill("routes", shared, "--json").json == []
    with node("a", shared, exchange, account):
        (one,) = onefill("routes", shared, "--json").json
        assert (one["route"], one["node"], one["epoch"], one["held"]) == (f"exchange:{account}", "a", 1, True)
        assert one["holder"].startswith("a, process ")
        assert 0 < one["left_s"] <= LEASE_S + 0.5
        assert one["lease_until_us"] > one["acquired_at_us"]
        told = onefill("routes", shared)
        assert told.code == 0
        for part in (f"exchange:{account}", "a, process ", "s left"):
            assert part in told.out
    (one,) = onefill("routes", shared, "--json").json
    assert (one["held"], one["lease_until_us"]) == (False, None)
    assert "nobody (before: a, process " in onefill("routes", shared).out


def test_a_route_is_handed_over_with_its_orders(shared: str, exchange: Venue, account: str) -> None:
    """The command names from whom to whom; the same key gives the same bytes at both nodes, before and after, one order."""
    route = f"exchange:{account}"
    with node("a", shared, exchange, account) as a, node("b", shared, exchange, account) as b:
        first = a.submit(intent(account), key="k")
        assert first.accepted
        for to, holder in (("b", b), ("a", a)):
            moved = onefill("routes", "hand-over", shared, route, "--to", to, "--by", "ann", "--json").json
            assert moved["holder"].startswith(f"{to}, ")
            assert moved["took_s"] < LEASE_S / 2, moved
            took_s(lambda node=holder: [one.route for one in node.status().routes])  # type: ignore[misc]
            assert a.submit(intent(account), key="k") == b.submit(intent(account), key="k") == first
        said = onefill("routes", "hand-over", shared, route)
        assert said.code == 0
        assert f"{route} went from a, process" in said.out
    assert len(exchange.orders(account)) == 1


def test_a_hand_over_that_cannot_be_says_why(shared: str, exchange: Venue, account: str, tmp_path: Path) -> None:
    """A ledger file, a route that is not there, nobody to take it: exit code 2, and what is so."""
    with node("a", shared, exchange, account):
        missing = onefill("routes", "hand-over", shared, "other")
        assert (missing.code, f"no route 'other'; it has: exchange:{account}" in missing.err) == (2, True)
        alone = onefill("routes", "hand-over", shared, f"exchange:{account}", "--to", "b", "--within-s", "0.5")
        assert alone.code == 2
        assert "was not taken by 'b' within 0.5 s" in alone.err
        assert took_s(lambda: onefill("routes", shared, "--json").json[0]["held"]) < LEASE_S / 2
        same = onefill("routes", "hand-over", shared, f"exchange:{account}", "--to", "a", "--json").json
        assert same["before"] == same["holder"]
    file = onefill("routes", "hand-over", tmp_path / "orders.db", "exchange")
    assert (file.code, "one process has for itself" in file.err) == (2, True)


def test_a_node_that_closes_gives_its_routes_to_the_other(shared: str, exchange: Venue, account: str) -> None:
    """At once: no lease has to run out."""
    with node("a", shared, exchange, account) as a:
        with node("b", shared, exchange, account) as b:
            assert a.submit(intent(account), key="k").accepted
            onefill("routes", "hand-over", shared, f"exchange:{account}", "--to", "b")
            assert took_s(lambda: b.status().routes) < LEASE_S / 2
        assert took_s(lambda: a.status().routes) < LEASE_S / 2
        assert a.cancel("k", account=account, **WHO).changed


def test_a_file_of_orders_is_run_by_the_node_that_holds_the_route(
    shared: str, exchange: Venue, account: str, tmp_path: Path
) -> None:
    """``[node]`` in the settings: run where the route is free it is sent; while another node has it nothing is, exit code 4."""
    settings = tmp_path / "settings.toml"
    settings.write_text("[gateway]\nlease_s = 10\n\n[node]\nname = 'c'\n")
    file = blotter(tmp_path, limit("k1"), limit("k2"))
    run = ("run", file, "--ledger", shared, "--venue", exchange.url, "--account", account, "--settings", settings)
    with node("a", shared, exchange, account):
        elsewhere = onefill(*run)
        assert elsewhere.code == 4
        assert "held by a, process" in elsewhere.err
    assert exchange.orders(account) == []
    for _ in range(2):
        assert onefill(*run).code == 0
    assert len(exchange.orders(account)) == 2
    (one,) = onefill("routes", shared, "--json").json
    assert (one["node"], one["held"]) == ("c", False)
