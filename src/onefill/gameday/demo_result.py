"""What the demo found, and which promises that breaks."""

from collections.abc import Sequence
from decimal import Decimal

import msgspec

from onefill.core.values import plain
from onefill.gameday.demo_orders import DemoIntent, intended_position
from onefill.sim.link_plan import FaultKind, KindCount


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """How one of the two clients fared. Everything but ``attempts`` is read at the venue itself."""

    attempts: dict[str, int]
    """By key: how often the order was sent, or was about to be."""
    fills_of: dict[str, int]
    """By key: how often it was filled."""
    venue_orders: int
    duplicates: int
    missing: int
    fills: int
    position: Decimal
    """In BTC."""
    seconds: float
    faults: dict[FaultKind, KindCount]
    """What its link did, by kind."""
    requests: int
    """HTTP requests through its link, look-ups included."""
    hurt: int
    """Of these, how many were hurt."""

    @property
    def sent(self) -> int:
        """All attempts together."""
        return sum(self.attempts.values())


class NaiveSide(Side, frozen=True, kw_only=True):
    """How the naive client fared. ``given_up``: orders whose last attempt failed too."""

    unanswered: int
    given_up: int


class Kill(msgspec.Struct, frozen=True, kw_only=True):
    """One kill -9. ``under_way``: order requests that the ledger had claimed and whose outcome it did not have yet."""

    after_fills: int
    landed: bool
    """Whether the process was alive until then."""
    under_way: int


class OnefillSide(Side, frozen=True, kw_only=True):
    """How Onefill fared."""

    kills: list[Kill]
    finished: bool
    """Whether the run after the last kill ended by itself, in time, with every order accepted."""
    ledger_position: Decimal
    """The position in BTC by Onefill's own ledger."""
    audit_holds: bool
    replay_sent: int
    """Requests that the last run sent, in which every answer was known."""
    replay_same: bool
    """Whether the last run's answers were the same, byte for byte."""


class DemoResult(msgspec.Struct, frozen=True, kw_only=True):
    """Both sides of the demo."""

    intents: list[DemoIntent]
    seed: int
    preset: str
    naive: NaiveSide
    onefill: OnefillSide

    @property
    def intended(self) -> Decimal:
        """The position in BTC that the intents add up to."""
        return intended_position(self.intents)

    @property
    def broken_promises(self) -> list[str]:
        """The promises that Onefill broke, by their short names; empty if it kept them all."""
        onefill = self.onefill
        checks = (
            ("ONE-ORDER", onefill.duplicates == 0 and onefill.replay_sent == 0),
            ("NO-LOSS", onefill.missing == 0),
            ("FILL-ONCE", onefill.ledger_position == onefill.position),
            ("SAME-ANSWER", onefill.replay_same),
            ("APPEND-ONLY", onefill.audit_holds),
            ("CONVERGES", onefill.finished),
        )
        return [name for name, kept in checks if not kept]

    def as_json(self) -> dict[str, object]:
        """Return the figures as JSON values; decimals as text."""
        naive, onefill = self.naive, self.onefill
        return {
            "seed": self.seed,
            "faults": self.preset,
            "intents": len(self.intents),
            "attempts": naive.sent,
            "intended_position": plain(self.intended),
            "naive": {**self._side(naive), "unanswered": naive.unanswered, "given_up": naive.given_up},
            "onefill": {
                **self._side(onefill),
                "ledger_position": plain(onefill.ledger_position),
                "kills": onefill.kills,
                "finished": onefill.finished,
                "replay_sent": onefill.replay_sent,
                "replay_same": onefill.replay_same,
                "audit_holds": onefill.audit_holds,
            },
            "broken_promises": self.broken_promises,
        }

    def _side(self, side: Side) -> dict[str, object]:
        return {
            "attempts": side.sent,
            "venue_orders": side.venue_orders,
            "duplicates": side.duplicates,
            "missing": side.missing,
            "fills": side.fills,
            "position": plain(side.position),
            "position_error": plain(side.position - self.intended),
            "seconds": round(side.seconds, 2),
            "requests": side.requests,
            "requests_hurt": side.hurt,
            "faults": {kind: count.injected for kind, count in side.faults.items() if count.injected},
        }

    def verdict(self) -> str:
        """Return the outcome in one sentence."""
        intents, naive, onefill = f"{len(self.intents):,}", self.naive, self.onefill
        said = f"{intents} intents: the naive client made {naive.venue_orders:,} orders of them"
        if naive.missing:
            said += f" and lost {naive.missing:,}"
        if self.broken_promises:
            return f"{said}; Onefill BROKE {', '.join(self.broken_promises)}."
        landed = sum(kill.landed for kill in onefill.kills)
        return f"{said}; Onefill, killed {landed} times, made {onefill.venue_orders:,}."

    def table(self) -> list[tuple[str, str, str]]:
        """Return the rows of the result's table: what, naive, Onefill."""
        naive, onefill, intended = self.naive, self.onefill, self.intended

        def row(name: str, count: Sequence[int]) -> tuple[str, str, str]:
            return name, f"{count[0]:,}", f"{count[1]:,}"

        return [
            row("intents", (len(self.intents), len(self.intents))),
            row("attempts", (naive.sent, onefill.sent)),
            row("orders at the venue", (naive.venue_orders, onefill.venue_orders)),
            row("duplicates", (naive.duplicates, onefill.duplicates)),
            row("missing", (naive.missing, onefill.missing)),
            row("fills", (naive.fills, onefill.fills)),
            ("position, BTC", plain(naive.position), plain(onefill.position)),
            ("intended position, BTC", plain(intended), plain(intended)),
            ("difference, BTC", signed(naive.position - intended), signed(onefill.position - intended)),
        ]


def signed(number: Decimal) -> str:
    """Return a number as text with its sign; zero has none."""
    return f"+{plain(number)}" if number > 0 else plain(number)
