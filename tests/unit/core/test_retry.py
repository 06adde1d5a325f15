"""The retry contract: each row of its table in a small language, and what must hold for any order, venue and clock."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from core_driver import Driven, check_step
from core_kit import OUTCOMES, SEEDED, copies, order, shown, us
from hypothesis import given, settings
from hypothesis import strategies as st

from onefill.core import messages as msg
from onefill.core import retry
from onefill.core.capabilities import Capabilities, DuplicateReply, UniqueScope
from onefill.core.events import CopyOutcome
from onefill.core.lifecycle import ENDED, WORKING, Status
from onefill.core.messages import VenueStatus
from onefill.core.order import Copy, Order
from onefill.core.retry import LastLookup, delay_us, next_step
from onefill.core.values import plain

# One row each: state and flags | copies | venue | last look-up | at second | step.
#
# Copies: what became of each and when it was claimed: ? unknown, ~ awaited, n not sent, t throttled, l too late, d duplicate,
# r rejected, a accepted, x absent. Venue: ever, day, open or none, then whether it can be looked up, its request expiry in
# seconds (e2) and when not-found is conclusive (T5). Look-up: missed or failed, @ when it was begun, # how many there were.
# The intent may be sent until second 30. A copy that bears no expiry may leave up to 2 s after its claim: T counts from then.
CONTRACT = """
# Recorded, never claimed: send, unless its time to live has passed.
recorded                 |                | none              |              | 0      | send 1
recorded                 |                | ever lookup       |              | 29.9   | send 1
recorded                 |                | none e2           |              | 10     | send 1 until 12
recorded                 |                | none e2           |              | 29     | send 1 until 30
recorded                 |                | none              |              | 30     | expire
recorded                 |                | none              |              | 31     | expire
recorded cancel          |                | none              |              | 0      | withdraw
recorded cancel          |                | none              |              | 31     | withdraw

# Surely not sent: resend, same id, with backoff.
recorded                 | n0             | none              |              | 0      | wait 0.05
recorded                 | n0             | none              |              | 0.05   | send 2
recorded                 | n0 n1          | open lookup       |              | 1.05   | wait 1.1
recorded                 | n0 n1          | open lookup       |              | 1.1    | send 3
recorded                 | n0 n1 n2       | none              |              | 2.1    | wait 2.2
recorded                 | l0             | none e2           |              | 0.05   | send 2 until 2.05
recorded                 | x0             | open lookup T5    | missed@7#3   | 7      | send 2
recorded                 | n29.99         | none              |              | 29.99  | wait 30
recorded                 | n0             | none              |              | 30     | expire
recorded cancel          | n0             | none              |              | 0      | withdraw
recorded parked          | n0             | none              |              | 1      | wait 30
recorded parked          | n0             | none              |              | 30     | expire
recorded parked cancel   | n0             | none              |              | 1      | withdraw

# Maybe sent; the venue can be asked: ask; not found before T: ask again; not found after T: absent.
sending                  | ~0             | open lookup T5    |              | 9      | rest
uncertain                | ?0             | open lookup T5    |              | 0.1    | ask
uncertain                | ?0             | open lookup T5    | missed@0.1#1 | 0.1    | wait 0.15
uncertain                | ?0             | open lookup T5    | missed@0.1#1 | 0.15   | ask
uncertain                | ?0             | open lookup T5    | missed@4#4   | 4.3    | wait 4.4
uncertain                | ?0             | open lookup T5    | failed@4#4   | 4.4    | ask
uncertain                | ?0             | open lookup e2 T5 | missed@4.9#9 | 5      | wait 9.9
uncertain                | ?0             | open lookup e2 T5 | missed@5#9   | 5      | absent
uncertain                | ?0             | open lookup T5    | missed@5#2   | 5      | wait 5.1
uncertain                | ?0             | open lookup T5    | missed@6.9#2 | 8      | ask
uncertain                | ?0             | open lookup T5    | missed@7#2   | 7      | absent
uncertain                | ?0             | open lookup T5    | failed@7#2   | 7      | wait 7.1
uncertain                | ?0             | none lookup T5    | missed@7#2   | 7      | absent
uncertain                | ?0             | none lookup T5    | missed@40#2  | 40     | absent
uncertain                | ?0 l3          | open lookup e2 T5 | missed@7#2   | 7      | wait 7.1
uncertain                | ?0 l3          | open lookup e2 T5 | missed@8#2   | 8      | absent
uncertain                | ?0 r3          | open lookup e2 T5 | missed@8#2   | 8      | absent
uncertain                | ?3             | open lookup T5    | missed@2#3   | 3      | ask
uncertain cancel         | ?0             | open lookup T5    | missed@7#2   | 7      | absent
uncertain cancel         | ?0             | open lookup T5    |              | 1      | ask
uncertain                | ?0             | open lookup       | missed@9#4   | 9      | wait 9.4
uncertain                | ?0             | open lookup       | missed@9#5   | 9      | park
uncertain parked         | ?0             | open lookup       | missed@9#6   | 10     | wait 10.6
uncertain parked         | ?0             | open lookup T5    | missed@9#2   | 9      | wait 9.1
uncertain parked         | ?0             | open lookup T5    |              | 9      | ask

# Maybe sent; the id is unique for ever and repeats are refused: ask first, then a resend is safe at once.
uncertain                | ?0             | ever lookup       |              | 0.01   | ask
uncertain                | ?0             | ever lookup T5    | missed@0.1#1 | 0.1    | send 2
uncertain                | ?0             | ever lookup       | missed@.01#1 | 0.01   | wait 0.06
uncertain                | ?0             | ever lookup       | failed@1#1   | 1.05   | ask
uncertain                | ?0 ?1          | ever lookup       | missed@0.5#1 | 1.5    | ask
uncertain                | ?0 ?1          | ever lookup e2    | missed@1.1#1 | 1.5    | send 3 until 3.5
uncertain                | ?0             | ever              |              | 0.01   | wait 0.05
uncertain                | ?0             | ever              |              | 0.05   | send 2
uncertain                | ?0 r1          | ever              |              | 1.1    | send 3
uncertain                | ?0             | ever accepts      |              | 0.05   | park
uncertain                | ?0             | ever              |              | 30     | park
uncertain                | ?0             | ever lookup       | missed@30#1  | 30.1   | ask
uncertain                | ?0             | ever lookup       | missed@30#5  | 30.1   | park
uncertain cancel         | ?0             | ever              |              | 1      | park
uncertain cancel         | ?0             | ever lookup       | missed@1#1   | 1      | wait 1.05
uncertain parked         | ?0             | ever              |              | 1      | rest
uncertain parked         | ?0             | ever lookup       | missed@1#1   | 1.05   | ask

# The same within one day of the venue: a copy of another day does not count, nor does one that may be taken up tomorrow.
uncertain                | ?0             | day               |              | 0.05   | send 2
uncertain night          | ?43198         | day e2            |              | 43199  | park
uncertain night          | ?43190         | day T5            |              | 43194  | send 2
uncertain night          | ?43190         | day T5            |              | 43195  | park
uncertain night          | ?43190         | day e2 T5         |              | 43196  | park
uncertain night          | ?43190         | day               |              | 43194  | park
uncertain night          | ?43190         | day               |              | 43201  | park
uncertain night          | ?43199         | day lookup T5     | missed@43203#1 | 43203  | wait 43203.05

# Maybe sent; neither look-up nor uniqueness: never resent, a person decides.
uncertain                | ?0             | none              |              | 0.01   | park
uncertain                | ?0             | open              |              | 0.01   | park
uncertain                | ?0             | open T5           |              | 20     | park
uncertain                | ?0             | none e2 T5        |              | 20     | park
uncertain parked         | ?0             | none              |              | 20     | rest
uncertain cancel         | ?0             | none              |              | 1      | park

# Duplicate reply: the order exists; look, and never send or conclude against it.
uncertain                | d0             | open lookup T5    |              | 1      | ask
uncertain                | d0             | open lookup T5    | missed@1#1   | 1.04   | wait 1.05
uncertain                | d0             | open lookup T5    | missed@9#4   | 9.4    | ask
uncertain                | d0             | open lookup T5    | missed@9#5   | 9      | park
uncertain                | ?0 d1          | ever lookup T5    | missed@9#4   | 9      | wait 9.4
uncertain                | ?0 d1          | ever              |              | 9      | park

# Throttled: look up, then resend after the delay.
recorded                 | t0             | open lookup       |              | 0.01   | wait 0.05
recorded                 | t0             | open lookup       |              | 0.05   | ask
recorded                 | t0             | open lookup       | failed@.05#1 | 0.06   | wait 0.1
recorded                 | t0             | open lookup       | missed@.05#1 | 0.06   | send 2
recorded                 | t0             | none              |              | 0.05   | send 2
recorded                 | n0 t1          | open lookup       | missed@.5#1  | 1.1    | ask
recorded pause8          | t0             | none              |              | 1      | wait 8
recorded pause8          | t0             | open lookup       | missed@1#1   | 1      | wait 8
recorded pause8          | t0             | none              |              | 8      | send 2
recorded pause99         | t0             | none              |              | 8      | wait 30
recorded pause8          | t0 n1          | none              |              | 1.5    | wait 8

# Rejected, or ended otherwise: terminal.
rejected                 | r0             | open lookup T5    | missed@9#1   | 9      | rest
filled                   | a0             | open lookup T5    |              | 9      | rest
canceled                 | a0             | none              |              | 9      | rest
expired                  | a0             | none              |              | 9      | rest
expired_unsent           | n0             | none              |              | 40     | rest
canceled_unsent          |                | none              |              | 9      | rest

# At the venue: nothing to do, but to watch an order that the venue has not accepted yet.
new                      | a0             | open lookup T5    |              | 9      | rest
partially_filled         | ?0             | open lookup T5    |              | 9      | rest
pending_new              | a0             | open lookup T5    |              | 9      | ask
pending_new              | a0             | open lookup T5    | failed@9#1   | 9.01   | wait 9.05

# The clock was set back: behind a claim it is asked at the usual pace; behind the last look-up it is asked now.
uncertain                | ?9             | open lookup T5    | missed@3#1   | 3      | wait 3.05
uncertain                | ?9             | open lookup T5    |              | 3      | ask
uncertain                | ?0             | open lookup T5    | missed@4#1   | 2      | ask
recorded                 | n9             | none              |              | 3      | wait 9.05
pending_new              | a0             | none              |              | 9      | rest
"""

# The same for orders that somebody wants gone: state | copies | cancels | venue | last look-up | at second | step.
CANCELS = """
new                      | a0             |                  | open lookup T5    |              | 1      | cancel 1
pending_new              | a0             |                  | open lookup T5    |              | 1      | cancel 1
partially_filled         | a0             |                  | none              |              | 1      | cancel 1
new full                 | a0             |                  | none              |              | 1      | rest
pending_cancel           | a0             | ~1               | none              |              | 9      | rest

# Where a repeat is refused only while the order is open, a cancel waits for every other copy to be dead.
new                      | ?0             |                  | open lookup T5    |              | 1      | cancel 1
new                      | ?0 ?1          |                  | open lookup T5    |              | 2      | wait 8
new                      | ?0 ?1          |                  | open lookup e2 T5 |              | 2      | wait 6
new                      | ?0 ?1          |                  | open lookup T5    |              | 8      | cancel 1
new                      | ?0 a1          |                  | open lookup e2 T5 |              | 2      | wait 6
new                      | x0 a1          |                  | open lookup T5    |              | 2      | cancel 1
new                      | ?0 a1          |                  | none e2 T5        |              | 2      | wait 6
new                      | ?0 a1          |                  | ever e2 T5        |              | 2      | cancel 1
new                      | ?0 a1          |                  | day e2 T5         |              | 2      | cancel 1
new                      | ?0 a1          |                  | open              |              | 2      | cancel 1

# A refused or lost cancel: look, then cancel again with backoff; after five refusals say so.
pending_cancel           | a0             | ?1               | open lookup T5    |              | 1.01   | ask
pending_cancel           | a0             | r1               | open lookup T5    | failed@0.5#1 | 1.01   | ask
pending_cancel           | a0             | r1               | open lookup T5    | failed@1#1   | 1.01   | wait 1.05
pending_cancel           | a0             | r1               | open lookup T5    | failed@1#1   | 1.05   | cancel 2
pending_cancel           | a0             | ?1               | none              |              | 1.01   | wait 1.05
pending_cancel           | a0             | ?1               | none              |              | 1.05   | cancel 2
pending_cancel           | a0             | r1 r2 r3 r4      | none              |              | 9      | cancel 5
pending_cancel           | a0             | r1 r2 r3 r4 r5   | none              |              | 9      | refused
pending_cancel           | a0             | ?1 ?2 ?3 ?4 ?5   | none              |              | 9      | cancel 6

# Having been told so is not the end: a new wish is sent again, and again told after five more.
new                      | a0             | r1 r2 r3 r4 r5   | open lookup T5    |              | 9      | cancel 6
new                      | a0             | r1 r2 r3 r4 r5   | none              |              | 5.1    | wait 5.8
partially_filled         | a0             | r1 r2 r3 r4 r5   | none              |              | 9      | cancel 6
pending_cancel           | a0             | r1 r2 r3 r4 r5 r6| none              |              | 20     | cancel 7
pending_cancel           | a0             | r1 r2 r3 r4 r5 ?6| none              |              | 20     | cancel 7
"""


def rows(table: str) -> list[tuple[str, ...]]:
    """Return the table's rows as fields."""
    lines = [line for line in table.splitlines() if line and not line.startswith("#")]
    return [tuple(field.strip() for field in line.split("|")) for line in lines]


def venue_of(text: str) -> Capabilities:
    """Return capabilities from text such as ``open lookup e2 T5``."""
    words = text.split()
    seconds = {word[0]: float(word[1:]) for word in words if word[1:].isdigit()}
    return Capabilities(
        unique_scope=UniqueScope(words[0]),
        duplicate_reply=DuplicateReply.ACCEPTS if {"none", "accepts"} & set(words) else DuplicateReply.ERROR,
        lookup_by_client_order_id="lookup" in words,
        request_expiry_s=seconds.get("e"),
        conclusive_after_s=seconds.get("T"),
    )


def lookup_of(text: str) -> LastLookup | None:
    """Return a look-up from text such as ``missed@1.5#2``."""
    if not text:
        return None
    kind, _, rest = text.partition("@")
    at, _, count = rest.partition("#")
    return LastLookup(us(float(at)), int(count), {"missed": True, "failed": False}[kind])


def spelt(step: retry.Step) -> str:
    """Return a step in the words of the tables."""

    def second(moment: int) -> str:
        return plain(Decimal(moment - us(0)) / 1_000_000)

    match step:
        case retry.Send():
            return f"send {step.number}" + (
                "" if step.expires_at_us is None else f" until {second(step.expires_at_us)}"
            )
        case retry.SendCancel():
            return f"cancel {step.number}"
        case retry.WaitUntil():
            return f"wait {second(step.at_us)}"
    words: dict[type, str] = {
        retry.Ask: "ask",
        retry.ConcludeAbsent: "absent",
        retry.ExpireUnsent: "expire",
        retry.Withdraw: "withdraw",
        retry.Park: "park",
        retry.TellRefused: "refused",
        retry.Rest: "rest",
    }
    return words[type(step)]


def order_of(words: str, sent: str, capabilities: Capabilities, **changes: Any) -> Order:
    """Return the order that a row describes."""
    status, *flags = words.split()
    made = list(copies(sent, expiry_s=capabilities.request_expiry_s))
    for flag in flags:
        if flag.startswith("pause"):
            made[0] = msgspec.structs.replace(made[0], retry_at_us=us(float(flag[5:])))
    return order(
        status=Status(status),
        copies=tuple(made),
        cancel_wanted="cancel" in flags or "cancels" in changes,
        parked="parked" in flags,
        venue_cum_quantity=Decimal(10 if "full" in flags else 0),
        valid_until_us=us(50_000 if "night" in flags else 30),
        **changes,
    )


@pytest.mark.parametrize("row", rows(CONTRACT), ids=" | ".join)
def test_the_contract_names_this_step(row: tuple[str, ...]) -> None:
    """In the row's situation the next step is the row's, and it passes the rules written apart."""
    words, sent, venue, asked, at, expected = row
    capabilities, lookup, now_us = venue_of(venue), lookup_of(asked), us(float(at))
    made = order_of(words, sent, capabilities)
    step = next_step(made, capabilities, lookup, now_us)
    assert spelt(step) == expected
    check_step(made, capabilities, lookup, now_us, step)


@pytest.mark.parametrize("row", rows(CANCELS), ids=" | ".join)
def test_a_wanted_cancel_takes_this_step(row: tuple[str, ...]) -> None:
    """In the row's situation the next step towards the cancel is the row's."""
    words, sent, cancelled, venue, asked, at, expected = row
    capabilities, lookup, now_us = venue_of(venue), lookup_of(asked), us(float(at))
    made = order_of(words, sent, capabilities, cancels=copies(cancelled))
    step = next_step(made, capabilities, lookup, now_us)
    assert spelt(step) == expected
    check_step(made, capabilities, lookup, now_us, step)


@pytest.mark.parametrize("count", range(1, 40))
def test_pauses_double_up_to_five_seconds(count: int) -> None:
    """The pause after the n-th try is 50 ms, doubling, never above 5 s and never shorter than the one before."""
    assert delay_us(count) == min(50_000 * 2 ** (count - 1), 5_000_000)
    assert delay_us(0) == 50_000


@pytest.mark.parametrize(
    ("expiry_s", "at", "late"),
    [
        (None, 0, None),
        (None, 2, None),
        (None, 2.000001, "too long"),
        (None, 29, "too long"),
        (None, -0.000001, "too long"),
        (None, 30, "time to live"),
        (5.0, 4.999999, None),
        (5.0, 5, "request expired"),
        (5.0, 30, "time to live"),
    ],
)
def test_a_claimed_copy_leaves_in_time_or_never(expiry_s: float | None, at: float, late: str | None) -> None:
    """A process that slept since its claim does not send: past the time to live, the expiry, or two seconds without one."""
    made = order(status=Status.SENDING, copies=copies("~0", expiry_s=expiry_s))
    told = retry.too_late_to_send(made, made.copies[0], us(at))
    assert (told is None) == (late is None)
    assert late is None or late in (told or "")


@SEEDED
@given(st.floats(0, 60), st.floats(0, 60), st.sampled_from([None, 2.0]), st.sampled_from([0.5, 5.0]))
def test_no_copy_leaves_after_absence_could_be_concluded(
    claimed: float, sent: float, expiry_s: float | None, conclusive_s: float
) -> None:
    """A copy that may still leave is younger than the time from which the venue's silence would prove its absence."""
    made = order(status=Status.SENDING, valid_until_us=us(10**6), copies=copies(f"~{claimed:.6f}", expiry_s=expiry_s))
    if retry.too_late_to_send(made, made.copies[0], us(sent)) is None:
        dead = retry.copies_dead_at_us(made, Capabilities(request_expiry_s=expiry_s, conclusive_after_s=conclusive_s))
        assert dead is not None
        # T covers an expiry by declaration; without one it starts at the last moment at which the copy may leave.
        assert expiry_s is not None or us(sent) + round(conclusive_s * 1_000_000) <= dead


seconds = st.sampled_from([0.0, 0.04, 0.05, 0.5, 1.0, 2.0, 3.0, 5.0, 6.99, 7.0, 9.0, 20.0, 29.99, 30.0, 45.0])
venues = st.builds(
    Capabilities,
    unique_scope=st.sampled_from(list(UniqueScope)),
    lookup_by_client_order_id=st.booleans(),
    request_expiry_s=st.none() | st.sampled_from([2.0, 60.0]),
    conclusive_after_s=st.none() | st.sampled_from([0.5, 5.0, 60.0]),
)
lookups = st.none() | st.builds(
    lambda at, count, missed: LastLookup(us(at), count, missed), seconds, st.integers(1, 9), st.booleans()
)
SETTLED = [outcome for outcome in OUTCOMES.values() if outcome not in {None, CopyOutcome.UNKNOWN}]


@st.composite
def orders(draw: st.DrawFn) -> Order:
    """Draw an order in any state, its copies claimed at any moments, a clock set back included."""
    status = draw(st.sampled_from(list(Status)))
    least = 0 if status in ENDED | {Status.RECORDED} else 1
    can_be = [*SETTLED, CopyOutcome.UNKNOWN, CopyOutcome.UNKNOWN]
    if status is Status.RECORDED:
        can_be = [outcome for outcome in SETTLED if outcome is not CopyOutcome.DUPLICATE]
    drawn = draw(st.lists(st.tuples(seconds, st.booleans(), st.sampled_from(can_be)), min_size=least, max_size=4))
    if status is Status.SENDING:
        drawn[-1] = (*drawn[-1][:2], None)
    if status is Status.UNCERTAIN and all(outcome in SETTLED for _, _, outcome in drawn):
        drawn[0] = (*drawn[0][:2], draw(st.sampled_from([CopyOutcome.UNKNOWN, CopyOutcome.DUPLICATE])))
    cancels: list[tuple[float, CopyOutcome]] = []
    if status is Status.PENDING_CANCEL:
        refusals = st.sampled_from([CopyOutcome.REJECTED, CopyOutcome.REJECTED, CopyOutcome.UNKNOWN])
        cancels = draw(st.lists(st.tuples(seconds, refusals), min_size=1, max_size=6))
    return order(
        status=status,
        copies=tuple(
            Copy(number, us(at), us(at + 2) if expires else None, outcome)
            for number, (at, expires, outcome) in enumerate(drawn, 1)
        ),
        cancels=tuple(Copy(number, us(at), None, outcome) for number, (at, outcome) in enumerate(cancels, 1)),
        cancel_wanted=status is Status.PENDING_CANCEL or (status not in ENDED and draw(st.booleans())),
        parked=status is Status.UNCERTAIN and draw(st.booleans()),
        venue_cum_quantity=Decimal(draw(st.sampled_from([0, 4, 10]))) if status in WORKING else Decimal(0),
        valid_until_us=us(draw(st.sampled_from([30.0, 30.0, 4000.0]))),
    )


MANY = settings(SEEDED, max_examples=1500)


@MANY
@given(orders(), venues, lookups, seconds, st.sampled_from([0.0, 43_170.0]))
def test_every_step_is_safe_for_any_order_venue_and_clock(
    made: Order, capabilities: Capabilities, lookup: LastLookup | None, now: float, shift: float
) -> None:
    """Whatever the order, the venue and the clock (set back or not, at noon or near midnight), the step is a safe one.

    The rules are those of :func:`core_driver.check_step`: among them no copy while another may be under way unless repeats
    are refused, none without asking where asking is possible, none late, parked or cancelled, and no early conclusion. Nor
    is a venue hammered with questions.
    """
    made, lookup = shifted(made, lookup, round(shift * 1_000_000))
    now_us = us(now + shift)
    step = next_step(made, capabilities, lookup, now_us)
    check_step(made, capabilities, lookup, now_us, step)
    if isinstance(step, retry.Ask):  # without an answer it is not asked again at once, even behind a clock set back
        asked = LastLookup(now_us, 1 if lookup is None else lookup.count + 1, False)
        assert not isinstance(next_step(made, capabilities, asked, now_us), retry.Ask)


def shifted(made: Order, lookup: LastLookup | None, by_us: int) -> tuple[Order, LastLookup | None]:
    """Return the same order and look-up at another time of day."""

    def later(copy: Copy) -> Copy:
        expires_at_us = None if copy.expires_at_us is None else copy.expires_at_us + by_us
        return msgspec.structs.replace(copy, claimed_at_us=copy.claimed_at_us + by_us, expires_at_us=expires_at_us)

    moved = msgspec.structs.replace(
        made,
        recorded_at_us=made.recorded_at_us + by_us,
        valid_until_us=made.valid_until_us + by_us,
        copies=tuple(later(copy) for copy in made.copies),
        cancels=tuple(later(cancel) for cancel in made.cancels),
    )
    if lookup is not None:
        lookup = msgspec.structs.replace(lookup, asked_at_us=lookup.asked_at_us + by_us)
    return moved, lookup


def finish(driven: Driven, now_us: int, *, there: bool) -> int:
    """Follow the contract with a venue that answers everything from now on; return the number of steps it took.

    ``there``: whether one of the copies under way had reached the venue.
    """
    driven.restart(now_us)
    for count in range(1, 400):
        step = driven.next(now_us)
        parked_before = driven.order.parked
        match step:
            case retry.Rest():
                return count
            case retry.WaitUntil():
                now_us = step.at_us
            case retry.Ask():
                last = driven.lookup
                driven.lookup = LastLookup(now_us, 1 if last is None else last.count + 1, not there)
                driven.take_lookup(msg.Found(shown()) if there else msg.NotFound("none"), now_us)
            case retry.Send():
                driven.perform(step, now_us)
                known = driven.capabilities.unique_scope in {UniqueScope.EVER, UniqueScope.DAY} and there
                driven.take_reply(msg.DuplicateId("seen") if known else msg.Accepted(shown()), now_us)
                there = True
            case retry.SendCancel():
                driven.perform(step, now_us)
                driven.take_cancel_reply(msg.Canceled(shown(status=VenueStatus.CANCELED)), now_us)
            case _:
                driven.perform(step, now_us)
        if driven.order.parked and parked_before:
            return count  # asked once more since it was parked: a person is told, and asking goes on
    raise AssertionError(f"no end after 400 steps: {driven.order}")


def driven_from(made: Order, capabilities: Capabilities) -> Driven:
    """Return a driver that stands where ``made`` stands."""
    driven = Driven(capabilities, us(0))
    driven.order = driven.first = made
    driven.traded = made.cum_quantity
    return driven


@settings(SEEDED, max_examples=800)
@given(orders(), venues, seconds, st.booleans())
def test_a_venue_that_answers_at_last_brings_every_order_to_its_place(
    made: Order, capabilities: Capabilities, now: float, there: bool
) -> None:
    """From any state the steps lead, in a bounded number, to an order that ended, works at the venue, or is parked.

    It is parked only where no automatic step is safe: the venue cannot be asked and does not tell repeats from first
    copies, or it says not found and never makes that conclusive, or it calls the id a duplicate that it does not show.
    """
    there = (there and bool(made.copies_under_way)) or made.status in WORKING
    driven = driven_from(made, capabilities)
    steps = finish(driven, us(now), there=there)
    end = driven.order
    assert steps < 200
    assert end.status in ENDED | WORKING | {Status.UNCERTAIN}
    if end.status is Status.UNCERTAIN and not made.parked:
        assert end.parked
        duplicate = any(copy.outcome is CopyOutcome.DUPLICATE for copy in end.copies)
        unanswerable = not capabilities.lookup_by_client_order_id
        assert duplicate or unanswerable or (capabilities.conclusive_after_s is None and not there)
    if there and capabilities.lookup_by_client_order_id and made.status not in ENDED:
        assert end.status in ENDED | WORKING
    if made.cancel_wanted and end.status in WORKING:
        assert end.venue_cum_quantity >= end.intent.quantity, "a wanted cancel was forgotten"


def test_a_cancel_that_was_refused_for_good_can_be_wanted_again() -> None:
    """After five refusals have been told, a new cancel is really sent, and can succeed."""
    driven = Driven(Capabilities(), us(0))
    driven.take_reply(msg.Accepted(shown()), us(0))
    now_us = us(1)
    for told in (1, 2):
        driven.want_cancel(now_us)
        sent = 0
        while driven.order.cancel_wanted:
            step = driven.next(now_us)
            now_us = step.at_us if isinstance(step, retry.WaitUntil) else now_us
            driven.perform(step, now_us)
            if isinstance(step, retry.SendCancel):
                sent += 1
                driven.take_cancel_reply(msg.CancelRejected("not now"), now_us)
        assert (sent, len(driven.order.cancels), driven.order.status) == (5, 5 * told, Status.NEW)
    driven.want_cancel(now_us + 60_000_000)
    driven.perform(driven.next(now_us + 60_000_000), now_us + 60_000_000)
    driven.take_cancel_reply(msg.Canceled(shown(status=VenueStatus.CANCELED)), now_us + 60_000_000)
    assert driven.order.status is Status.CANCELED


def test_no_id_but_the_first_is_ever_sent() -> None:
    """A step to send carries a number and an expiry and no id: the order's own is the only one there is (SAME-ID)."""
    assert retry.Send.__struct_fields__ == ("number", "expires_at_us")
    assert retry.SendCancel.__struct_fields__ == ("number",)
    assert "client_order_id" in Order.__struct_fields__
