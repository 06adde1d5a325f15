"""``onefill.open`` and ``onefill.sync.open`` as the README shows them: they type-check, they run, and they agree."""

import asyncio
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import public_api
import pytest
from cli_kit import PATIENCE_S, Venue, onefill

from onefill.core.errors import InvalidField, KeyReused, UnknownKey


def test_the_public_interface_passes_a_strict_type_checker() -> None:
    """Right use passes and wrong use is refused: an ignore that nothing needs would be an error too."""
    line = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", public_api.__file__]
    done = subprocess.run(line, capture_output=True, text=True, timeout=2 * PATIENCE_S, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


def test_the_asynchronous_gateway_does_what_the_readme_says(ledger: Path, exchange: Venue, account: str) -> None:
    """The same key gives the same answer, there is one order at the venue, and the commands read the same ledger."""
    order, cancelled = asyncio.run(public_api.asynchronous(ledger, exchange.url, account))
    (there,) = exchange.orders(account)
    assert (there.client_order_id, there.status) == (order.client_order_id, "canceled")
    assert cancelled.client_order_id == order.client_order_id
    assert onefill("show", order.key, "--ledger", ledger, "--json").json["client_order_id"] == order.client_order_id


def test_the_plain_gateway_does_the_same(ledger: Path, exchange: Venue, account: str) -> None:
    """Without an event loop of the caller's; also twice over one ledger, where the answer comes from the record."""
    first = public_api.synchronous(ledger, exchange.url, account)
    assert [order.client_order_id for order in exchange.orders(account)] == [first[0].client_order_id]
    assert onefill("audit", "verify", "--ledger", ledger).code == 0


def test_orders_are_replaced_from_code_and_what_contradicts_the_evidence_is_refused(
    ledger: Path, exchange: Venue, account: str
) -> None:
    """With and without ``await``: the venue has the new terms, the answer is kept, and a person's word is checked."""
    answer, evidence = asyncio.run(public_api.replaced(ledger, exchange.url, account))
    assert (answer.quantity, answer.price) == ("0.75", "236.5")
    assert evidence == "its fate is known: it is new"
    (there,) = exchange.orders(account)
    assert (there.quantity, there.price) == (Decimal("0.75"), Decimal("236.5"))
    plain, plain_evidence = public_api.replaced_plainly(ledger.with_name("plain.db"), exchange.url, account + "p")
    assert (plain.quantity, plain.price, plain_evidence) == ("0.75", "236.47", evidence)


def test_mistakes_raise_public_errors_that_say_what_to_do(ledger: Path, exchange: Venue, account: str) -> None:
    """Each type says whose fault it is, and the text how things stand."""
    reused, unknown, field = public_api.refused(ledger, exchange.url, account)
    assert isinstance(reused, KeyReused)
    assert reused.field == "quantity"
    assert "the first order stands and nothing was sent" in str(reused)
    assert isinstance(unknown, UnknownKey)
    assert "nothing was changed" in str(unknown)
    assert isinstance(field, InvalidField)
    assert field.field == "instrument"
    assert len(exchange.orders(account)) == 1


def test_a_plain_gateway_is_used_inside_with_only(ledger: Path, exchange: Venue, account: str) -> None:
    """Outside it says so instead of hanging."""
    from onefill import ExchangeVenue, RouteClosed, sync  # noqa: PLC0415

    gateway = sync.open(ledger, venues={"sim": ExchangeVenue(exchange.url, account)})
    with pytest.raises(RouteClosed, match=r"use it inside `with onefill\.sync\.open"):
        gateway.positions()


def test_steps_and_callbacks_from_plain_code(ledger: Path, exchange: Venue, account: str) -> None:
    """Without an event loop of the caller's: a step keeps its result, and what is not genuine is refused."""
    assert public_api.with_steps_and_callbacks(ledger, exchange.url, account) == (1, False)
    assert onefill("steps", "k", "--ledger", ledger, "--json").json[0]["result"] == 1
