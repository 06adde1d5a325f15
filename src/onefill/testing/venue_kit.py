"""What the suite of venue adapters needs of whoever has an adapter: the other side, and how it is made to fail."""

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from decimal import Decimal
from enum import StrEnum
from typing import ClassVar

import msgspec

from onefill.core.messages import (
    SubmitRequest,
    VenueOrder,
)
from onefill.ports.venue import Venue


class Ability(StrEnum):
    """What a kit can do. What it cannot is declared in :attr:`VenueKit.cannot`."""

    TRUTH = "truth"
    COUNT = "count"
    FILL = "fill"
    REFUSE = "refuse"
    LOSE_REPLY = "lose_reply"
    LOSE_REQUEST = "lose_request"
    GARBLE_REPLY = "garble_reply"
    GO_AWAY = "go_away"
    FALL_SILENT = "fall_silent"
    CUT_STREAMS = "cut_streams"


class Sent(msgspec.Struct, frozen=True):
    """How many requests of each kind ever reached the venue, refused ones included."""

    submits: int
    cancels: int
    replaces: int


class VenueKit(ABC):
    """The venue at the other end of an adapter under test, and how it is made to fail.

    Each test has a kit of its own. ``account`` is the one that the adapter trades for, ``other_account`` one that it does not.
    A buy of ``quantity`` at ``price``, and at up to a thousand steps above, rests, and so does a sell at twice the price;
    ``quantity`` is at least a hundred of the instrument's steps, and an eighth of it at least the smallest order. Nobody else
    trades there. What is lost or garbled may be an order, a cancel or a replace; a kit that cannot hurt one kind of them
    cannot do it at all.
    """

    account: str
    other_account: str = "somebody-else"
    instrument: str
    price: Decimal
    quantity: Decimal
    own_numbers: ClassVar[bool] = False
    """Whether :meth:`truth` has numbers for orders that are not those that the venue shows."""
    replaces_traded: ClassVar[bool] = True
    """Whether an order that traded in part can be replaced. Where it cannot, a replace of it is refused, and it stays."""
    shows_ended: ClassVar[bool] = True
    """Whether a look-up shows an order that is over in full. Where it does not, it is Unknown."""
    cannot: ClassVar[Mapping[Ability, str]] = {}
    """What the kit cannot do, and why: the facts that need it are reported as not shown."""

    @abstractmethod
    def venue(self, answer_s: float) -> Venue:
        """Return a new adapter for the account, not started, that waits for an answer for about ``answer_s``, in seconds."""

    @abstractmethod
    async def close(self) -> None:
        """Let go of everything. The adapters are closed by then."""

    def now_us(self) -> int:
        """Return the venue's time, µs since 1970."""
        return time.time_ns() // 1000

    async def truth(self) -> Sequence[VenueOrder]:
        """Return every order of the account that the venue ever had, oldest first, asked by another way than the adapter's."""
        raise NotImplementedError(_missing(Ability.TRUTH))

    async def sent(self) -> Sent:
        """Return how many requests ever reached the venue, counted there or right before it."""
        raise NotImplementedError(_missing(Ability.COUNT))

    async def fill(self, order: VenueOrder, quantity: Decimal) -> None:
        """Have somebody else trade ``quantity`` with a live buy order at its price. It is the account's best bid then."""
        raise NotImplementedError(_missing(Ability.FILL))

    def refused(self, request: SubmitRequest) -> SubmitRequest:
        """Return an order like this one that the venue itself refuses for what it is. It must leave the adapter."""
        raise NotImplementedError(_missing(Ability.REFUSE))

    async def lose_reply(self) -> None:
        """Have the next order, cancel or replace carried out, and its reply lost."""
        raise NotImplementedError(_missing(Ability.LOSE_REPLY))

    async def lose_request(self) -> None:
        """Have the next order, cancel or replace lost after it left the adapter, without an answer."""
        raise NotImplementedError(_missing(Ability.LOSE_REQUEST))

    async def garble_reply(self) -> None:
        """Have the next order, cancel or replace carried out, and a reply come that is not the venue's own."""
        raise NotImplementedError(_missing(Ability.GARBLE_REPLY))

    async def go_away(self) -> None:
        """Have connections refused, and those that are open cut. The venue keeps what it knows."""
        raise NotImplementedError(_missing(Ability.GO_AWAY))

    async def fall_silent(self) -> None:
        """Take connections and requests, carry out nothing, and answer nothing."""
        raise NotImplementedError(_missing(Ability.FALL_SILENT))

    async def come_back(self) -> None:
        """Be as before, where adapters look for it, after :meth:`go_away` or :meth:`fall_silent`."""
        raise NotImplementedError("a kit that can go away or fall silent must be able to come back")

    async def cut_streams(self) -> None:
        """Cut every connection that is open, streams among them, without a word."""
        raise NotImplementedError(_missing(Ability.CUT_STREAMS))


def _missing(ability: Ability) -> str:
    return f"the kit does not say how: write VenueKit.{ability}, or declare in cannot why it cannot be done"
