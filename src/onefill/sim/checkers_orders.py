"""Checks about what was sent and what came of it at the venue."""

from collections import Counter

from onefill.core import messages as msg
from onefill.core.capabilities import Lookup, UniqueScope
from onefill.core.lifecycle import ENDED, NEVER_SENT, Status
from onefill.core.messages import CancelRequest, ReplaceRequest, SubmitRequest, VenueStatus
from onefill.core.order import Order
from onefill.ports.ledger import RequestKind
from onefill.sim.checkers_index import Index, Verdict
from onefill.sim.dialect import DAY_US
from onefill.sim.history import Called, Reported, Sent, request_text
from onefill.sim.order_book import ExchangeOrder
from onefill.sim.world_operator import LIE

_NO_EFFECT = (msg.Throttled, msg.TooLate, msg.Rejected, msg.NotSent)
_SEND_SLACK_US = 2_100_000
"""A copy with an expiry is counted from its claim, which is at most so much (and one call) older than its bytes."""


def one_order(index: Index) -> Verdict:
    """One intent made at most one order that is or was live, whoever sent it how often."""
    verdict = Verdict(promise="ONE-ORDER")
    for key in index.orders:
        chains = index.chains.get(key, [])
        verdict.cases += 1
        messages = Counter(index.run.born[chain[0].venue_order_id].message for chain in chains)
        if len(messages) > 1:
            made = ", ".join(
                f"{chain[0].venue_order_id} ({chain[0].client_order_id}, by message "
                f"#{index.run.born[chain[0].venue_order_id].message})"
                for chain in chains
            )
            verdict.broken(f"{key} made {len(chains)} orders: {made}")
    for order in index.run.at_venue:
        if order.client_order_id not in index.owner and index.run.born[order.venue_order_id].message:
            verdict.broken(f"{order.venue_order_id} ({order.client_order_id}) belongs to no recorded intent")
    return verdict


def ledger_first(index: Index) -> Verdict:
    """Nothing left before its claim was committed: never more requests of a kind than claims of it."""
    verdict = Verdict(promise="LEDGER-FIRST")
    claims: Counter[tuple[str, RequestKind]] = Counter()
    sends: Counter[tuple[str, RequestKind]] = Counter()
    commits = iter(index.commits)
    commit = next(commits, None)
    for place, sent in index.sent:
        while commit is not None and commit[0] < place:
            order = commit[1].order
            if order is not None:
                claims.update((order.key, claim.kind) for claim in commit[1].claims)
            commit = next(commits, None)
        kind = _kind(sent.request)
        if kind is None:
            continue
        verdict.cases += 1
        key = index.owner.get(getattr(sent.request, "orig_client_order_id", sent.request.client_order_id))
        if key is None:
            verdict.broken(
                f"message #{sent.message} is of no recorded intent: {request_text(sent.request)}", sent.at_us
            )
            continue
        sends[key, kind] += 1
        if sends[key, kind] > claims[key, kind]:
            counted = f"{sends[key, kind]} sent, {claims[key, kind]} claimed"
            verdict.broken(f"message #{sent.message}, {kind} of {key}: {counted}", sent.at_us)
    return verdict


def _kind(request: object) -> RequestKind | None:
    if isinstance(request, SubmitRequest):
        return RequestKind.SUBMIT
    if isinstance(request, CancelRequest):
        return RequestKind.CANCEL
    return RequestKind.REPLACE if isinstance(request, ReplaceRequest) else None


def same_id(index: Index) -> Verdict:
    """Every submit of an intent bore the id that was recorded first, and no two intents share an id."""
    verdict = Verdict(promise="SAME-ID")
    first: dict[str, str] = {}
    for _, commit in index.commits:
        order = commit.order
        if order is None:
            continue
        known = first.setdefault(order.key, order.client_order_id)
        if known != order.client_order_id:
            verdict.broken(f"{order.key} was {known} and became {order.client_order_id}", commit.at_us)
    for client_order_id, sends in index.submits.items():
        key = index.owner.get(client_order_id)
        verdict.cases += len(sends)
        if key is not None and first[key] != client_order_id:
            verdict.broken(f"{key} is {first[key]}, and was sent as {client_order_id}", sends[0][1].at_us)
    ids = Counter(order.client_order_id for order in index.run.orders)
    for client_order_id, count in ids.items():
        if count > 1:
            verdict.broken(f"{count} intents share the id {client_order_id}")
    return verdict


def ask_first(index: Index) -> Verdict:
    """After a copy whose fate was not known, the venue was asked before the next copy; and where it does not refuse repeats for
    good, the answer "not found" came from a question asked when no copy could be under way any more.
    """
    verdict = Verdict(promise="ASK-FIRST")
    for client_order_id, sends in index.submits.items():
        for number in range(1, len(sends)):
            verdict.cases += 1
            place, sent = sends[number]
            # What left after this call began (an adapter held it back) was not known to have been sent.
            before = [earlier for earlier in sends[:number] if earlier[1].at_us <= sent.begun_us]
            unknown = [earlier for earlier in before if _fate_unknown(index, earlier[1], place)]
            if unknown:
                why = _not_asked(index, client_order_id, [_known(index, one, sent) for one in unknown], place)
                if why is not None:
                    verdict.broken(f"copy #{sent.message} of {client_order_id} was sent again: {why}", sent.at_us)
    return verdict


def _known(index: Index, earlier: tuple[int, Sent], sent: Sent) -> tuple[int, Sent]:
    """Return a copy with the place from which it counts for who sent the next: who took the route over knows of claims only."""
    place, copy = earlier
    if copy.epoch < sent.epoch:
        place = min(place, index.acquired[sent.epoch])
    return place, copy


def _fate_unknown(index: Index, sent: Sent, before: int) -> bool:
    heard = index.heard.get(sent.message)
    return heard is None or heard[0] > before or not isinstance(heard[1].reply, _NO_EFFECT)


def _not_asked(index: Index, client_order_id: str, unknown: list[tuple[int, Sent]], before: int) -> str | None:
    """Return what is wrong with sending another copy while these are open."""
    dialect = index.plan.dialect
    for_good = _refused_for_good(index, [sent.at_us for _, sent in unknown] + [index.records[before].at_us])
    if dialect.lookup is Lookup.NONE:
        return None if for_good else "the venue cannot be asked, and does not refuse a repeat for good"
    not_found = [
        (place, sent)
        for place, sent in index.queries(client_order_id)
        if place < before and _said_not_found(index, sent, client_order_id, before)
    ]
    if not any(place > unknown[-1][0] for place, _ in not_found):
        return "no query said before that it is not there"
    if for_good:
        return None
    if dialect.conclusive_after_s is None:
        return 'no "not found" is conclusive at this venue'
    wait_us = int(dialect.conclusive_after_s * 1e6)
    dead_us = max(_counts_from(index, sent) for _, sent in unknown) + wait_us
    if max(sent.at_us for _, sent in not_found) < dead_us:
        return f"a copy could be under way until {dead_us / 1e6:.6f}, and nobody asked after that"
    return None


def _refused_for_good(index: Index, at_us: list[int]) -> bool:
    dialect = index.plan.dialect
    if not dialect.refuses_repeats or dialect.unique_scope in (UniqueScope.OPEN, UniqueScope.NONE):
        return False
    days = {(index.plan.start_us + at) // DAY_US for at in at_us}
    return dialect.unique_scope is UniqueScope.EVER or len(days) == 1


def _counts_from(index: Index, sent: Sent) -> int:
    if getattr(sent.request, "expires_at_us", None) is None:
        return sent.at_us
    return sent.at_us - _SEND_SLACK_US - int(index.plan.settings.reply_timeout_s * 1.1e6)


def _said_not_found(index: Index, sent: Sent, client_order_id: str, before: int) -> bool:
    heard = index.heard.get(sent.message)
    if heard is None or heard[0] > before:
        return False
    reply = heard[1].reply
    if isinstance(reply, msg.Listed):
        return all(order.client_order_id != client_order_id for order in reply.orders)
    return isinstance(reply, msg.NotFound)


def in_time(index: Index) -> Verdict:
    """No copy of an order began to be sent after its time to live. Judged where no clock was set meanwhile, or runs wrong."""
    verdict = Verdict(promise="IN-TIME")
    if index.plan.clock_steps or index.plan.nodes.drifts:
        return verdict
    recorded_us: dict[str, int] = {}
    for _, commit in index.commits:
        if commit.order is not None:
            recorded_us.setdefault(commit.order.key, commit.at_us)
    for client_order_id, sends in index.submits.items():
        order = index.orders.get(index.owner.get(client_order_id, ""))
        if order is None:
            continue
        live_us = order.valid_until_us - order.recorded_at_us
        for _, sent in sends:
            verdict.cases += 1
            if sent.begun_us > recorded_us[order.key] + live_us:
                verdict.broken(f"message #{sent.message} of {order.key} left after its time to live", sent.at_us)
    return verdict


def say_unknown(index: Index) -> Verdict:
    """What was said of an order's end was so at the venue, when it was said and at last."""
    verdict = Verdict(promise="SAY-UNKNOWN")
    over: set[str] = set()
    replacing: dict[str, bool] = {}
    for place, commit in index.commits:
        order = commit.order
        if order is None or order.key in over:
            continue
        if order.status not in ENDED:
            replacing[order.key] = order.replacing
            continue
        over.add(order.key)
        verdict.cases += 1
        # A bust may have made it live again before the fill that it took back was told of.
        busted = order.status is Status.FILLED and index.orders.get(order.key, order).reversed_quantity
        if commit.live and not index.doubled_by_network(order.key) and not busted:
            live = ", ".join(commit.live)
            verdict.broken(
                f"{order.key} was said to be {order.status} while {live} was live at the venue", commit.at_us
            )
        if order.status is Status.REJECTED and not _was_rejected(index, order, place):
            verdict.broken(f"{order.key} was said to be rejected, which the venue never said", commit.at_us)
    for order in index.run.orders:
        wrong = _final_state(index, order, known_terms=not replacing.get(order.key, False))
        if wrong is not None:
            verdict.broken(f"{order.key} ({order.client_order_id}) is {order.status} in the ledger; {wrong}")
    return verdict


def _was_rejected(index: Index, order: Order, before: int) -> bool:
    for place, sent in index.submits.get(order.client_order_id, ()):
        arrivals = index.arrived.get(sent.message, ()) if place < before else ()
        if any(isinstance(arrived.reply, msg.Rejected) and at < before for at, arrived in arrivals):
            return True
    ids = {name for name, key in index.owner.items() if key == order.key}
    return any(one.client_order_id in ids and one.status is VenueStatus.REJECTED for one in index.run.at_venue)


_SAME = {
    Status.FILLED: VenueStatus.FILLED,
    Status.CANCELED: VenueStatus.CANCELED,
    Status.EXPIRED: VenueStatus.EXPIRED,
}


def _final_state(index: Index, order: Order, *, known_terms: bool) -> str | None:
    """Return how an order that is over differs from what the exchange has, or ``None``.

    ``known_terms``: no replace was open when it ended, which leaves open what it last had.
    """
    if order.status not in ENDED or index.doubled_by_network(order.key):
        return None
    chains = index.chains.get(order.key, [])
    if order.status in NEVER_SENT or order.status is Status.REJECTED:
        return f"the exchange has {_chain_text(chains[0])}" if chains else None
    if not chains:
        return "the exchange never had it"
    last = chains[0][-1]
    if last.status is not _SAME[order.status]:
        return f"at the exchange {_chain_text(chains[0])} is {last.status}"
    # Restated by the venue, which came too late to change anything: an incident tells of it.
    told_late = order.anomaly is not None and any(one.what == "restate" for one in index.plan.books.amendments)
    if known_terms and not told_late and (last.quantity, last.price) != (order.quantity, order.price):
        wanted = f"{order.quantity} @ {order.price}"
        return f"of {wanted} here, and {last.quantity} @ {last.price} at the exchange ({_chain_text(chains[0])})"
    return None


def _chain_text(chain: list[ExchangeOrder]) -> str:
    return " → ".join(f"{order.venue_order_id} {order.status}" for order in chain)


def say_so(index: Index) -> Verdict:
    """A second order that the network made of one message is noticed; a person's word against the evidence is refused."""
    verdict = Verdict(promise="SAY-SO")
    for order in index.run.orders:
        if _second_was_told(index, order):
            verdict.cases += 1
            if order.anomaly is None:
                verdict.broken(f"the network made two orders of {order.key}, and nobody was told")
    for call, (_, called) in index.called.items():
        if called.what == "resolve":
            verdict.cases += 1
            _judge_word(index, verdict, call, called)
    return verdict


def _second_was_told(index: Index, order: Order) -> bool:
    """Tell whether the network made a second order, a gateway heard of it on the stream, and could know it for one.

    An order that was replaced may be under another number, so a second one under its first id looks like itself.
    """
    if not index.doubled_by_network(order.key) or order.replacements:
        return False
    second = {chain[0].venue_order_id for chain in index.chains[order.key][1:]}
    return any(isinstance(record, Reported) and record.report.venue_order_id in second for record in index.records)


def _judge_word(index: Index, verdict: Verdict, call: int, called: Called) -> None:
    answered = index.answered.get(call)
    if called.content.startswith(LIE) and answered is not None and answered[1].error not in _REFUSALS:
        verdict.broken(f"the operator said of {called.key} {called.content!r}, and was believed", called.at_us)


_REFUSALS = frozenset({"ContradictsEvidence", "RouteClosed", "RouteShut", "RouteElsewhere", "LeaseLost", "UnknownKey"})
