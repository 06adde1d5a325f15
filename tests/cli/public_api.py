"""The public interface as a user writes it: type-checked by mypy and run by the tests beside it.

Every line that must not pass the type checker carries the error that it gives.
"""

from decimal import Decimal
from pathlib import Path

import onefill
import onefill.sync


def wanted(account: str, instrument: str = "BTC-USD", quantity: str = "0.5") -> onefill.Intent:
    """Return an order as the README writes it."""
    return onefill.Intent(
        account=account,
        strategy="rebalance",
        instrument=instrument,
        side=onefill.Side.BUY,
        quantity=Decimal(quantity),
        price=Decimal("236.47"),
    )


async def asynchronous(ledger: Path, url: str, account: str) -> tuple[onefill.Answer, onefill.CancelAnswer]:
    """Submit twice, look, cancel twice."""
    venue = onefill.ExchangeVenue(url, account=account)
    key = onefill.derived_key("rebalance", "drift", 1_700_000_000_000_000, "BTC-USD")
    async with onefill.open(ledger, venues={"sim": venue}) as gateway:
        order: onefill.Answer = await gateway.submit(wanted(account), key=key)
        again = await gateway.submit(wanted(account), key=key)
        assert again == order
        now: onefill.Order = await gateway.order(key, account=account, strategy="rebalance")
        assert now.status is onefill.Status.NEW
        first: onefill.CancelAnswer = await gateway.cancel(key, account=account, strategy="rebalance")
        second = await gateway.cancel(key, account=account, strategy="rebalance")
        assert (first.changed, second.changed) == (True, False)
        await gateway.catch_up()
        positions: list[onefill.Position] = gateway.positions()
        assert positions == []
        return order, first


def synchronous(ledger: Path, url: str, account: str) -> tuple[onefill.Answer, onefill.CancelAnswer]:
    """The same without ``await``."""
    venue: onefill.Venue = onefill.ExchangeVenue(url, account, 0.5)
    settings = onefill.GatewaySettings(client_order_ids=onefill.IdScheme.DERIVED, answer_wait_s=10.0)
    with onefill.sync.open(str(ledger), venues={"sim": venue}, settings=settings) as gateway:
        order: onefill.Answer = gateway.submit(wanted(account), key="k", time_to_live_s=60.0, wait_s=5.0)
        assert gateway.submit(wanted(account), key="k") == order
        assert order.accepted
        now: onefill.Order = gateway.order("k", account=account, strategy="rebalance")
        assert now.leaves_quantity == Decimal("0.5")
        first: onefill.CancelAnswer = gateway.cancel("k", account=account, strategy="rebalance", operation_key="c")
        assert first.result is onefill.CancelResult.CANCELED
        gateway.catch_up()
        assert gateway.positions() == []
        return order, first


async def replaced(ledger: Path, url: str, account: str) -> tuple[onefill.ReplaceAnswer, str]:
    """Replace an order, then say of it what the evidence contradicts; return that evidence too."""
    evidence = ""
    async with onefill.open(ledger, venues={"sim": onefill.ExchangeVenue(url, account)}) as gateway:
        await gateway.submit(wanted(account), key="k")
        answer: onefill.ReplaceAnswer = await gateway.replace(
            "k", account=account, strategy="rebalance", quantity="0.75", price=Decimal("236.5")
        )
        assert answer.result is onefill.ReplaceResult.REPLACED
        try:
            await gateway.resolve(
                "k",
                account=account,
                strategy="rebalance",
                verdict=onefill.Verdict.NOT_SENT,
                by="Ada",
                reason="not in the list",
            )
        except onefill.ContradictsEvidence as error:
            evidence = error.evidence
        return answer, evidence


def replaced_plainly(ledger: Path, url: str, account: str) -> tuple[onefill.ReplaceAnswer, str]:
    """The same without ``await``, and a replace that comes too late."""
    evidence = ""
    with onefill.sync.open(ledger, venues={"sim": onefill.ExchangeVenue(url, account)}) as gateway:
        gateway.submit(wanted(account), key="k")
        answer: onefill.ReplaceAnswer = gateway.replace(
            "k", account=account, strategy="rebalance", quantity="0.75", operation_key="r", wait_s=5.0
        )
        try:
            now: onefill.Order = gateway.resolve(
                "k",
                account=account,
                strategy="rebalance",
                verdict=onefill.Verdict.ADOPT,
                by="Ada",
                reason="seen",
                venue_order_id="X1",
            )
            evidence = now.status
        except onefill.ContradictsEvidence as error:
            evidence = error.evidence
        gateway.cancel("k", account=account, strategy="rebalance")
        late: onefill.ReplaceAnswer = gateway.replace("k", account=account, strategy="rebalance", price=1)
        assert late.result is onefill.ReplaceResult.ENDED
        again = gateway.replace("k", account=account, strategy="rebalance", quantity="0.75", operation_key="r")
        assert again == answer
        return answer, evidence


def refused(ledger: Path, url: str, account: str) -> list[onefill.OnefillError]:
    """Return the errors of three mistakes, each caught by its own public type."""
    caught: list[onefill.OnefillError] = []
    with onefill.sync.open(ledger, venues={"sim": onefill.ExchangeVenue(url, account)}) as gateway:
        gateway.submit(wanted(account), key="k")
        try:
            gateway.submit(wanted(account, quantity="7"), key="k")
        except onefill.KeyReused as error:
            caught.append(error)
        try:
            gateway.cancel("nobody", account=account, strategy="rebalance")
        except onefill.UnknownKey as error:
            caught.append(error)
        try:
            gateway.submit(wanted(account, "ETH-USD"), key="e")
        except onefill.InvalidField as error:
            caught.append(error)
    return caught


class Client:
    """Stands for a class of the ccxt library, which has no types."""

    def fetch_balance(self) -> dict[str, str]:
        """Return what the account holds."""
        return {}


def guarded(client: Client) -> Client:
    """Never run without ccxt: what is guarded keeps its type."""
    exchange = onefill.guard(
        client, "orders.db", strategy="s", keys="derived", risk=onefill.Risk(), allow=["create_orders"]
    )
    exchange.fetch_balance()
    onefill.guard(client, "orders.db", key="k")  # type: ignore[call-arg] # keys belong to calls
    return exchange


async def mistakes(gateway: onefill.Gateway, intent: onefill.Intent) -> None:
    """Never run: what the type checker must refuse."""
    await gateway.submit(intent)  # type: ignore[call-arg] # no key
    await gateway.submit("buy 1 BTC", key="k")  # type: ignore[arg-type]
    await gateway.cancel("k")  # type: ignore[call-arg] # whose?
    await gateway.replace("k", account="a", strategy="s", quantity=0.1)  # type: ignore[arg-type] # a float
    await gateway.resolve("k", account="a", strategy="s", verdict="adopt", by="b", reason="r")  # type: ignore[arg-type]
    onefill.ExchangeVenue("http://127.0.0.1:8700")  # type: ignore[call-arg] # which account?
    onefill.open("orders.db", venues=["sim"])  # type: ignore[arg-type]
    onefill.Intent(account="a", strategy="s", instrument="i", side=onefill.Side.BUY, quantity=0.1)  # type: ignore[arg-type]
    onefill.sync.open("orders.db", venues={}).submit(intent)  # type: ignore[call-arg] # no key
    onefill.sync.open("orders.db", venues={}).resolve("k", account="a", strategy="s")  # type: ignore[call-arg] # what?


def with_steps_and_callbacks(ledger: Path, url: str, account: str) -> tuple[int, bool]:
    """A step of a process of one's own, and what says who may tell by callbacks."""
    verifier = onefill.Verifier(keys=(onefill.standard_key("c2l4dGVlbiBieXRlcyBvciBtb3Jl"),))

    def book(attempt: onefill.Attempt) -> int:
        assert attempt.idempotency_key
        return attempt.number

    with onefill.sync.open(ledger, venues={"sim": onefill.ExchangeVenue(url, account)}) as gateway:
        number: int = gateway.once("k", "book", book, arguments=["A", 1], result_type=int)
        gateway.expect_callbacks("sim", verifier)
        try:
            receipt: onefill.Receipt = gateway.take_callback("sim", {}, b"")
        except onefill.NotVerified:
            return number, False
        return number, receipt.repeated
