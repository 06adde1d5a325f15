"""Plays situations through the retry contract: one order, a venue of a few lines, and the steps the real rules name.

Nothing here decides anything. What the gateway would do is asked of :func:`~onefill.core.retry.next_step`, what a reply
proves of :mod:`~onefill.core.evidence`; so what :mod:`~onefill.core.contract_words` says about them cannot drift from them.
"""

from decimal import Decimal
from enum import StrEnum
from typing import Final

import msgspec

from onefill.core import events as ev
from onefill.core import evidence, steps
from onefill.core import messages as msg
from onefill.core.apply import advance
from onefill.core.capabilities import Capabilities, DuplicateReply, Lookup, ReplaceStyle
from onefill.core.claims import DAY_US, leaves_by_us
from onefill.core.events import Event
from onefill.core.identity import replacement_id
from onefill.core.intent import Intent
from onefill.core.lifecycle import ENDED
from onefill.core.messages import LookupReply, VenueOrder, VenueStatus
from onefill.core.order import Order
from onefill.core.query import looked_up, search
from onefill.core.retry import next_step
from onefill.core.steps import LastLookup, Step
from onefill.core.values import OrderType, Side

START_US: Final = 20_000 * DAY_US + DAY_US // 2
"""When the order of every play is recorded: noon of some day, in UTC."""
CALL_S: Final = 1.0
"""How long a call may take before its reply counts as lost: the settings' default ``timeout_s``."""
_PAUSE_S: Final = 2.0
"""The pause that the venue asks for when it throttles."""
_MOST_MOVES: Final = 1000
_MOST_MOVES_PARKED: Final = 16
"""So many are enough to show the pace at which a parked order is still asked for."""
_ID: Final = "C1"


class Fate(StrEnum):
    """What becomes of one copy of a request."""

    TAKEN = "taken"
    TAKEN_REPLY_LOST = "taken, reply lost"
    LOST = "lost on the way"
    LATE = "on its way for a while, reply lost"
    NOT_SENT = "no connection"
    THROTTLED = "throttled"
    TOO_LATE = "too late"
    DUPLICATE = "duplicate"
    REJECTED = "rejected"


class Situation(msgspec.Struct, frozen=True, kw_only=True):
    """What happens to an order. Of ``copies`` (and of ``replaces``) the last fate holds for all that follow.

    * ``arrives_after_s``: how long a late copy is on its way.
    * ``shown_after_s``: how long after its arrival the venue shows an order to those who ask; ``None``: never.
    * ``silent_s``: for so long after the first claim, queries get no answer.
    * ``lives_s``: the intent's time to live. ``cancel``: a cancel comes while the first reply is outstanding.
    * ``replaces``: the order is at the venue, and a replace of it is wanted.
    """

    name: str
    title: str
    copies: tuple[Fate, ...]
    arrives_after_s: float = 1.5
    shown_after_s: float | None = 0.0
    silent_s: float = 0.0
    lives_s: float = 3600.0
    cancel: bool = False
    replaces: tuple[Fate, ...] = ()


class Move(msgspec.Struct, frozen=True, kw_only=True):
    """One step that was taken, when (seconds after the first claim), and what came of it, in a word or two."""

    at_s: float
    step: Step
    came: str = ""


class Played(msgspec.Struct, frozen=True, kw_only=True):
    """How a situation went. ``orders`` is how many orders the venue made of it, which must never be more than one.

    ``cut``: it was still going on, without news, when the play was ended.
    """

    situation: Situation
    moves: tuple[Move, ...]
    order: Order
    orders: int
    cut: bool


def possible(situation: Situation, capabilities: Capabilities) -> str | None:
    """Return why a situation cannot come up at a venue with these capabilities, or ``None``."""
    if Fate.DUPLICATE in situation.copies and not capabilities.refuses_repeats:
        return "cannot happen: no id is ever refused there"
    if Fate.TOO_LATE in situation.copies and capabilities.request_expiry_s is None:
        return "cannot happen: no expiry is honoured there"
    if situation.replaces and capabilities.replace is ReplaceStyle.NONE:
        return "cannot happen: no replace there"
    return None


def play(situation: Situation, capabilities: Capabilities) -> Played:
    """Return how the gateway would deal with a situation at a venue with these capabilities."""
    return _Play(situation, capabilities).run()


class _Play:
    """One order, the venue it is for, and the clock."""

    def __init__(self, situation: Situation, capabilities: Capabilities) -> None:
        self.situation = situation
        self.capabilities = capabilities
        self.now_us = START_US
        self.lookup: LastLookup | None = None
        self.claimed_at_us = START_US
        self.moves: list[Move] = []
        self.there: VenueOrder | None = None
        self.original: VenueOrder | None = None
        self.shown_from_us = 0
        self.late: tuple[int, int | None] | None = None
        self.orders = 0
        intent = Intent(
            account="account",
            strategy="strategy",
            instrument="X",
            side=Side.BUY,
            quantity=Decimal(10),
            price=Decimal(100),
            venue="venue",
        )
        self.order = Order(
            intent_id=1,
            key="key",
            client_order_id=_ID,
            intent=intent,
            recorded_at_us=START_US,
            valid_until_us=START_US + round(situation.lives_s * 1_000_000),
        )

    def run(self) -> Played:
        if self.situation.replaces:
            self._begin_with_a_replace()
        parked = 0
        over = False
        while len(self.moves) < _MOST_MOVES and parked < _MOST_MOVES_PARKED and not over:
            step = next_step(self.order, self.capabilities, self.lookup, self.now_us)
            if isinstance(step, steps.Rest):
                over = True
                continue
            at_s = (self.now_us - START_US) / 1_000_000
            self.moves.append(Move(at_s=at_s, step=step, came=self._perform(step)))
            over = self.order.status in ENDED
            parked += self.order.parked
        self._deliver(at_the_end=True)
        return Played(
            situation=self.situation,
            moves=tuple(self.moves),
            order=self.order,
            orders=self.orders,
            cut=not over and not parked,
        )

    def _begin_with_a_replace(self) -> None:
        self.there, self.orders = self._at_venue(), 1
        self._take(ev.Claimed(1, None, None))
        self._take(*evidence.from_submit_reply(self.order, 1, msg.Accepted(self.there), self.now_us))
        new_id = _ID
        if self.capabilities.replace is ReplaceStyle.NEW_ID:
            new_id = replacement_id(_ID, 1, self.capabilities.id_format)
        self._take(ev.ReplaceRecorded(1, new_id, Decimal(5), self.order.intent.price, self.order.valid_until_us, None))

    def _take(self, *events: Event) -> None:
        if events:
            self.order = advance(self.order, events, self.now_us)

    # ------------------------------------------------------------------ steps

    def _perform(self, step: Step) -> str:
        """Do what a step says, as the engine does, and say what came of it."""
        match step:
            case steps.WaitUntil():
                self.now_us = max(step.at_us, self.now_us + 1)
            case steps.Send():
                return self._send(step)
            case steps.SendReplace():
                return self._replace(step)
            case steps.SendCancel():
                return self._cancel(step)
            case steps.Ask() | steps.Scan():
                return self._query(step)
            case steps.Adopt():
                if self.lookup is not None:
                    self.lookup = msgspec.structs.replace(self.lookup, found=None)
                self._take(*evidence.from_lookup(self.order, msg.Found(step.order)))
            case steps.ConcludeAbsent():
                self._take(ev.ProvenAbsent(step.asked_at_us))
            case steps.ConcludeNotReplaced():
                self._take(*evidence.not_replaced(self.order, step.reason))
            case steps.ExpireUnsent() | steps.Withdraw() | steps.Park() | steps.TellRefused() | steps.DropReplace():
                self._take(_DECIDED[type(step)](step.reason))
            case steps.Rest():
                pass
        return ""

    def _send(self, step: steps.Send) -> str:
        fates = self.situation.copies
        fate = fates[min(step.number, len(fates)) - 1]
        self.claimed_at_us = self.now_us
        self._take(ev.Claimed(step.number, step.expires_at_us, leaves_by_us(self.now_us, round(CALL_S * 1_000_000))))
        reply, came = self._submitted(fate)
        if isinstance(reply, msg.Unknown):
            self.now_us += round(CALL_S * 1_000_000)
        if step.number == 1 and self.situation.cancel:
            self._take(ev.CancelRecorded(None))
        self._take(*evidence.from_submit_reply(self.order, step.number, reply, self.now_us))
        return came

    def _deliver(self, *, at_the_end: bool = False) -> None:
        """Let the late copy arrive when its time has come, or when the play ends before that, unless it has expired."""
        if self.late is None or not (at_the_end or self.now_us >= self.late[0]):
            return
        (arrives_at_us, expires_at_us), self.late = self.late, None
        expired = expires_at_us is not None and arrives_at_us >= expires_at_us
        if not expired and (self.there is None or not self.capabilities.refuses_repeats):
            self._arrives()

    def _submitted(self, fate: Fate) -> tuple[msg.SubmitReply, str]:
        self._deliver()
        if fate in {Fate.TAKEN, Fate.TAKEN_REPLY_LOST}:
            if self.there is not None and self.capabilities.refuses_repeats:
                if self.capabilities.duplicate_reply is DuplicateReply.ORIGINAL:
                    return msg.Accepted(self.there), "answered with the first order"
                return msg.DuplicateId("duplicate"), "refused as a duplicate"
            self._arrives()
        if fate is Fate.LATE:
            expires_at_us = self.order.copies[-1].expires_at_us
            self.late = (self.now_us + round(self.situation.arrives_after_s * 1_000_000), expires_at_us)
        if fate is Fate.TAKEN and self.there is not None:
            return msg.Accepted(self.there), "accepted"
        if fate is Fate.DUPLICATE:
            self._arrives()
        replies: dict[Fate, msg.SubmitReply] = {
            Fate.NOT_SENT: msg.NotSent("no connection"),
            Fate.THROTTLED: msg.Throttled("throttled", _PAUSE_S),
            Fate.TOO_LATE: msg.TooLate("too late"),
            Fate.DUPLICATE: msg.DuplicateId("duplicate"),
            Fate.REJECTED: msg.Rejected("rejected"),
        }
        shown = {Fate.TOO_LATE: "refused as too late", Fate.DUPLICATE: "refused as a duplicate"}
        return replies.get(fate, msg.Unknown("no reply")), shown.get(fate, str(fate) if fate in replies else "no reply")

    def _arrives(self) -> None:
        self.there, self.orders = self._at_venue(), self.orders + 1
        shown_after_s = self.situation.shown_after_s
        if shown_after_s is not None:
            self.shown_from_us = self.now_us + round(shown_after_s * 1_000_000)

    def _at_venue(self) -> VenueOrder:
        intent = self.order.intent
        return VenueOrder(
            client_order_id=_ID,
            venue_order_id=f"V{self.orders + 1}",
            instrument=intent.instrument,
            side=intent.side,
            quantity=intent.quantity,
            order_type=OrderType.LIMIT,
            price=intent.price,
            status=VenueStatus.NEW,
            cum_quantity=Decimal(0),
        )

    def _query(self, step: steps.Ask | steps.Scan) -> str:
        reply = self._looked_up(step.client_order_id)
        self.lookup = looked_up(
            self.order,
            step.client_order_id,
            reply,
            self.lookup,
            asked_at_us=self.now_us,
            waited_us=self.now_us - self.claimed_at_us,
        )
        if isinstance(reply, msg.Found):
            return "found"
        return "not found" if isinstance(reply, msg.NotFound) else "no answer"

    def _looked_up(self, client_order_id: str) -> LookupReply:
        self._deliver()
        if self.now_us < START_US + round(self.situation.silent_s * 1_000_000):
            return msg.Unknown("no answer")
        visible = self.situation.shown_after_s is not None and self.now_us >= self.shown_from_us
        shown = [one for one in (self.original, self.there) if one is not None and visible]
        if self.capabilities.lookup is Lookup.SCAN:
            return search(msg.Listed(tuple(shown)), client_order_id)
        found = next((one for one in shown if one.client_order_id == client_order_id), None)
        return msg.NotFound("not found") if found is None else msg.Found(found)

    def _cancel(self, step: steps.SendCancel) -> str:
        self._take(ev.CancelClaimed(step.number))
        if self.there is None:
            reply: msg.CancelReply = msg.CancelRejected("unknown order")
        else:
            self.there = msgspec.structs.replace(self.there, status=VenueStatus.CANCELED)
            reply = msg.Canceled(self.there)
        self._take(*evidence.from_cancel_reply(self.order, step.number, reply, self.now_us))
        return "cancelled" if isinstance(reply, msg.Canceled) else "unknown order"

    def _replace(self, step: steps.SendReplace) -> str:
        fates = self.situation.replaces
        fate = fates[min(step.number, len(fates)) - 1]
        wanted, there = self.order.replacement, self.there
        if wanted is None or there is None:
            return ""
        self.claimed_at_us = self.now_us
        left = leaves_by_us(self.now_us, round(CALL_S * 1_000_000))
        self._take(ev.ReplaceClaimed(step.number, step.expires_at_us, left))
        done = there.client_order_id == wanted.client_order_id and there.quantity == wanted.quantity
        if fate in {Fate.TAKEN, Fate.TAKEN_REPLY_LOST} and not done:
            there = self._replaced(there, wanted.client_order_id, wanted.quantity)
        if fate is Fate.TAKEN:
            reply: msg.ReplaceReply = msg.Replaced(there)
        elif fate is Fate.REJECTED:
            reply = msg.ReplaceRejected("rejected")
        else:
            reply = msg.Unknown("no reply")
            self.now_us += round(CALL_S * 1_000_000)
        self._take(*evidence.from_replace_reply(self.order, step.number, reply, self.now_us))
        return {Fate.TAKEN: "done", Fate.REJECTED: "rejected"}.get(fate, "no reply")

    def _replaced(self, there: VenueOrder, new_id: str, quantity: Decimal) -> VenueOrder:
        """The order goes on under the new terms; where it gets a new id, the old one stays to be seen, as replaced."""
        if new_id != there.client_order_id:
            self.original = msgspec.structs.replace(there, status=VenueStatus.REPLACED)
        self.there = msgspec.structs.replace(there, client_order_id=new_id, quantity=quantity)
        return self.there


_DECIDED: Final[
    dict[type[Step], type[ev.ExpiredUnsent | ev.Withdrawn | ev.Parked | ev.CancelRefused | ev.ReplaceRefused]]
] = {
    steps.ExpireUnsent: ev.ExpiredUnsent,
    steps.Withdraw: ev.Withdrawn,
    steps.Park: ev.Parked,
    steps.TellRefused: ev.CancelRefused,
    steps.DropReplace: ev.ReplaceRefused,
}
