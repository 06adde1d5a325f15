"""The retry contract for replaces, and for cancels that meet one: each row of its table in a small language.

A replace names what it replaces, so a second copy of the *same* one does nothing new; another replace, or believing in an end,
while a copy is under way does.
"""

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from core_driver import Driven
from core_kit import copies, replacement, replacing, shown, us
from core_rules import check_step
from core_tables import lookup_of, order_of, rows, spelt, venue_of

from onefill.core import messages as msg
from onefill.core import steps
from onefill.core.events import CopyOutcome
from onefill.core.lifecycle import Status
from onefill.core.messages import VenueStatus
from onefill.core.order import Order, Terms
from onefill.core.retry import next_step

# One row each: state and flags | copies | strays | copies of the replace | venue | last query | at second | step.
# A venue with "keep" leaves the order its id, C1; with "new" the order goes on as C2. Strays are copies of an earlier replace
# that may be under way. "over": the venue shows the original as cancelled; "replaced": as replaced. "rpause8": the first copy
# of the replace is to be repeated at second 8 at the soonest. See core_tables for the other words.
REPLACES = """
# Wanted, never sent: send it once the order's fate is known.
recorded                 |       |    |       | ever lookup keep     |               | 1      | send 1
sending                  | ~0    |    |       | ever lookup keep     |               | 1      | rest
uncertain                | ?0    |    |       | open lookup keep     |               | 1      | ask
pending_new              | a0    |    |       | open lookup keep     |               | 1      | ask
pending_new              | a0    |    |       | none keep            |               | 1      | rest
new                      | a0    |    |       | open lookup keep     |               | 1      | replace 1
new                      | a0    |    |       | open lookup new      |               | 1      | replace 1
partially_filled         | a0    |    |       | none keep            |               | 1      | replace 1
new                      | a0    |    |       | none e2 keep         |               | 1      | replace 1 until 3
new                      | a0    |    |       | none e2 keep         |               | 29     | replace 1 until 30
new                      | a0    |    |       | none lookup          |               | 1      | drop
new                      | a0    |    |       | ever keep            |               | 30     | drop
new cancel               | a0    |    |       | ever keep            |               | 1      | drop

# Filled by the venue's word: the executions are on their way, and end it; a replace has nothing left to change.
new full                 | a0    |    |       | ever keep            |               | 1      | wait 30
new full                 | a0    |    |       | ever keep            |               | 30     | drop
new full cancel          | a0    |    |       | ever keep            |               | 1      | drop

# A new id frees the old one: a copy of the order that may be under way would come in under it, so its death is waited for.
new                      | ?0    |    |       | open lookup T5 new   |               | 1      | replace 1
new                      | ?0 ?1 |    |       | open lookup T5 new   |               | 1      | wait 8
new                      | ?0 a1 |    |       | open e2 T5 new       |               | 1      | wait 6
new                      | ?0 a1 |    |       | open T5 new          |               | 8      | replace 1
new                      | ?0 ?1 |    |       | open lookup T5 new   |               | 8      | ask
new                      | ?0 ?1 |    |       | open scan T5 new     |               | 8      | scan
new                      | ?0 ?1 |    |       | open lookup T5 new   | live@8#1      | 8      | replace 1
new                      | ?0 ?1 |    |       | open lookup T5 new   | live@8#1+6    | 8      | wait 8.05
new                      | ?0 ?1 |    |       | ever lookup T5 new   |               | 1      | replace 1
new                      | ?0 ?1 |    |       | open lookup new      |               | 1      | replace 1
new                      | ?0 ?1 |    |       | open lookup T5 keep  |               | 1      | replace 1
new                      | ?0 ?28|    |       | open lookup T5 new   |               | 29     | wait 30

# Where the id is kept, a late copy of an earlier replace would undo this one: its death is waited for, or nothing is sent.
new                      | a0    | ?1 |       | open lookup T5 keep  |               | 2      | wait 8
new                      | a0    | ?1 |       | open lookup T5 keep  |               | 8      | ask
new                      | a0    | ?1 |       | open lookup T5 keep  | live@8#1      | 8      | replace 2
new                      | a0    | ?1 |       | open lookup T5 keep  | live@1#1+7    | 1      | replace 2
new                      | a0    | ?1 |       | open T5 keep         |               | 8      | replace 2
new                      | a0    | ?1 |       | open lookup keep     |               | 8      | drop
new                      | a0    | ?1 |       | open lookup T5 new   |               | 2      | replace 2
new                      | a0    | ?27|       | open lookup T5 keep  |               | 28     | wait 30

# Sent, and its reply awaited.
pending_replace          | a0    |    | ~1    | open lookup T5 keep  |               | 9      | rest
pending_replace          | a0    |    | ?1 ~2 | open lookup T5 new   |               | 9      | rest
pending_replace          | a0    |    | ~1    | open lookup T5 keep  | found@9#1     | 9      | adopt

# Its reply is lost, and the venue can be asked: ask; as it was: a copy may still come, and the same one is sent again.
pending_replace          | a0    |    | ?1    | open lookup T5 keep  |               | 1.01   | ask
pending_replace          | a0    |    | ?1    | open lookup T5 new   |               | 1.01   | ask C2
pending_replace          | a0    |    | ?1    | open scan T5 new     |               | 1.01   | scan C2
pending_replace          | a0    |    | ?1    | open lookup T5 keep  | live@0.9#1    | 1.01   | ask
pending_replace          | a0    |    | ?1    | open lookup T5 keep  | live@1#1      | 1.01   | wait 1.05
pending_replace          | a0    |    | ?1    | open lookup T5 keep  | live@1#1      | 1.05   | replace 2
pending_replace          | a0    |    | ?1    | open lookup e2 keep  | live@1#1      | 1.05   | replace 2 until 3.05
pending_replace          | a0    |    | ?1 ?2 | open lookup T5 keep  | live@2#1      | 2.1    | replace 3
pending_replace          | a0    |    | ?1    | open lookup T5 keep  | failed@1#1    | 1.05   | ask
pending_replace          | a0    | ?1 | ?4    | open lookup T5 new   | C1:live@4#1   | 4.05   | replace 3

# Not found under the new id, which proves nothing yet: is the original still there?
pending_replace          | a0    |    | ?1    | open lookup T5 new   | C2:missed@1#1 | 1.01   | ask
pending_replace          | a0    |    | ?1    | open lookup T5 new   | live@1#2      | 1.05   | replace 2
pending_replace          | a0    |    | ?1    | open lookup T5 new   | failed@1#2    | 1.1    | ask C2
pending_replace          | a0    |    | ?1    | open lookup new      | C2:missed@1#1 | 1.01   | ask

# Nothing is sent again once the time to live is over, a copy was refused, a cancel is wanted, or it is not as it was.
pending_replace          | a0    |    | ?1    | open lookup T5 keep  | live@30#1+1   | 30.05  | ask
pending_replace          | a0    |    | ?1 r2 | open lookup T5 keep  | live@2#1      | 2.1    | ask
pending_replace cancel   | a0    |    | ?1    | open lookup T5 keep  | live@1#1      | 1.05   | cancel 1
pending_replace          | a0    |    | ?1    | open lookup T5 keep  | other@1#1     | 1.05   | ask
pending_replace          | a0    |    | ?1    | open lookup T5 keep  | filled@1#1    | 1.05   | ask
pending_replace          | a0    |    | ?1    | open lookup T5 keep  | missed@1#1    | 1.05   | ask

# As it was after every copy had died: it was not replaced, and will not be.
pending_replace          | a0    |    | ?1    | open lookup T5 keep  | live@8#3      | 8      | not replaced
pending_replace          | a0    |    | ?1    | open lookup e2 T5 keep | live@6#3    | 6      | not replaced
pending_replace          | a0    |    | ?1    | open lookup T5 keep  | live@2#3+7    | 2      | not replaced
pending_replace          | a0    |    | ?1    | open lookup T5 keep  | live@99#3+6   | 99     | wait 99.2
pending_replace          | a0    |    | ?1    | open lookup T5 keep  | filled@8#3    | 8      | not replaced
pending_replace          | a0    |    | ?1    | open lookup T5 new   | C2:missed@8#3 | 8      | not replaced
pending_replace          | a0    |    | ?1    | open scan T5 new     | C2:missed@8#3 | 8      | not replaced
pending_replace over     | a0    |    | ?1    | open lookup T5 new   | C2:missed@8#3 | 8      | not replaced

# The new order shown as refused: the original is looked for, and it was not replaced once every copy is dead.
pending_replace          | a0    |    | ?1    | open lookup T5 new   | C2:rejected@1#1 | 1.05 | ask
pending_replace          | a0    |    | ?1    | open lookup T5 new   | C2:rejected@8#1 | 8    | not replaced

# Shown otherwise than it was or is to be, or not at all, after every copy had died (or where they never certainly do): a
# person decides. Asking goes on.
pending_replace          | a0    |    | ?1    | open lookup T5 keep  | missed@8#4    | 8.4    | ask
pending_replace          | a0    |    | ?1    | open lookup T5 keep  | missed@8#5    | 8      | park
pending_replace          | a0    |    | ?1    | open lookup T5 keep  | other@8#5     | 8      | park
pending_replace          | a0    |    | ?1    | open lookup keep     | missed@1#5    | 1.05   | park
pending_replace          | a0    |    | ?1    | open lookup keep     | live@30#5     | 30     | park
pending_replace          | a0    |    | ?1    | open lookup new      | live@30#5     | 30     | park
pending_replace parked   | a0    |    | ?1    | open lookup keep     | live@30#6     | 31     | wait 90
pending_replace parked   | a0    |    | ?1    | open lookup new      | live@30#6     | 90     | ask C2
pending_replace          | a0    |    | ?1    | open lookup T5 keep  | failed@99#9   | 99     | wait 104

# The original is over as replaced, and it was not by ours: an order that nobody here asked for goes on. A person is told.
pending_replace replaced | a0    |    | ?1    | open lookup T5 new   | C2:missed@8#4 | 8.4    | ask C2
pending_replace replaced | a0    |    | ?1    | open lookup T5 new   | C2:missed@8#5 | 8      | park
pending_replace replaced | a0    |    | ?1    | open lookup T5 new   | C2:missed@1#9 | 1      | ask
pending_replace replaced | a0    |    | r1    | open lookup T5 new   |               | 2      | park
pending_replace replaced | a0    |    | r1    | open new             |               | 2      | park
pending_replace replaced parked | a0 | | r1   | open new             |               | 2      | rest
pending_replace replaced parked | a0 | | r1   | open lookup new      |               | 2      | rest
pending_replace replaced | a0    |    | r1    | open lookup T5 new   | C2:missed@2#4 | 2.4    | ask C2
pending_replace replaced | a0    |    | r1    | open lookup T5 new   | C2:missed@2#5 | 2      | park

# Every copy had an answer. Refused: the reason may be that the order is over, so look; then it goes on as it was.
pending_replace          | a0    |    | r1    | open lookup T5 keep  |               | 2      | ask
pending_replace          | a0    |    | r1    | open lookup T5 new   |               | 2      | ask
pending_replace          | a0    |    | r1    | open lookup T5 keep  | live@0.5#1    | 2      | ask
pending_replace          | a0    |    | r1    | open lookup T5 keep  | live@2#1      | 2      | drop
pending_replace          | a0    |    | r1    | open lookup T5 keep  | failed@2#1    | 2      | drop
pending_replace          | a0    |    | r1    | open keep            |               | 2      | drop
pending_replace over     | a0    |    | r1    | open lookup T5 new   |               | 2      | not replaced
pending_replace over     | a0    |    | r1    | open new             |               | 2      | not replaced
pending_replace over     | a0    |    | n1    | open new             |               | 2      | not replaced

# Refused, and filled by the venue's word: the executions are on their way, and end it as what it is.
pending_replace full     | a0    |    | r1    | open lookup T5 keep  |               | 2      | wait 30
pending_replace full     | a0    |    | r1    | open lookup T5 keep  | live@30#1     | 30     | drop
pending_replace full     | a0    |    | ?1    | open keep            |               | 2      | replace 2

# It never left, was throttled or came too late: the same one again, after the pause, while there is time.
pending_replace          | a0    |    | n1    | open lookup T5 keep  |               | 1.01   | wait 1.05
pending_replace          | a0    |    | n1    | open lookup T5 keep  |               | 1.05   | replace 2
pending_replace          | a0    |    | l1    | open e2 keep         |               | 1.05   | replace 2 until 3.05
pending_replace rpause8  | a0    |    | t1    | open keep            |               | 1.05   | wait 8
pending_replace rpause8  | a0    |    | t1    | open keep            |               | 8      | replace 2
pending_replace rpause99 | a0    |    | t1    | open keep            |               | 2      | wait 30
pending_replace          | a0    |    | n1    | open keep            |               | 30     | drop
pending_replace          | a0    |    | n1    | open lookup keep     |               | 30     | ask
pending_replace          | a0    |    | n1    | open lookup keep     | live@30#1     | 30     | drop
pending_replace          | a0    |    | n9    | open keep            |               | 3      | replace 2

# The venue cannot be asked: the reply to a repeat is the only way to ask; the stream may tell meanwhile.
pending_replace          | a0    |    | ?1    | open T5 keep         |               | 1.01   | wait 1.05
pending_replace          | a0    |    | ?1    | open T5 keep         |               | 1.05   | replace 2
pending_replace          | a0    |    | ?1    | open T5 new          |               | 1.05   | replace 2
pending_replace rpause8  | a0    |    | ?1    | open keep            |               | 2      | wait 8
pending_replace          | a0    |    | ?1    | open T5 keep         |               | 30     | park
pending_replace          | a0    |    | ?1 r2 | open keep            |               | 3      | park
pending_replace over     | a0    |    | ?1    | open new             |               | 3      | park
pending_replace parked   | a0    |    | ?1    | open keep            |               | 3      | rest
pending_replace          | a0    |    | ?9    | open keep            |               | 3      | replace 2
"""

# The same where somebody wants the order gone: state and flags | cancels | copies of the replace | venue | query | at | step.
CANCELS = """
# A replace that was never sent is dropped first.
new                      |          |       | open lookup keep     |               | 1      | drop
pending_cancel           | r1       |       | open lookup keep     |               | 2      | drop
pending_cancel           | ~1       |       | open lookup keep     |               | 2      | drop

# A replace that may be under way does not hold the cancel up: it names the order that is there, whichever of the two it is.
pending_replace          |          | ~1    | open lookup T5 keep  |               | 2      | cancel 1
pending_replace          |          | ?1    | open lookup T5 keep  |               | 2      | cancel 1
pending_replace          |          | ?1    | open new             |               | 2      | cancel 1
pending_cancel           | ~2       | ?1    | open lookup T5 new   |               | 3      | rest
pending_cancel           | ?2       | ?1    | open lookup T5 new   |               | 3      | ask
pending_cancel           | r2       | ?1    | open lookup T5 keep  | live@2#1      | 2.01   | wait 2.05
pending_cancel           | r2       | ?1    | open lookup T5 keep  | live@2#1      | 2.05   | cancel 2

# Which order is there to be cancelled? The original is over, or every copy of the replace was answered: that comes first.
pending_replace over     |          | ?1    | open lookup T5 new   |               | 2      | ask C2
pending_replace over     |          | ?1    | open new             |               | 2      | park
pending_replace over     |          | ?1    | open lookup T5 new   | C2:missed@8#1 | 8      | not replaced
pending_replace          |          | r1    | open lookup T5 keep  |               | 2      | ask
pending_replace          |          | r1    | open lookup T5 keep  | live@2#1      | 2      | drop
pending_replace          |          | n1    | open keep            |               | 2      | drop
pending_replace replaced |          | r1    | open new             |               | 2      | park
pending_cancel over      | r2       | ?1    | open lookup T5 new   | C2:live@2#1   | 3      | ask C2

# Filled by the venue's word, of the larger quantity that it may have.
pending_replace full     |          | ?1    | open keep            |               | 2      | rest
pending_replace full more |         | ?1    | open keep            |               | 2      | cancel 1
pending_replace full more |         | r1    | open keep            |               | 2      | wait 30
pending_replace full more |         | r1    | open keep            |               | 30     | drop
"""


def replaced_order(words: str, strays: str, sent: str, venue: str, **changes: Any) -> Order:
    """Return the order that a row describes, with its open replace."""
    status, *flags = words.split()
    capabilities = venue_of(venue)
    left = copies(strays, expiry_s=capabilities.request_expiry_s)
    mine = list(copies(sent, expiry_s=capabilities.request_expiry_s, first=len(left) + 1))
    for flag in flags:
        if flag.startswith("rpause"):
            mine[0] = msgspec.structs.replace(mine[0], retry_at_us=us(float(flag[6:])))
    over = {"over": VenueStatus.CANCELED, "replaced": VenueStatus.REPLACED}
    wanted = replacement(
        number=2 if left else 1,
        client_order_id="C2" if "new" in venue.split() else "C1",
        quantity=Decimal(15 if "more" in flags else 5),
        copies=tuple(mine),
        copies_before=len(left),
        original_over=next((over[flag] for flag in flags if flag in over), None),
    )
    known = [flag for flag in flags if flag not in over and not flag.startswith("rpause") and flag != "more"]
    return order_of(
        " ".join([status, *known]),
        changes.pop("copies", "a0"),
        capabilities,
        replacement=wanted,
        replacements=wanted.number,
        replace_copies=len(left) + len(mine),
        strays=left,
        **changes,
    )


@pytest.mark.parametrize("row", rows(REPLACES), ids=" | ".join)
def test_a_replace_takes_this_step(row: tuple[str, ...]) -> None:
    """In the row's situation the next step is the row's, and it passes the rules written apart."""
    words, sent, strays, replaces, venue, asked, at, expected = row
    made = replaced_order(words, strays, replaces, venue, copies=sent)
    check(made, venue, asked, at, expected)


@pytest.mark.parametrize("row", rows(CANCELS), ids=" | ".join)
def test_a_cancel_that_meets_a_replace_takes_this_step(row: tuple[str, ...]) -> None:
    """In the row's situation the next step towards the cancel is the row's."""
    words, cancelled, replaces, venue, asked, at, expected = row
    made = replaced_order(words, "", replaces, venue, cancels=copies(cancelled))
    check(made, venue, asked, at, expected)


def check(made: Order, venue: str, asked: str, at: str, expected: str) -> None:
    """Compare the next step with the expected one, and with the rules written apart."""
    lookup, now_us = lookup_of(asked, made), us(float(at))
    step = next_step(made, venue_of(venue), lookup, now_us)
    assert spelt(step) == expected
    check_step(made, venue_of(venue), lookup, now_us, step)


@pytest.mark.parametrize("outcome", [CopyOutcome.REJECTED, CopyOutcome.NOT_SENT])
def test_a_refused_replace_is_dropped_with_the_venues_words(outcome: CopyOutcome) -> None:
    """Whoever asked is told what the venue said of it, or why it was not sent."""
    made = replacing("r1" if outcome is CopyOutcome.REJECTED else "n1", valid_until_us=us(2))
    wanted = made.replacement
    assert wanted is not None
    told = msgspec.structs.replace(wanted.copies[0], reason="market closed")
    made = msgspec.structs.replace(made, replacement=msgspec.structs.replace(wanted, copies=(told,)))
    assert next_step(made, venue_of("open keep"), None, us(3)) == steps.DropReplace("market closed")


@pytest.mark.parametrize(
    ("venue", "reason"),
    [
        ("open", "this venue has no replace"),
        ("open keep", "a copy of an earlier replace may still be under way"),
    ],
)
def test_a_replace_that_must_not_be_sent_says_why(venue: str, reason: str) -> None:
    """Nothing is dropped silently: the reason names what is missing, and what to do instead where something can be done."""
    made = replaced_order("new", "?1", "", venue)
    step = next_step(made, venue_of(venue), None, us(2))
    assert isinstance(step, steps.DropReplace)
    assert step.reason.startswith(reason)


@pytest.mark.parametrize("venue", ["ever lookup T5 keep", "ever lookup T5 new"])
def test_every_copy_of_a_replace_names_the_same_two_ids(venue: str) -> None:
    """Over lost replies, a crash and a clock set back, every copy bears the id of the first and names the same original."""
    driven = Driven(venue_of(venue))
    driven.reply(msg.Accepted(shown()))
    driven.want_replace(5)
    named = set()
    for number in range(1, 6):
        while not isinstance(step := driven.next(), steps.SendReplace):
            if isinstance(step, steps.Ask):
                original = step.client_order_id == "C1"
                driven.ask(step, msg.Found(shown()) if original else msg.NotFound("none"))
            else:
                driven.perform(step)
        assert step.number == number
        driven.perform(step)
        wanted = driven.order.replacement
        assert wanted is not None
        named.add((wanted.client_order_id, driven.order.live_id, wanted.quantity, wanted.price))
        driven.replace_reply(msg.Unknown("time-out"))
        if number == 2:
            driven.restart()
        if number == 3:
            driven.set_clock(-10)
    assert len(named) == 1
    assert driven.status is Status.PENDING_REPLACE


def test_a_query_from_before_a_replace_says_nothing_of_the_order_after_it() -> None:
    """What was shown then is another order by now: it is neither adopted nor taken for how the order stands."""
    made = replacing("?1", client_order_id="C1")
    asked = lookup_of("found@2#1", made)
    assert asked is not None
    assert isinstance(next_step(made, venue_of("open lookup keep"), asked, us(3)), steps.Adopt)
    terms = Terms(1, "C1", Decimal(5), Decimal("25.50"))
    later = msgspec.structs.replace(made, in_force=terms, replacement=None, status=Status.NEW)
    assert next_step(later, venue_of("open lookup keep"), asked, us(3)) == steps.Rest()
    asked = msgspec.structs.replace(asked, terms=1)
    assert isinstance(next_step(later, venue_of("open lookup keep"), asked, us(3)), steps.Adopt)
