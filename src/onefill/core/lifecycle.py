"""The life of an order, as one table.

The states are FIX's (tag 39) with six of our own for what FIX has no word for: an order that is recorded but not sent,
one whose first reply is awaited, one whose fate is not known, and three ways of ending without ever having been sent.

A pair (state, signal) that the table does not name cannot happen; meeting one is a defect. What a venue says late or twice
leads to ``SAME``. Facts outrank inference: a state that was concluded here (``EXPIRED_UNSENT``) gives way to a venue that
shows the order after all, and an anomaly is kept.
"""

from enum import Enum, StrEnum


class Status(StrEnum):
    """Where an order stands, as far as evidence goes."""

    RECORDED = "recorded"
    """In the ledger; no copy is or may be under way."""
    SENDING = "sending"
    """A copy is claimed and its reply awaited."""
    UNCERTAIN = "uncertain"
    """A copy may or may not have had its effect (promise SAY-UNKNOWN)."""
    PENDING_NEW = "pending_new"
    NEW = "new"
    PARTIALLY_FILLED = "partially_filled"
    PENDING_REPLACE = "pending_replace"
    PENDING_CANCEL = "pending_cancel"
    FILLED = "filled"
    CANCELED = "canceled"
    REJECTED = "rejected"
    EXPIRED = "expired"
    EXPIRED_UNSENT = "expired_unsent"
    """Its time to live ran out before a copy could be sent."""
    CANCELED_UNSENT = "canceled_unsent"
    """Cancelled here; never sent."""
    REFUSED = "refused"
    """A risk gate refused it before it was claimed; never sent."""


UNANSWERED = frozenset({Status.RECORDED, Status.SENDING, Status.UNCERTAIN, Status.PENDING_NEW, Status.PENDING_CANCEL})
"""No answer can be given to the caller yet. (An order that was accepted before it was to be cancelled has its answer.)"""
WORKING = frozenset(
    {Status.PENDING_NEW, Status.NEW, Status.PARTIALLY_FILLED, Status.PENDING_REPLACE, Status.PENDING_CANCEL}
)
"""At the venue, and able to trade."""
NEVER_SENT = frozenset({Status.EXPIRED_UNSENT, Status.CANCELED_UNSENT, Status.REFUSED})
ENDED = frozenset({Status.FILLED, Status.CANCELED, Status.REJECTED, Status.EXPIRED}) | NEVER_SENT


class Signal(StrEnum):
    """What an event means for the state."""

    CLAIM = "claim"
    SPENT = "spent"
    """A copy was answered without deciding the order's fate, or never left."""
    REFUSE = "refuse"
    """A copy was rejected in reply."""
    UNKNOWN = "unknown"
    ABSENT = "absent"
    PENDING = "pending"
    ACCEPT = "accept"
    TRADE = "trade"
    REJECT = "reject"
    """The venue shows the order itself as rejected."""
    CANCEL_CLAIM = "cancel_claim"
    CANCEL_REFUSE = "cancel_refuse"
    REPLACE_CLAIM = "replace_claim"
    REPLACE = "replace"
    REPLACE_REFUSE = "replace_refuse"
    """The order keeps its quantity and price."""
    CANCEL = "cancel"
    EXPIRE = "expire"
    TIME_OUT = "time_out"
    WITHDRAW = "withdraw"
    GATE = "gate"
    """A risk gate refused the intent as it was recorded."""
    AMEND = "amend"
    """An execution was busted or corrected."""
    REOPEN = "reopen"
    """An execution was busted or corrected, and by the venue's word the order can trade again."""


class To(Enum):
    """Targets that depend on the order's numbers."""

    SAME = "same"
    BY_QUANTITY = "new, partially_filled or filled, by cumulative quantity"
    AS_IT_WAS = (
        "pending_new if the venue never accepted it, pending_replace if a replace is open, else by cumulative quantity"
    )
    FILLED_OR_SAME = "filled if nothing is or can be left, else the same"
    FILLED_OR_CANCELED = "filled if nothing is left, else canceled"
    BY_COPIES = "uncertain while another copy may be under way, else recorded"
    REFUSED_BY_COPIES = "uncertain while another copy may be under way, else rejected"


_SAME, _S = To.SAME, Signal

# What a venue can show of an order that we did not yet know to exist there. A rejected order is that of one copy.
_EVIDENCE: dict[Signal, Status | To] = {
    _S.PENDING: Status.PENDING_NEW,
    _S.ACCEPT: To.BY_QUANTITY,
    _S.TRADE: To.BY_QUANTITY,
    _S.REJECT: To.REFUSED_BY_COPIES,
    _S.CANCEL: Status.CANCELED,
    _S.EXPIRE: Status.EXPIRED,
    _S.AMEND: To.BY_QUANTITY,  # what was executed there was there
}
# Replies to copies of an order that is known to exist say nothing new about it.
_LATE_COPIES: dict[Signal, Status | To] = {
    _S.SPENT: _SAME,
    _S.REFUSE: _SAME,
    _S.UNKNOWN: _SAME,
    _S.PENDING: _SAME,
    _S.ACCEPT: _SAME,
}
# An order that ended stays ended. A trade still counts for the position: executions are the truth about it.
_OVER: dict[Signal, Status | To] = {
    **_LATE_COPIES,
    _S.TRADE: _SAME,
    _S.REJECT: _SAME,
    _S.CANCEL: _SAME,
    _S.CANCEL_REFUSE: _SAME,
    _S.REPLACE: _SAME,
    _S.REPLACE_REFUSE: _SAME,
    _S.EXPIRE: _SAME,
    _S.AMEND: _SAME,
}

TABLE: dict[Status, dict[Signal, Status | To]] = {
    Status.RECORDED: {
        **_EVIDENCE,  # a copy held for dead came through after all, or the stream was faster than the claim's commit
        _S.CLAIM: Status.SENDING,
        _S.REPLACE_REFUSE: _SAME,
        _S.TIME_OUT: Status.EXPIRED_UNSENT,
        _S.GATE: Status.REFUSED,
        _S.WITHDRAW: Status.CANCELED_UNSENT,
    },
    Status.SENDING: {
        **_EVIDENCE,  # fills may overtake the reply
        _S.SPENT: To.BY_COPIES,
        _S.REFUSE: To.REFUSED_BY_COPIES,
        _S.UNKNOWN: Status.UNCERTAIN,
        _S.REPLACE_REFUSE: _SAME,
    },
    Status.UNCERTAIN: {
        **_EVIDENCE,
        _S.CLAIM: _SAME,  # a resend of the same id does not make the first copy's fate known
        _S.SPENT: To.BY_COPIES,
        _S.REFUSE: To.REFUSED_BY_COPIES,
        _S.UNKNOWN: _SAME,
        _S.ABSENT: Status.RECORDED,
        _S.REPLACE_REFUSE: _SAME,
        _S.WITHDRAW: Status.CANCELED_UNSENT,  # by a person's word
    },
    Status.PENDING_NEW: {
        **_LATE_COPIES,
        _S.REPLACE_REFUSE: _SAME,
        _S.WITHDRAW: Status.CANCELED_UNSENT,  # by a person's word: the venue took it in and does not know it any more
        _S.ACCEPT: To.BY_QUANTITY,
        _S.TRADE: To.BY_QUANTITY,
        _S.AMEND: To.BY_QUANTITY,
        _S.REJECT: To.REFUSED_BY_COPIES,
        _S.CANCEL_CLAIM: Status.PENDING_CANCEL,
        _S.CANCEL: Status.CANCELED,
        _S.EXPIRE: Status.EXPIRED,
    },
    Status.NEW: {
        **_LATE_COPIES,
        _S.TRADE: To.BY_QUANTITY,
        _S.AMEND: To.BY_QUANTITY,
        _S.REJECT: To.REFUSED_BY_COPIES,  # a venue may still reject what it acknowledged (FIX 4.4 matrix A.1.a)
        _S.CANCEL_CLAIM: Status.PENDING_CANCEL,
        _S.CANCEL_REFUSE: _SAME,
        _S.REPLACE_CLAIM: Status.PENDING_REPLACE,
        _S.REPLACE_REFUSE: _SAME,
        _S.CANCEL: Status.CANCELED,
        _S.EXPIRE: Status.EXPIRED,
    },
    Status.PARTIALLY_FILLED: {
        **_LATE_COPIES,
        _S.TRADE: To.BY_QUANTITY,
        _S.AMEND: To.BY_QUANTITY,
        _S.REJECT: _SAME,  # cannot be true of an order that traded; kept as an anomaly by the caller
        _S.CANCEL_CLAIM: Status.PENDING_CANCEL,
        _S.CANCEL_REFUSE: _SAME,
        _S.REPLACE_CLAIM: Status.PENDING_REPLACE,
        _S.REPLACE_REFUSE: _SAME,
        _S.CANCEL: Status.CANCELED,
        _S.EXPIRE: Status.EXPIRED,
    },
    Status.PENDING_REPLACE: {
        **_LATE_COPIES,
        _S.TRADE: To.FILLED_OR_SAME,  # PendingReplace outranks PartiallyFilled (FIX OrdStatus precedence)
        _S.AMEND: To.FILLED_OR_SAME,
        _S.REJECT: To.REFUSED_BY_COPIES,
        _S.CANCEL_CLAIM: Status.PENDING_CANCEL,
        _S.CANCEL_REFUSE: _SAME,
        _S.REPLACE_CLAIM: _SAME,
        _S.REPLACE: To.BY_QUANTITY,
        _S.REPLACE_REFUSE: To.BY_QUANTITY,
        _S.CANCEL: Status.CANCELED,
        _S.EXPIRE: Status.EXPIRED,
    },
    Status.PENDING_CANCEL: {
        **_LATE_COPIES,
        _S.REPLACE: To.FILLED_OR_SAME,
        _S.REPLACE_REFUSE: To.FILLED_OR_SAME,
        _S.TRADE: To.FILLED_OR_SAME,  # PendingCancel outranks PartiallyFilled (FIX OrdStatus precedence)
        _S.AMEND: To.FILLED_OR_SAME,
        _S.REJECT: To.REFUSED_BY_COPIES,
        _S.CANCEL_CLAIM: _SAME,
        _S.CANCEL_REFUSE: To.AS_IT_WAS,
        _S.CANCEL: Status.CANCELED,
        _S.EXPIRE: Status.EXPIRED,
    },
    # A bust can take away from a filled order, which then trades on or not, by the venue's word (FIX 4.2 matrices D34 to D36).
    Status.FILLED: {**_OVER, _S.AMEND: To.FILLED_OR_CANCELED, _S.REOPEN: To.BY_QUANTITY},
    Status.CANCELED: _OVER,
    Status.REJECTED: _OVER,
    Status.EXPIRED: _OVER,
    Status.EXPIRED_UNSENT: {**_LATE_COPIES, **_EVIDENCE},
    Status.CANCELED_UNSENT: {**_LATE_COPIES, **_EVIDENCE},
    Status.REFUSED: {**_LATE_COPIES, **_EVIDENCE},
}
