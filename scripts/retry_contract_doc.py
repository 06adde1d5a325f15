"""Write docs/retry-contract.md from the retry contract and the venue profiles. ``--check`` only compares."""

import sys
from pathlib import Path

from onefill.core.claims import DAY_US, PATIENT_DELAY_US, SEND_WITHIN_US, delay_us
from onefill.core.contract_play import CALL_S
from onefill.core.contract_words import SITUATIONS as PLAYED
from onefill.core.contract_words import VENUE_CLASSES, Row, after_time_out, situations, tell
from onefill.core.query import LOOKUPS_BEFORE_PARKING
from onefill.core.retry_live import MAX_CANCEL_REFUSALS
from onefill.core.venue_words import shown
from onefill.venues import profile as profiles
from onefill.venues.profile import SURE, Profile

PAGE = Path(__file__).resolve().parent.parent / "docs" / "retry-contract.md"

_HEAD = """# The retry contract

A request went out and no reply came. It was lost on the way, or it was done and its reply was lost, or it still lies in a
queue and will be done in a second. Sending it again is right in the first case and a second order in the others. The retry
contract says what is safe next, for every venue, from what the venue promises.

It is one pure function, `next_step` in `src/onefill/core/retry.py`: from the order, the venue's capabilities, the last query
and the time to one step. This page is made from it by `make docs`: the tables are played through the very function, with
an order and a small venue, and a test keeps page and code equal. `onefill venues NAME` tells the same at length for one venue.

Four rules hold everywhere:

1. Before a copy leaves, it is claimed durably. A claim without an outcome reads as *maybe sent*.
2. While an order's fate is open, every copy bears the id of the first.
3. Where the venue can be asked, it is asked before anything else.
4. "Not found" proves nothing while a copy may be under way.

"""

_WHY = """## Why

### Copies, and when they are dead

A request that got no reply may arrive later. A copy is *dead* once the venue would refuse it or must have dealt with it, and
what it did can be seen. How long that takes is the venue's T (`conclusive_after_s`): expiry, engine time-out and the lag of
its readers, counted from the last moment at which the copy's bytes can have left. Where the request bears an expiry, that is
the claim: however late it leaves, the venue refuses it in time. Elsewhere it is the claim, {send_within} for handing it over,
and the longest call. "Not found" counts only if the query was begun after that for every copy. Within one process this is
measured by a clock that nobody can set.

Where no T is known, no query ever proves absence.

### Unique for ever

The venue itself tells a repeat from a first copy, whatever became of the first. A resend is safe at once. It is asked first
all the same: a query changes nothing and mostly settles it. Where it cannot be asked, the resend *is* the query: it is
answered with the first order, or refused as a duplicate. T is not needed.

### Unique for a day

As for ever, as long as all copies, the next one included, fall into one UTC day, with a margin for the time a copy may be
under way. Around midnight, or where nobody knows that margin, it counts as *open*.

### Unique among open orders

This is what most venues offer, and it is not idempotency. The id is free again once its order is filled or cancelled: see
[the trap](#the-trap-unique-among-open-orders). So a resend waits until absence is proven: asked, not found, every copy dead.
Then nothing of the order is or will be there, and the next copy is the first. Without T this never happens; after
{parking} queries in vain the order is left UNCERTAIN and a person is told. Asking goes on, at last every {patient}.

### Not unique

Absence can be proven as above, and then the order ends here, as never sent. It is not sent again by itself: should T be wrong,
nothing at the venue would stop the second order, and T is an estimate more often than a venue's word. Whoever wants another
try decides so, under a new key. What surely never left (no connection), or was refused as late or for its rate, is sent again.
A venue where a repeat *changes* the live order (Interactive Brokers) counts here.

### Asked, scanned, neither

A scan lists open orders and what ended or traded since shortly before the order was recorded, and searches for the id. Only
the id decides: an order of the same side, size and price may be somebody else's. A scan is worth a look-up where T is known.
Where a venue can neither be asked nor refuses repeats for ever, no automatic step is safe: the order waits for the stream,
or for a person.

### A duplicate reply

The venue has something under the id: our own earlier copy, or a stranger's order. It is fetched and compared, field by
field; if it is ours it is adopted, otherwise it is an incident. If none shows after {parking} queries, a person is told.

### Asynchronous acknowledgements

A reply that the order was taken in is not one that it lives. Such an order is `pending_new` and asked for until the venue
has decided. If it vanishes, and every copy is dead, a person is told.
A venue that takes a *repeat* in under a number of its own, and refuses it only when it decides, counts as *not unique*: until
then there are two orders, and news of the one are taken for news of the other.

### Cancels

A cancel while the fate is open waits for it. Once the order shows, another copy of it may still be under way: cancelling first
would free the id on an *open* venue, and let that copy in. So where T is known the cancel is held until such copies are dead.
Cancelling twice is harmless. After {refusals} refusals of a cancel whose order lives, whoever asked is told.

### Replaces

A replace names what it replaces. Its second copy finds the first one's work done and does nothing, or is refused because
the original is gone. A repeat with the same ids is therefore safe as soon as the order has been seen as it was. What is not
safe is *another* replace, or believing that one failed, while a copy is under way:

- **The order keeps its id.** The query shows the old terms or the new ones. The old ones prove that the replace failed only
  once every copy is dead. A late copy would undo a later replace, so the next one waits until the earlier copies are dead, and
  is refused where that is never certain.
- **The order goes on under a new id.** The new id is asked for first. If it is not there, the original is: the replace may be
  sent again. If neither lives and every copy is dead, the original was cancelled and nothing replaced it.

### Times

Pauses between queries and between copies begin at {first_delay} and double up to {longest_delay}. The intent's time to live
ends sending, never asking: an order that may be at the venue is followed until its fate is known.

"""

_TRAP = """## The trap: unique among open orders

The order is filled at once. Acknowledgement and fill are lost. A client that trusts the id sends it again; the id is free,
since its order is no longer open; the venue takes a second order.

```mermaid
sequenceDiagram
    participant N as Naive client
    participant V as Venue (unique among open orders)
    participant O as Onefill
    rect rgb(255, 235, 235)
    N->>V: new order, id A
    Note over V: order 1, filled: A is free again
    V--xN: ack and fill are lost
    Note over N: time-out. "The id protects me"
    N->>V: new order, id A
    Note over V: order 2, filled
    V->>N: accepted
    Note over N: thinks: 1 order. Holds: 2
    end
    rect rgb(235, 255, 235)
    Note over O: claim of copy 1 on disk
    O->>V: new order, id B, expires in 2 s
    Note over V: order 3, filled: B is free again
    V--xO: ack and fill are lost
    Note over O: time-out: UNCERTAIN, ask first
    O->>V: status of B?
    V->>O: filled
    Note over O: compared and adopted, the fill taken from the executions, once
    end
```

```
   naive client              venue                Onefill                     venue
        |                      |                     |  claim copy 1 on disk     |
        |---- new, id A ------>|                     |---- new, id B, 2 s ------>|
        |                      | order 1: FILLED     |                           | order 3: FILLED
        |      X<-- ack, fill -| A is free again     |       X<---- ack, fill ---| B is free again
        |  time-out            |                     |  time-out: UNCERTAIN      |
        |---- new, id A ------>|                     |---- status of B? -------->|
        |                      | order 2: FILLED     |                           |
        |<---- accepted -------|                     |<---- FILLED --------------|
        |                      |                     |  adopted, filled once     |
     holds 2, wanted 1                            holds 1, wanted 1
```

Had the first copy not arrived: {absent}.

"""


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines)


def _contract() -> str:
    rows: tuple[Row, ...] = situations()
    cells = [[row.title, *(row.told[name].short for name in VENUE_CLASSES)] for row in rows]
    legend = "\n".join(
        f"- **{name}**: expiry {shown(of.request_expiry_s)}, T {shown(of.conclusive_after_s)}, replace {of.replace}. "
        f"After a time-out: {after_time_out(of)}."
        for name, of in VENUE_CLASSES.items()
    )
    return f"""## What happens

Rows: what comes of the first copy. Columns: kinds of venues, by uniqueness of ids, whether the order can be looked up
(asked by id, found by a scan, neither), and whether "not found" ever becomes conclusive (T). In every cell the venue ends with
one order or none.

{_table(["", *VENUE_CLASSES], cells)}

`ask…` and `scan…`: again and again, at growing pauses. `adopt`: what was found is compared with what was wanted, and taken in.
`absent`: not found, and every copy dead. `person`: UNCERTAIN until there is evidence, or a person decides. `end`: over, the
answer is kept. `-`: cannot happen there. Calls are taken to last {CALL_S:g} s at most.

{legend}

"""


def _venues() -> str:
    head = [
        "profile",
        "unique",
        "duplicate",
        "look-up",
        "expiry",
        "T",
        "execution id in",
        "cancel by id",
        "replace",
        "after a time-out",
    ]
    fields = (
        "unique_scope",
        "duplicate_reply",
        "lookup",
        "request_expiry_s",
        "conclusive_after_s",
        "execution_id_scope",
        "cancel_by_client_order_id",
        "replace",
    )
    rows = [
        [f"`{one.name}`", *(_value(one, field) for field in fields), after_time_out(one.capabilities)]
        for one in map(profiles.load, profiles.names())
    ]
    return f"""## Venues

What the profiles in `src/onefill/venues/profiles/` say. A question mark: a third party says so, or it is assumed, by the
careful reading; everything else is the venue's own text, was tried, or was read in a client library. Sources stand in the
profiles and in `onefill venues NAME`. Single values are overridden in the settings (`[venues.NAME.capabilities]`).

{_table(head, rows)}

"""


def _value(profile: Profile, field: str) -> str:
    unsure = "" if profile.facts[field].certainty in SURE else " ?"
    return shown(getattr(profile.capabilities, field)) + unsure


def _span(us: int) -> str:
    if us % 60_000_000 == 0:
        return "minute" if us == 60_000_000 else f"{us // 60_000_000} minutes"
    return f"{us // 1_000_000} s" if us % 1_000_000 == 0 else f"{us // 1000} ms"


def page() -> str:
    """Return the page's text."""
    absent = next(one for one in PLAYED if one.name == "lost_absent")
    why = _WHY.format(
        send_within=_span(SEND_WITHIN_US),
        parking=LOOKUPS_BEFORE_PARKING,
        patient=_span(PATIENT_DELAY_US),
        refusals=MAX_CANCEL_REFUSALS,
        first_delay=_span(delay_us(1)),
        longest_delay=_span(delay_us(DAY_US)),
    )
    trap = _TRAP.format(absent=tell(absent, VENUE_CLASSES["open, asked, T"]).words)
    return (_HEAD + _contract() + why + _venues() + trap).rstrip() + "\n"


if __name__ == "__main__":
    if "--check" in sys.argv:
        same = PAGE.read_text("utf-8") == page()
        sys.exit(0 if same else "docs/retry-contract.md is not what the rules and profiles say: run `make docs`")
    PAGE.write_text(page(), "utf-8")
