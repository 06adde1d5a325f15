"""The retry contract: each row of its table in a small language, and what must hold for any order, venue and clock."""

import pytest
from core_driver import Driven
from core_kit import copies, shown, us
from core_rules import check_step
from core_tables import lookup_of, order_of, rows, spelt, venue_of

from onefill.core import messages as msg
from onefill.core import steps
from onefill.core.capabilities import Capabilities
from onefill.core.lifecycle import Status
from onefill.core.messages import VenueStatus
from onefill.core.order import Order
from onefill.core.retry import next_step

# One row each: state and flags | copies | venue | last query | at second | step. See core_tables for the words.
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
recorded                 | x0             | ever lookup T5    | missed@7#3   | 7      | send 2

# Where no repeat is refused, what was proven absent is not sent again: nothing at the venue would stop a second order if the
# venue's own word (T) were wrong. Of a copy that surely never left nothing can be wrong.
recorded                 | x0             | none lookup T5    | missed@7#3   | 7      | expire
recorded                 | x0             | open lookup T5 accepts | missed@7#3 | 7   | expire
recorded                 | x0 n8          | none lookup T5    |              | 8.1    | expire
recorded                 | n0 l1          | none lookup T5    |              | 8.1    | send 3
recorded cancel          | x0             | none lookup T5    | missed@7#3   | 7      | withdraw

# Nothing is sent whose time to live is over, and a wait never goes past it.
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

# So late that the venue may have forgotten what it made of the order, not found proves nothing: a person decides.
uncertain                | ?0             | open lookup T5 F20 | missed@19#9 | 19     | absent
uncertain                | ?0             | open lookup T5 F20 | missed@20#4 | 20.1   | wait 20.4
uncertain                | ?0             | open lookup T5 F20 | missed@20#5 | 20.1   | park
uncertain                | ?0             | ever lookup T5 F20 | missed@20#5 | 20.1   | park
uncertain parked         | ?0             | open lookup T5 F20 | missed@20#9 | 90     | ask
uncertain                | ?0             | open lookup T5 F20 | missed@1#9+20 | 1    | park
uncertain                | ?0 r3          | open lookup T5 F20 | rejected@40#2 | 40   | absent
uncertain                | ?0             | none lookup T5    | missed@40#2  | 40     | absent
uncertain                | ?0 l3          | open lookup e2 T5 | missed@7#2   | 7      | wait 7.1
uncertain                | ?0 l3          | open lookup e2 T5 | missed@8#2   | 8      | absent
uncertain                | ?0 r3          | open lookup e2 T5 | missed@8#2   | 8      | absent
uncertain                | ?3             | open lookup T5    | missed@2#3   | 3      | ask

# Within one process T is measured by a clock that nobody can set, whatever the time of day says.
uncertain                | ?0             | open lookup T5    | missed@1#2+7 | 1      | absent
uncertain                | ?0             | open lookup T5    | missed@99#2+6.99 | 99.2 | ask
uncertain                | ?0             | open lookup e2 T5 | missed@1#2+5 | 1      | absent
uncertain                | ?0             | open lookup e2 T5 | missed@99#2+4.99 | 99.2 | ask

# A query that was begun before the last copy was claimed says nothing of that copy, whatever the times say.
uncertain                | ?0 ?8          | open lookup T5    | missed@99#2*1 | 99    | ask
uncertain                | ?0             | open lookup T5    | found@1#1    | 1      | adopt
sending                  | ~0             | open lookup T5    | found@1#1    | 1      | adopt
uncertain parked         | ?0             | open lookup       | live@9#1     | 9      | wait 9.05

# The same where the venue can only be listed: a scan that does not show the id is a "not found".
uncertain                | ?0             | open scan T5      |              | 0.1    | scan
uncertain                | ?0             | open scan T5      | missed@.1#1  | 0.15   | scan
uncertain                | ?0             | open scan T5      | missed@7#2   | 7      | absent
uncertain                | ?0             | none scan         | missed@9#5   | 9      | park
uncertain cancel         | ?0             | open lookup T5    | missed@7#2   | 7      | absent
uncertain cancel         | ?0             | open lookup T5    |              | 1      | ask
uncertain                | ?0             | open lookup       | missed@9#4   | 9      | wait 9.4
uncertain                | ?0             | open lookup       | missed@9#5   | 9      | park

# A parked order is asked for at the usual pace for a while (a look-up may just have failed), then once a minute: what is left
# is for evidence or a person.
uncertain parked         | ?0             | open lookup       | missed@9#5   | 9.1    | wait 9.8
uncertain parked         | ?0             | open lookup       | missed@9#6   | 10     | wait 69
uncertain parked         | ?0             | open lookup       | missed@9#6   | 69     | ask
uncertain parked         | ?0             | open lookup T5    | failed@99#60 | 100    | wait 159
uncertain parked         | ?0             | open lookup T5    | missed@5#2   | 5      | wait 5.1
uncertain parked         | ?0             | open lookup T5    |              | 9      | ask

# Proof of absence is evidence, and moves a parked order: a person was told only because there was no answer for so long.
uncertain parked         | ?0             | open lookup T5    | missed@9#2   | 9      | absent
uncertain parked         | d0             | open lookup T5    | missed@9#2   | 9      | wait 9.1

# A venue that does not answer at all: after twenty queries, a minute at least, a person is told. Asking goes on.
uncertain                | ?0             | open lookup T5    | failed@90#19 | 95     | ask
uncertain                | ?0             | open lookup T5    | failed@90#20 | 90     | park
uncertain                | ?0             | ever lookup       | failed@90#20 | 90     | park
uncertain                | ?0             | none scan         | failed@90#20 | 90     | park
uncertain                | ?0             | open lookup T5    | live@90#20   | 95     | ask
uncertain parked         | ?0             | open lookup T5    | failed@90#21 | 95     | wait 150

# Maybe sent; the id is unique for ever and repeats are refused: ask first, then a resend is safe at once.
uncertain                | ?0             | ever lookup       |              | 0.01   | ask
uncertain                | ?0             | ever lookup T5    | missed@0.1#1 | 0.1    | send 2
uncertain                | ?0             | ever lookup       | missed@.01#1 | 0.01   | wait 0.06
uncertain                | ?0             | ever lookup       | failed@1#1   | 1.05   | ask
uncertain                | ?0 ?1          | ever lookup       | missed@0.5#1 | 1.5    | ask
uncertain                | ?0 ?1          | ever lookup e2    | missed@1.1#1 | 1.5    | send 3 until 3.5
uncertain                | ?0             | ever              |              | 0.01   | wait 0.05
uncertain                | ?0             | ever              |              | 0.05   | send 2
uncertain                | ?0             | ever accepts      |              | 0.05   | park
uncertain                | ?0             | ever              |              | 30     | park
uncertain                | ?0             | ever lookup       | missed@30#1  | 30.1   | ask
uncertain                | ?0             | ever lookup       | missed@30#5  | 30.1   | park
uncertain cancel         | ?0             | ever              |              | 1      | park
uncertain cancel         | ?0             | ever lookup       | missed@1#1   | 1      | wait 1.05

# A copy that the venue rejected ends the resends, there as well: it decided against the order, and all that is left to find
# out is what an earlier copy did.
uncertain                | ?0 r1          | ever              |              | 1.1    | park
uncertain                | ?0 r1          | ever lookup       |              | 1.1    | ask
uncertain                | ?0 r1          | ever lookup       | missed@1.1#1 | 1.2    | ask
uncertain                | ?0 r1          | ever lookup       | missed@1.1#4 | 1.2    | wait 1.5
uncertain                | ?0 r1          | ever lookup       | missed@1.1#5 | 1.2    | park
uncertain                | ?0 r1          | ever lookup T5    | missed@8.1#5 | 8.1    | absent

# The venue may show the rejected copy while another was taken: that decides once every copy is dead, and is a person's before.
uncertain                | ?0 r1          | open lookup T5    | rejected@8.1#1 | 8.1  | absent
uncertain                | ?0 r1          | open lookup T5    | rejected@1.1#1 | 1.2  | ask
uncertain                | ?0 r1          | open lookup T5    | rejected@1.1#9 | 1.2  | wait 6.1
uncertain                | ?0 r1          | open lookup       | rejected@1.1#4 | 1.2  | wait 1.5
uncertain                | ?0 r1          | open lookup       | rejected@1.1#5 | 1.2  | park
uncertain                | d0             | open lookup       | missed@9#5   | 9      | park

# What is known there of a copy that is dead is also known where ids are unique for ever: the time to live decides.
uncertain                | ?0             | ever lookup T5    | missed@7#9   | 7      | absent
uncertain                | ?0             | ever scan T5      |              | 7      | scan
uncertain                | ?0             | ever scan         | missed@7#1   | 7      | send 2
uncertain parked         | ?0             | ever              |              | 1      | rest
uncertain parked         | ?0             | ever lookup       | missed@1#1   | 1.05   | ask

# The same within one day of the venue: a copy of another day does not count, nor does one that may be taken up tomorrow.
# Where nobody knows how long a copy may be under way (neither expiry nor T), no moment is far enough from midnight.
uncertain                | ?0             | day               |              | 0.05   | park
uncertain                | ?0             | day e2            |              | 0.05   | send 2 until 2.05
uncertain                | ?0             | day T5            |              | 0.05   | send 2
uncertain                | ?0             | day lookup        | missed@1#1   | 2      | ask
uncertain                | ?0             | day lookup        | missed@1#5   | 2      | park
uncertain                | ?0             | day accepts T5    |              | 0.05   | park
uncertain night          | ?43198         | day e2            |              | 43199  | park
# Without an expiry it may leave 2 s after its claim, and arrive T after that; with one, never after that, whatever T is.
uncertain night          | ?43190         | day T5            |              | 43192.9 | send 2
uncertain night          | ?43190         | day T5            |              | 43193  | park
uncertain night          | ?43190         | day e2 T5         |              | 43197  | send 2 until 43199
uncertain night          | ?43190         | day e2 T5         |              | 43198  | park
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
recorded                 | t0             | open scan         |              | 0.05   | scan
recorded                 | t0             | open scan         | missed@.05#1 | 0.06   | send 2
recorded                 | t0             | open lookup       | found@.05#1  | 0.06   | adopt
recorded                 | t0             | none lookup       | missed@.05#1 | 0.06   | send 2

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
new                      | a0             | open lookup T5    | found@9#1    | 9      | adopt
pending_new              | a0             | open lookup T5    | failed@9#1   | 9.01   | wait 9.05
pending_new              | a0             | open scan T5      |              | 9      | scan
pending_new              | a0             | open lookup T5    | live@9#7     | 20     | ask

# An order that the venue took in and does not show any more is for a person, once its copies are dead (or never certainly so).
pending_new              | a0             | open lookup T5    | missed@9#4   | 9      | wait 9.4
pending_new              | a0             | open lookup T5    | missed@9#5   | 9      | park
pending_new              | a0             | open lookup T5    | missed@6.9#5 | 6.9    | wait 7.7
pending_new              | a0             | open lookup       | missed@1#5   | 1      | park
pending_new parked       | a0             | open lookup       | missed@1#5   | 1      | wait 1.8
pending_new parked       | a0             | open lookup       | missed@1#6   | 9      | wait 61
pending_new parked       | a0             | none              |              | 9      | rest

# The clock was set back: behind a claim it is asked at the usual pace; behind the last query, or the last claim of a copy that
# is not under way, nothing is waited for.
uncertain                | ?9             | open lookup T5    | missed@3#1*1 | 3      | wait 3.05
uncertain                | ?9             | open lookup T5    |              | 3      | ask
uncertain                | ?0             | open lookup T5    | missed@4#1   | 2      | ask
recorded                 | n9             | none              |              | 3      | send 2
recorded                 | n9             | none              |              | 9.01   | wait 9.05
uncertain                | ?9             | ever              |              | 3      | send 2
uncertain                | ?9             | ever lookup       | missed@3#1*1 | 3      | send 2
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
new                      | ?0 ?1          |                  | open              |              | 2      | cancel 1
new                      | ?0 ?1          |                  | open T5           |              | 2      | wait 8
new                      | ?0 ?1          |                  | open T5           |              | 8      | cancel 1

# Where it can be asked, the death of every copy is seen by a query, so that a clock set forward frees nothing.
new                      | ?0 ?1          |                  | open lookup T5    |              | 8      | ask
new                      | ?0 ?1          |                  | open scan T5      |              | 8      | scan
new                      | ?0 ?1          |                  | open lookup T5    | live@7#1     | 8      | ask
new                      | ?0 ?1          |                  | open lookup T5    | live@8#1     | 8      | cancel 1
new                      | ?0 ?1          |                  | open lookup T5    | live@8#1+6   | 8      | wait 8.05
new                      | ?0 ?1          |                  | open lookup T5    | live@3#1+7   | 3      | cancel 1
new                      | ?0 a1          |                  | open lookup e2 T5 |              | 2      | wait 6
new                      | x0 a1          |                  | open lookup T5    |              | 2      | cancel 1
new                      | ?0 a1          |                  | none e2 T5        |              | 2      | wait 6
new                      | ?0 a1          |                  | ever e2 T5        |              | 2      | cancel 1
new                      | ?0 a1          |                  | day e2 T5         |              | 2      | cancel 1
new                      | ?0 a1          |                  | open              |              | 2      | cancel 1

# A refused or lost cancel: look, then cancel again with backoff; after five refusals look, and say so.
pending_cancel           | a0             | ?1               | open lookup T5    |              | 1.01   | ask
pending_cancel           | a0             | r1               | open lookup T5    | failed@0.5#1 | 1.01   | ask
pending_cancel           | a0             | r1               | open lookup T5    | failed@1#1   | 1.01   | wait 1.05
pending_cancel           | a0             | r1               | open lookup T5    | failed@1#1   | 1.05   | cancel 2
pending_cancel           | a0             | ?1               | none              |              | 1.01   | wait 1.05
pending_cancel           | a0             | ?1               | none              |              | 1.05   | cancel 2
pending_cancel           | a0             | r1 r2 r3 r4      | none              |              | 9      | cancel 5
pending_cancel           | a0             | r1 r2 r3 r4 r5   | none              |              | 9      | refused
pending_cancel           | a0             | r1 r2 r3 r4 r5   | open lookup T5    |              | 9      | ask
pending_cancel           | a0             | r1 r2 r3 r4 r5   | open lookup T5    | live@9#1     | 9      | refused
pending_cancel           | a0             | r1 r2 r3 r4 r5   | open lookup T5    | missed@9#1   | 9      | refused
pending_cancel           | a0             | r1 r2 r3 r4 r5   | open lookup T5    | failed@9#1   | 9      | wait 9.05
pending_cancel           | a0             | r1 r2 r3 r4 r5   | open lookup T5    | failed@9#1   | 9.05   | ask
pending_cancel           | a0             | ?1 ?2 ?3 ?4 ?5   | none              |              | 9      | cancel 6

# Having been told so is not the end: a new wish is sent again, and again told after five more.
new                      | a0             | r1 r2 r3 r4 r5   | open lookup T5    |              | 9      | cancel 6
new                      | a0             | r1 r2 r3 r4 r5   | none              |              | 5.1    | wait 5.8
partially_filled         | a0             | r1 r2 r3 r4 r5   | none              |              | 9      | cancel 6
pending_cancel           | a0             | r1 r2 r3 r4 r5 r6| none              |              | 20     | cancel 7
new                      | a0             | r1 r2 r3 r4 r5   | open lookup T5    | found@9#1    | 9      | adopt

# From the twelfth on the pauses are a minute long, and a clock that was set back does not hold one up.
pending_cancel           | a0             | ?1 ?1 ?1 ?1 ?1 ?1 ?1 ?1 ?1 ?1 ?1    | none | | 5.9  | wait 6
pending_cancel           | a0             | ?1 ?1 ?1 ?1 ?1 ?1 ?1 ?1 ?1 ?1 ?1 ?1 | none | | 60.9 | wait 61
pending_cancel           | a0             | ?1 ?1 ?1 ?1 ?1 ?1 ?1 ?1 ?1 ?1 ?1 ?1 | none | | 61   | cancel 13
pending_cancel           | a0             | ?9               | none              |              | 3      | cancel 2
pending_cancel           | a0             | r1 r2 r3 r4 r5 ?6| none              |              | 20     | cancel 7
"""


@pytest.mark.parametrize("row", rows(CONTRACT), ids=" | ".join)
def test_the_contract_names_this_step(row: tuple[str, ...]) -> None:
    """In the row's situation the next step is the row's, and it passes the rules written apart."""
    words, sent, venue, asked, at, expected = row
    capabilities, now_us = venue_of(venue), us(float(at))
    made = order_of(words, sent, capabilities)
    lookup = lookup_of(asked, made)
    step = next_step(made, capabilities, lookup, now_us)
    assert spelt(step) == expected
    check_step(made, capabilities, lookup, now_us, step)


@pytest.mark.parametrize("row", rows(CANCELS), ids=" | ".join)
def test_a_wanted_cancel_takes_this_step(row: tuple[str, ...]) -> None:
    """In the row's situation the next step towards the cancel is the row's."""
    words, sent, cancelled, venue, asked, at, expected = row
    capabilities, now_us = venue_of(venue), us(float(at))
    made = order_of(words, sent, capabilities, cancels=copies(cancelled))
    lookup = lookup_of(asked, made)
    step = next_step(made, capabilities, lookup, now_us)
    assert spelt(step) == expected
    check_step(made, capabilities, lookup, now_us, step)


def test_a_cancel_that_was_refused_for_good_can_be_wanted_again() -> None:
    """After five refusals have been told, a new cancel is really sent, and can succeed."""
    driven = Driven(Capabilities())
    driven.reply(msg.Accepted(shown()))
    driven.pass_time(1)
    for told in (1, 2):
        driven.want_cancel()
        sent = 0
        while driven.order.cancel_wanted:
            step = driven.next()
            driven.perform(step)
            if isinstance(step, steps.SendCancel):
                sent += 1
                driven.cancel_reply(msg.CancelRejected("not now"))
        assert (sent, len(driven.order.cancels), driven.status) == (5, 5 * told, Status.NEW)
    driven.want_cancel()
    driven.pass_time(60)
    driven.perform(driven.next())
    driven.cancel_reply(msg.Canceled(shown(status=VenueStatus.CANCELED)))
    assert driven.status is Status.CANCELED


def test_no_id_but_the_first_is_ever_sent() -> None:
    """A step to send carries a number and an expiry and no id: the order's own is the only one there is (SAME-ID)."""
    assert steps.Send.__struct_fields__ == ("number", "expires_at_us")
    assert steps.SendReplace.__struct_fields__ == ("number", "expires_at_us")
    assert steps.SendCancel.__struct_fields__ == ("number",)
    assert "client_order_id" in Order.__struct_fields__
